"""Who is let in, who is not, and what is never shown or logged: over HTTP, against the command as it is."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import incident_process
from tests.dashboard.client import Client
from tests.dashboard.site import TOKEN, UNMASK_TOKEN, Served, Site, serving

READING = [
    "/api/overview",
    "/api/runs",
    "/api/accounts",
    "/api/account?account=1",
    "/api/document?account=1",
    "/api/dead-letters",
    "/api/pending",
    "/api/own-run",
    "/api/doctor",
]


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served)


@pytest.fixture
def ada(client: Client) -> Client:
    assert client.sign_in(TOKEN).status == 200
    return client


@pytest.mark.parametrize("path", READING)
def test_nothing_is_shown_before_signing_in(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.content) == (401, {"error": "Sign in with the token first."})


def test_before_signing_in_not_even_the_operation_is_named(client: Client) -> None:
    session = client.get("/api/session").content
    assert session["operation"] is session["version"] is session["config"] is None
    assert session["may_read"] is False


def test_whoever_has_the_token_may_read(ada: Client) -> None:
    assert {ada.get(path).status for path in READING} == {200}


def test_signing_out_ends_it(ada: Client) -> None:
    assert ada.post("/api/sign-out", {}).status == 204
    assert ada.get("/api/overview").status == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1", "192.0.2.7"],
)
def test_another_host_is_refused(ada: Client, host: str) -> None:
    for path in ("/", "/api/overview", "/static/js/app.js"):
        answer = ada.get(path, Host=host)
        assert answer.status == 400, path
        assert "not known by that name" in answer.content["error"]


def test_two_hosts_are_refused(ada: Client) -> None:
    # http.client sends its own Host beside one under another spelling only when told so explicitly.
    with socket.create_connection((ada.host, ada.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert raw.recv(64).split()[1] == b"400"


def test_a_change_needs_a_session(client: Client, site: Site) -> None:
    for path, content in (
        ("/api/replay", {"accounts": ["1"]}),
        ("/api/start", {}),
        ("/api/stop", {"run_id": "x"}),
        ("/api/unmask", {"account": site.changed}),
        ("/api/sign-out", {}),
    ):
        answer = client.post(path, content)
        assert answer.status == 401, path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"X_CSRF_Token": None}, 403),
        ({"X_CSRF_Token": "guessed"}, 403),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "text/plain"}, 415),
    ],
)
def test_a_forged_form_changes_nothing(ada: Client, site: Site, headers: dict[str, str | None], status: int) -> None:
    requests = len(site.receiver.requests())
    answer = ada.post("/api/replay", {"accounts": site.refused[422]}, **headers)
    assert answer.status == status
    assert ada.get("/api/own-run").content == {"state": "none"}
    assert len(site.receiver.requests()) == requests


def test_another_session_s_token_is_no_help(ada: Client, served: Served) -> None:
    eve = Client(served)
    eve.sign_in(TOKEN, "Eve")
    ada.session_token = eve.session_token
    assert ada.post("/api/replay", {"accounts": ["1"]}).status == 403
    assert ada.get("/api/overview").status == 401


@pytest.mark.parametrize("path", READING)
def test_the_cookie_alone_is_worth_nothing(ada: Client, path: str) -> None:
    """Browsers send it to every port of the host, so to whoever listens on one."""
    right, ada.session_token = ada.session_token, None
    assert ada.get(path).status == 401
    assert ada.get(path, X_CSRF_Token="guessed").status == 401
    told = ada.get("/api/session")
    assert (told.content["signed_in"], told.content["user"], told.content["operation"]) == (False, None, None)
    assert right is not None
    assert right.encode() not in told.body
    ada.session_token = right
    told = ada.get("/api/session")
    assert told.content["signed_in"] is True
    assert right.encode() not in told.body, "it is said at sign-in only"


def test_the_session_token_alone_is_worth_nothing(ada: Client) -> None:
    ada.cookie = None
    assert ada.get("/api/overview").status == 401
    assert ada.post("/api/replay", {"accounts": ["1"]}).status == 401


def test_a_planted_cookie_makes_nobody_act_as_another(ada: Client, served: Served) -> None:
    eve = Client(served)
    eve.sign_in(TOKEN, "Eve")
    ada.cookie = eve.cookie
    assert ada.get("/api/overview").status == 401
    assert ada.post("/api/replay", {"accounts": ["1"]}).status == 403


@pytest.mark.parametrize(
    "foreign",
    [
        "plain=1",
        'prefs={"a":"b c"}',
        "a[b]=c",
        "x",
        "secure",
        "=",
        "a=b=c",
        'q="open',
        "caf\u00e9=\u00e9",
        "$Version=1",
    ],
)
def test_no_cookie_of_another_port_signs_anybody_out(ada: Client, foreign: str) -> None:
    own = ada.cookie
    for cookies in (f"{foreign}; {own}", f"{own}; {foreign}", f"{foreign};{own} ;{foreign}"):
        ada.cookie = cookies
        assert ada.get("/api/overview").status == 200, cookies
    ada.cookie = foreign
    assert ada.get("/api/overview").status == 401


def test_of_two_cookies_of_our_name_the_last_counts(ada: Client) -> None:
    own, name = ada.cookie, f"incident_session_{ada.port}"
    ada.cookie = f"{name}=planted; {own}"
    assert ada.get("/api/overview").status == 200
    ada.cookie = f"{own}; {name}=planted"
    assert ada.get("/api/overview").status == 401


def test_the_cookie_is_named_by_the_port_that_the_browser_sees(client: Client) -> None:
    assert client.sign_in(TOKEN).headers["Set-Cookie"].startswith(f"incident_session_{client.port}=")
    through_a_tunnel = {"Host": "127.0.0.1:9999", "Origin": "http://127.0.0.1:9999"}
    cookie = client.post("/api/sign-in", {"token": TOKEN}, **through_a_tunnel).headers["Set-Cookie"]
    assert cookie.startswith("incident_session_9999=")
    assert client.get("/api/session", Host="127.0.0.1:x").status == 200


@pytest.mark.parametrize("asker", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", [*READING, "/api/session", "/static/js/app.js"])
def test_nothing_is_read_by_another_site(ada: Client, path: str, asker: str) -> None:
    assert ada.get(path, Sec_Fetch_Site=asker).status == 403
    assert ada.get(path, Sec_Fetch_Site="same-origin").status == 200


def test_a_link_on_another_site_leads_to_the_page_which_holds_no_data(ada: Client, client: Client) -> None:
    answer = ada.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert answer.status == 200
    ada.cookie = ada.session_token = None
    assert answer.body == client.get("/").body


@pytest.mark.parametrize(
    "content", [{}, {"accounts": []}, {"accounts": ["1"], "group": "x"}, {"accounts": [1]}, {"x": 1}, []]
)
def test_a_replay_has_to_say_what(ada: Client, content: object) -> None:
    assert ada.post("/api/replay", content).status == 400


def test_a_search_for_runs_has_to_be_one(ada: Client) -> None:
    assert ada.get("/api/runs?from=2026-02-30").content == {"error": "from has to be a day, such as 2026-03-01."}
    assert ada.get("/api/runs?to=9999-12-31").content == {"error": "to has to be a day, such as 2026-03-01."}
    assert ada.get(f"/api/runs?q={'x' * 201}").status == 400


def test_only_the_run_that_is_under_way_is_stopped(ada: Client) -> None:
    answer = ada.post("/api/stop", {"run_id": "20260301T120000-aaaaaaaa"})
    assert (answer.status, answer.content) == (409, {"error": "This run is not under way any more."})
    assert ada.get("/api/runs/20260301T120000-aaaaaaaa/log").status == 404


def test_a_request_may_not_be_endless(ada: Client) -> None:
    assert ada.post("/api/replay", {"accounts": ["0" * 300_000]}).status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(ada: Client, method: str) -> None:
    assert ada.ask(method, "/api/replay", None, {}).status == 405


def test_a_change_cannot_be_asked_for_by_get(ada: Client) -> None:
    assert ada.get("/api/unmask?account=1").status == 405
    assert ada.get("/api/start").status == ada.get("/api/stop").status == 405
    assert ada.get("/api/sign-out").status == 405


def test_every_answer_has_the_strict_headers(ada: Client, client: Client) -> None:
    answers = [
        ada.get("/"),
        ada.get("/static/js/app.js"),
        ada.get("/api/overview"),
        ada.get("/nowhere"),
        client.get("/", Host="evil.example"),
        client.post("/api/replay", {}, Origin=None),
    ]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Server"] is None
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store", "no-cache", *["no-store"] * 4]


def test_the_cookie_is_strict_and_out_of_reach_of_scripts(client: Client) -> None:
    cookie = client.sign_in(TOKEN).headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie, "over plain HTTP a secure cookie would never come back"


def test_files_are_the_page_s_own_and_nothing_else(ada: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/index.html", "/app.py", "/.."):
        assert ada.get(path).status == 404, path


def test_a_file_that_the_browser_has_is_not_sent_again(ada: Client) -> None:
    tag = ada.get("/static/css/base.css").headers["ETag"]
    answer = ada.ask("GET", "/static/css/base.css", None, {"If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")


def test_wrong_parameters_are_answered_with_a_sentence(ada: Client) -> None:
    for path in (
        "/api/runs?skip=-1",
        "/api/runs?skip=x",
        "/api/runs?kind=x",
        "/api/accounts?q=1",
        "/api/account",
        "/api/account?account=1&before=9e9",
    ):
        answer = ada.get(path)
        assert answer.status == 400, path
        assert answer.content["error"].endswith((".", "reconcile.")), path
    assert ada.get("/api/runs/none").status == 404


# -- personal data ----------------------------------------------------------------------------------------------------


def names_of(site: Site) -> list[str]:
    with closing(site.source()) as source:
        row = source.execute(
            "SELECT CONTACT_PERSON, ASSET_ADDRESS, NIC FROM debt_cust_detail WHERE ACCOUNT_NUM = ?", (site.changed,)
        ).fetchone()
    return [str(value) for value in row]


def test_personal_fields_are_masked(ada: Client, site: Site) -> None:
    answer = ada.get(f"/api/document?account={site.changed}")
    assert answer.content["masked"] is True
    assert not [value for value in names_of(site) if value.encode() in answer.body]
    changed = {line["path"][-1] for line in answer.content["lines"] if line["change"] == "changed"}
    assert "Arrears" in changed


def test_the_token_alone_does_not_unmask(ada: Client, site: Site) -> None:
    answer = ada.post("/api/unmask", {"account": site.changed})
    assert answer.status == 403
    assert "unmask_token" in answer.content["error"]


def test_unmasking_shows_them_and_is_logged_without_values(client: Client, served: Served, site: Site) -> None:
    client.sign_in(UNMASK_TOKEN, "Grace Hopper")
    answer = client.post("/api/unmask", {"account": site.changed})
    assert answer.status == 200
    values = names_of(site)
    assert all(value.encode() in answer.body for value in values)
    (line,) = [line for line in served.log.splitlines() if "unmasks" in line]
    who = "unmask_token (says: Grace Hopper) at 127.0.0.1"
    assert f"{who} unmasks the account that ends in {site.changed[-4:]}" in line
    assert str(client.get(f"/api/account?account={site.changed}").content["incidents"][0]["incident_id"]) in line
    assert site.changed not in served.log
    assert not [value for value in values if value in served.log]


def test_unmasking_needs_a_name(client: Client) -> None:
    answer = client.sign_in(UNMASK_TOKEN, "  ")
    assert answer.status == 403
    assert "name" in answer.content["error"]


def test_a_name_cannot_forge_a_line_of_the_log(client: Client, served: Served) -> None:
    client.sign_in(TOKEN, "Mallory\nINFO:incident_logger:All is well")
    assert not [line for line in served.log.splitlines() if line.startswith("INFO:incident_logger:All is well")]
    assert "token (says: Mallory INFO incident_logger All is well) at" in served.log


def test_a_token_of_one_s_own_says_who_did_it(site: Site) -> None:
    site.configure(
        tokens="ada: token-of-ada-alone\nbob: token-of-bob-alone", unmask_tokens="grace: token-of-grace-here"
    )
    try:
        with serving(site) as served:
            client = Client(served)
            assert client.get("/api/session").content["asks_name"] is False
            client.sign_in("token-of-ada-alone", "Grace")
            assert client.get("/api/session").content["user"] == "ada"
            assert client.post("/api/unmask", {"account": site.changed}).status == 403
            client.sign_in("token-of-grace-here", "Ada")
            assert client.post("/api/unmask", {"account": site.changed}).status == 200
            assert "Dashboard: ada at 127.0.0.1 signed in." in served.log
            assert "Dashboard: grace at 127.0.0.1 unmasks the account" in served.log
            assert "says" not in served.log
            assert "token-of" not in served.log
    finally:
        site.configure(token=TOKEN, unmask_token=UNMASK_TOKEN)


# -- other settings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_token(site: Site) -> Iterator[Served]:
    """A dashboard on this machine's own address, with no token set."""
    site.configure(port="0")
    with serving(site) as running:
        yield running


