"""Hostile input: account numbers, answers, redirects, certificates (SPEC 2, 5)."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext
from threading import Thread
from typing import Any

import pytest

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.e2e.test_promise_boundary import check_promise, load
from tests.support.authority import Authority

ACCOUNTS = (
    'O\'Brien "the" `1`',
    "'; DROP TABLE x; --",
    "' OR '1'='1",
    "100%s %(name)s {0}",
    "back\\slash\\'",
    "😀🏳️‍🌈🧑🏽‍🚀",
    "--account",
    "tab\tline\n<b>&amp;",
    "%",
    "_",
)
"""At most 20 characters, as the field's column holds them."""
TOKEN = "synthetic-Token-4711"
HEADER = "synthetic header 4712"


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_hostile_account_numbers(make_site: MakeSite, tracking: str) -> None:
    """Case 18: quotes, percent signs, 4-byte characters, SQL: through source, state, receiver and command line."""
    site = make_site("mariadb", tracking)
    site.prepare()
    final = {account: Decimal(f"{number}.75") for number, account in enumerate(ACCOUNTS)}
    for account, amount in final.items():
        load(site, account, day(3), OUTSTANDING=str(amount))
        site.payments({"AP_ACCOUNT_NUMBER": account, "ACCOUNT_PAYMENT_SEQ": 5, "LOAD_DATE": f"{day(3)} 10:00:00"})
    refused = ACCOUNTS[1]
    site.receiver.control(fail_accounts={refused: 422})
    report = site.run()
    assert (report["delivered"], report["dead"]) == (len(ACCOUNTS) - 1, 1)
    site.receiver.calm()
    (entry,) = site.deliveries(f"--account={refused}")
    assert (entry["account"], entry["status"]) == (refused, "dead")
    replayed = site.command("dead-letters", "replay", f"--account={refused}", "--json")
    assert replayed.json["delivered"] == 1
    assert site.command("reconcile").status == 0
    check_promise(site, final)
    bodies = [json.loads(row["body"]) for row in site.accepted()]
    assert {body["Last_Actions"][0]["Payment_Seq"] for body in bodies} == {5}


class Server(ThreadingHTTPServer):
    """A receiver of this test's own: one answer for every POST, and the requests that it was sent."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes, tls: SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = (status, headers, content)
        self.scheme = "http" if tls is None else "https"
        self.posted: list[tuple[dict[str, str], bytes]] = []
        if tls is not None:
            # The handshake is the handler's: one that fails must not hold up those who come after it.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/incidents"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that turns away from the certificate is what some of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((dict(self.headers), body))
        status, headers, content = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        """Write nothing to the tests' output."""


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers, and end them with the test."""
    started: list[tuple[Server, Thread]] = []

    def start(
        status: int = 201, headers: dict[str, str] | None = None, content: bytes = b"{}", tls: SSLContext | None = None
    ) -> Server:
        server = Server(status, headers or {}, content, tls)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """One account, and a command that does not try for long."""
    made = make_site("sqlite", "sqlite")
    made.command.configure(api={"bearer_token": TOKEN, "max_attempts": 2, "retry_seconds": 1})
    made.prepare()
    load(made, "0000000001", day(3))
    return made


@pytest.mark.parametrize("status", [201, 422])
def test_a_response_of_five_megabytes(site: Site, serve: Serve, status: int) -> None:
    """Case 18: it is an answer like any other, and leaves no trace of its size."""
    content = json.dumps({"detail": "0000000001 " + "x" * 5_000_000}).encode()
    server = serve(status, {"Content-Type": "application/json"}, content)
    site.command.configure(api={"api_url": server.url})
    # Nobody is taken where it answers 422 to everything: that is the way to the receiver, and no record dies of it.
    report = site.run(expect=0 if status == 201 else 4)
    assert (report["delivered"], report["dead"], report["pending"]) == ((1, 0, 0) if status == 201 else (0, 0, 1))
    (entry,) = site.deliveries()
    # Before it is held against the record, the receiver is asked with {}.
    assert (entry["http_status"], len(server.posted)) == (status, 1 if status == 201 else 2)
    assert len(entry["error"] or "") <= 240


@pytest.mark.parametrize("status", [401, 422, 503])
def test_a_receiver_that_repeats_the_credentials(site: Site, serve: Serve, status: int) -> None:
    """They reach neither ledger nor log nor report, whatever an answer says (SPEC 5)."""
    said = f"bad token Bearer {TOKEN}, or {TOKEN}, or {HEADER} " * 40
    server = serve(status, {"Content-Type": "application/json"}, json.dumps({"detail": said}).encode())
    site.command.configure(
        api={"api_url": server.url, "headers": f"X-Key: {HEADER}"}, process={"log_level": "DEBUG", "log_format": "json"}
    )
    shown = [site.command("run", "--json")]
    headers = server.posted[0][0]
    assert (headers["Authorization"], headers["X-Key"]) == (f"Bearer {TOKEN}", HEADER)
    shown += [site.command(command, "--json") for command in ("status", "history", "deliveries")]
    shown.append(site.command("dead-letters", "list", "--json"))
    (entry,) = site.deliveries()
    assert "bad token ***, or ***, or *** bad token" in entry["error"]
    for finished in shown:
        assert TOKEN not in finished.stdout + finished.stderr
        assert HEADER not in finished.stdout + finished.stderr


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_host(site: Site, serve: Serve, status: int) -> None:
    """Case 18: credentials and personal data go to the configured address or nowhere; the incident stays pending."""
    thief = serve()
    server = serve(status, {"Location": thief.url.replace("127.0.0.1", "localhost")}, b"")
    site.command.configure(api={"api_url": server.url})
    report = site.run(expect=4)
    assert (report["status"], report["pending"]) == ("incomplete", 1)
    assert thief.posted == []
    assert server.posted[0][0]["Authorization"] == f"Bearer {TOKEN}"
    # The operator names the new address: the same body goes there.
    site.command.configure(api={"api_url": thief.url})
    assert site.run()["delivered"] == 1
    assert [body for _, body in thief.posted] == [server.posted[0][1]]


@pytest.mark.parametrize("mistake", ["authority", "host", "expired"])
def test_a_certificate_that_does_not_fit_and_one_that_does(
    site: Site, serve: Serve, tmp_path: Path, mistake: str
) -> None:
    """Case 18: not a byte goes to a server of unknown authority, other name or past date; ca_file makes one known."""
    ours, theirs = Authority("ours"), Authority("theirs")
    signed = theirs if mistake == "authority" else ours
    host = "receiver.example" if mistake == "host" else "127.0.0.1"
    wrong = serve(tls=signed.server(tmp_path, host, days=-1 if mistake == "expired" else 30))
    site.command.configure(api={"api_url": wrong.url, "ca_file": ours.write(tmp_path / "ca.pem")})
    report = site.run(expect=4)
    assert (report["status"], report["pending"], wrong.posted) == ("incomplete", 1, [])
    (entry,) = site.deliveries()
    assert (entry["status"], entry["http_status"]) == ("pending", None)
    right = serve(tls=ours.server(tmp_path, "127.0.0.1"))
    site.command.configure(api={"api_url": right.url})
    assert site.run()["delivered"] == 1
    assert len(right.posted) == 1