def test_without_a_token_it_can_be_read_and_not_changed(without_token: Served, site: Site) -> None:
    client = Client(without_token)
    session = client.get("/api/session").content
    assert (session["may_read"], session["can_sign_in"]) == (True, False)
    assert client.get("/api/overview").status == 200
    for path, content in (
        ("/api/replay", {"accounts": site.refused[422]}),
        ("/api/start", {}),
        ("/api/stop", {"run_id": "x"}),
        ("/api/unmask", {"account": site.changed}),
        ("/api/sign-in", {"token": ""}),
    ):
        answer = client.post(path, content)
        assert answer.status == 403, path
        assert "give [DASHBOARD] token 16 or more characters" in answer.content["error"]
    assert "WARNING:incident_logger:No [DASHBOARD] token is set: every user of this host can read" in without_token.log
    assert "nobody can change anything" in without_token.log
    assert client.get("/api/overview", Sec_Fetch_Site="same-site").status == 403


def command(site: Site, *arguments: str, **dashboard: str) -> "subprocess.CompletedProcess[str]":
    """Run a dashboard that is expected to end at once."""
    config = site.folder / "other.ini"
    text = site.config.read_text()
    config.write_text(
        text.partition("[DASHBOARD]")[0] + "\n[DASHBOARD]\n" + "".join(f"{k} = {v}\n" for k, v in dashboard.items())
    )
    return subprocess.run(
        [sys.executable, "-m", "incident_process", "dashboard", "--config", str(config), "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(incident_process.__file__).parent.parent)},
        check=False,
    )


def test_another_address_needs_a_token(site: Site) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.net"):
        ended = command(site, "--host", host)
        assert ended.returncode == 2, host
        assert "[DASHBOARD] token is missing" in ended.stderr


def test_a_token_that_is_easy_to_guess_is_refused_and_not_repeated(site: Site) -> None:
    ended = command(site, token="hunter2")
    assert ended.returncode == 2
    assert "hunter2" not in ended.stderr


def test_a_name_or_token_that_two_lines_have_is_refused(site: Site) -> None:
    for wrong in (
        {"tokens": "ada: token-of-ada-alone\n  bob: token-of-ada-alone"},
        {"tokens": "ada: token-of-ada-alone", "unmask_tokens": "ada: token-of-another"},
        {"tokens": "ada: token-of-ada-alone\n  ada: token-of-another"},
        {"tokens": "ada token-of-ada-alone"},
        {"tokens": "ada: token-of-ada"},
    ):
        ended = command(site, **wrong)
        assert ended.returncode == 2, ended.stderr
        assert "[DASHBOARD] tokens" in ended.stderr
        assert "token-of" not in ended.stderr


def test_the_two_tokens_have_to_differ(site: Site) -> None:
    ended = command(site, token=TOKEN, unmask_token=TOKEN)
    assert ended.returncode == 2
    assert "unmask_token is the same as token" in ended.stderr
    assert TOKEN not in ended.stderr


def test_wrong_tokens_are_slowed_down_and_never_logged(site: Site) -> None:
    site.configure(token=TOKEN)
    with serving(site) as served:
        client = Client(served)
        began = time.monotonic()
        answers = [client.sign_in(f"guess-number-{number:04d}") for number in range(6)]
        assert [answer.status for answer in answers] == [403] * 5 + [429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert time.monotonic() - began >= 6, "one after the other, each takes a second"
        took = []
        for _ in range(3):
            began = time.monotonic()
            assert client.sign_in(TOKEN).status == 200, "the right one is not locked out by those who guess"
            took.append(time.monotonic() - began)
        assert min(took) < 1, "not even for a second"
        assert "guess-number" not in served.log
        assert TOKEN not in served.log


def test_who_has_no_token_cannot_bury_the_log(site: Site) -> None:
    site.configure(token=TOKEN)
    with serving(site) as served, ThreadPoolExecutor(20) as crowd:
        client = Client(served)
        head = (
            "POST /api/sign-in HTTP/1.1\r\nHost: {0}:{1}\r\nOrigin: http://{0}:{1}\r\n"
            "Content-Type: application/json\r\n{2}\r\n\r\n{3}"
        )
        for length, begun in (("Content-Length: 200000", "x"), ("Transfer-Encoding: chunked", "5\r\nab")) * 20:
            with socket.create_connection((client.host, client.port), timeout=10) as raw:
                raw.sendall(head.format(client.host, client.port, length, begun).encode())
                time.sleep(0.02)
        assert list(crowd.map(lambda _: Client(served).sign_in("guess-number-0001").status, range(40)))
        assert client.sign_in(TOKEN).status == 200
    lines = [line for line in served.log.splitlines() if "Dashboard: " in line]
    assert "somebody at 127.0.0.1 could not sign in" in lines[0]
    assert "signed in" in lines[1]
    assert "39 more sign-ins were refused within a minute, the last one from 127.0.0.1" in lines[2]
    assert len(lines) == 3, "nothing of those that broke off"


def test_a_flood_of_guesses_keeps_nobody_else_waiting(site: Site) -> None:
    site.configure(token=TOKEN)
    with serving(site) as served, ThreadPoolExecutor(60) as crowd:
        guesses = [crowd.submit(Client(served).sign_in, f"guess-number-{number:04d}") for number in range(180)]
        began = time.monotonic()
        client = Client(served)
        assert client.sign_in(TOKEN).status == 200
        assert client.get("/api/overview").status == 200
        assert time.monotonic() - began < 5
        assert {guess.result().status for guess in guesses} <= {403, 429}


@pytest.mark.parametrize("connections", [40, 160])
def test_many_connections_guess_no_faster_and_keep_the_right_token_out_nowhere(site: Site, connections: int) -> None:
    site.configure(token=TOKEN)
    with serving(site) as served, ThreadPoolExecutor(connections) as crowd:
        client = Client(served)
        began = time.monotonic()
        guesses = [crowd.submit(guess_for, 4, client, number) for number in range(connections)]
        time.sleep(2)
        asked = time.monotonic()
        with closing(http.client.HTTPConnection(client.host, client.port, 30, ("127.0.0.2", 0))) as other:
            assert sign_in_over(other, client, TOKEN)[0] == 200
        took = time.monotonic() - asked
        compared = sum(guess.result() for guess in guesses)
        lasted = time.monotonic() - began
    assert took < 15
    assert 20 <= compared <= 20 * (lasted + 1)


def guess_for(seconds: float, client: Client, number: int) -> int:
    """Return how many of the guesses over one connection after another were compared with the token."""
    until, compared = time.monotonic() + seconds, 0
    connection = http.client.HTTPConnection(client.host, client.port, timeout=30)
    while time.monotonic() < until:
        status, closes = sign_in_over(connection, client, f"guess-number-{number:04d}")
        assert status in ({429} if closes else {403, 429})
        if closes:
            time.sleep(0.2)
        else:
            compared += 1
    connection.close()
    return compared


def sign_in_over(connection: http.client.HTTPConnection, client: Client, token: str) -> tuple[int, bool]:
    """Return the status, and whether the server closes the connection."""
    headers = {"Origin": client.origin, "Content-Type": "application/json"}
    connection.request("POST", "/api/sign-in", json.dumps({"token": token}), headers)
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["Connection"] == "close"


def test_a_crowd_that_says_nothing_does_not_take_the_page_away(site: Site) -> None:
    site.configure(token=TOKEN)
    with serving(site) as served, ExitStack() as crowd:
        client = Client(served)
        for _ in range(600):
            crowd.enter_context(socket.create_connection((client.host, client.port)))
        began = time.monotonic()
        assert client.get("/").status == 200
        assert client.sign_in(TOKEN).status == 200
        assert client.get("/api/overview").status == 200
        assert time.monotonic() - began < 10
