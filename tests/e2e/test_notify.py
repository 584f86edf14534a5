"""Alerts as the people on call get them: through Apprise, once when it begins, once when it is over (``[NOTIFY]``)."""

import asyncio
import json
import resource
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from incident_process.observability import alert_sending
from incident_process.observability.alert_sending import send
from tests.e2e.conftest import OPERATION, TRACKINGS, MakeSite, ServerDatabase, Site, day
from tests.support.command import wait_until
from tests.support.listener import Listener, listening
from tests.support.mail import mail_server
from tests.support.receivers import ReceiverHandle
from tests.support.schedules import schedule

TOKEN = "t0ken-of-the-chat"
ACCOUNTS = [f"{n:06d}" for n in range(6)]


@pytest.fixture
def chat() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def told(chat: Listener) -> list[str]:
    """What was told, in order: ``Alert: …`` and ``Over: …``, without the operation."""
    return [json.loads(heard.body)["title"].partition(" (")[0] for heard in chat.heard]


def alarmed(site: Site, chat: Listener, **notify: object) -> Site:
    """The site with six accounts, an impatient delivery, and somebody to tell."""
    site.command.configure(
        notify={"urls": f"json://{chat.address}/{TOKEN}"} | notify,
        api={"max_attempts": 1, "retry_seconds": 0},
    )
    site.prepare()
    site.customers(*({"ACCOUNT_NUM": account, "ASSET_ID": "A1", "LOAD_DATE": day(0)} for account in ACCOUNTS))
    return site


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_an_incomplete_run_is_told_once_and_once_when_it_is_over(
    make_site: MakeSite, chat: Listener, tracking: str
) -> None:
    """Over processes: each run is one of its own, as cron has it."""
    site = alarmed(make_site("sqlite", tracking), chat)
    site.receiver.control(fail_rate=1)
    for _ in range(3):
        site.run(4)
    assert told(chat) == ["Alert: run failed or incomplete"]
    message = json.loads(chat.heard[0].body)
    assert message["type"] == "failure"
    assert "is incomplete: the receiver fails across accounts" in message["message"]
    site.receiver.calm()
    for _ in range(2):
        site.run(0)
        site.make_due()
    assert told(chat) == ["Alert: run failed or incomplete", "Over: run failed or incomplete"]
    over = json.loads(chat.heard[1].body)
    assert over["type"] == "success"
    assert over["message"].startswith("It began at 20")
    site.receiver.control(fail_rate=1)  # and when it comes back, it is told again
    site.customers({"ACCOUNT_NUM": "new", "ASSET_ID": "A1", "LOAD_DATE": day(0)})
    site.run(4)
    assert told(chat)[2:] == ["Alert: run failed or incomplete"]


def _hostile(mode: str) -> Callable[[socket.socket], None]:
    def answer(peer: socket.socket) -> None:
        peer.recv(65_536)
        if mode == "slow":
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(200):
                peer.sendall(b"x")
                time.sleep(0.1)
            return
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        for _ in range(1200):
            peer.sendall(packer.compress(bytes(1 << 20)))
        peer.sendall(packer.flush())

    return answer


@pytest.mark.parametrize("mode", ["slow", "bomb"])
def test_a_hostile_address_holds_nothing_up_and_costs_the_others_nothing(
    chat: Listener, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(alert_sending, "SECONDS", 6)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                _hostile(mode)(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        addresses = [f"json://127.0.0.1:{server.getsockname()[1]}/", f"json://{chat.address}/"]
        begun = time.monotonic()
        assert asyncio.run(send(addresses, "Alert: run failed", "text", good=False))
        assert time.monotonic() - begun < 12
        thread.join()
    assert len(chat.heard) == 1
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert most < 700 << 10, "kilobytes"


def test_a_mail_keeps_its_lines_and_a_receiver_s_words_as_they_are() -> None:
    text = "HTTP 503: <h1>Busy</h1> & more\nOperation: nightly\nHost: worker"
    with mail_server() as mail:
        address = f"mailto://{mail.address}?from=incidents@example.org&to=oncall@example.org"
        assert asyncio.run(send([address], "Alert: run failed", text, good=False))
    (letter,) = mail.letters
    assert letter["Subject"] == "Alert: run failed"
    assert letter.get_content_type() == "text/plain"
    assert letter.get_content().rstrip().splitlines() == text.splitlines()


def test_a_test_alert_arrives_and_doctor_says_where_it_did_not(make_site: MakeSite, chat: Listener) -> None:
    site = make_site()
    site.command.configure(api={"bearer_token": TOKEN})
    site.prepare()
    with mail_server() as mail:
        letters = f"mailto://{mail.address}?from=incidents@example.org&to=oncall@example.org"
        site.command.configure(notify={"urls": f"json://{chat.address}/{TOKEN} {letters}"})
        good = site.command("doctor", "--test-alert", "--json")
        chat.status = 500
        bad = site.command("doctor", "--test-alert", "--json")
    alerts = [one for finished in (good, bad) for one in finished.json if one["subject"] == "alerts"]
    assert [(one["level"], one["finding"]) for one in alerts] == [
        ("ok", "Address 1 of [NOTIFY] urls took the test alert."),
        ("ok", "Address 2 of [NOTIFY] urls took the test alert."),
        ("error", "Address 1 of [NOTIFY] urls did not take the test alert."),
        ("ok", "Address 2 of [NOTIFY] urls took the test alert."),
    ]
    assert (good.status, bad.status) == (0, 4)
    heard, _ = chat.heard
    letter, _ = mail.letters
    told = json.loads(heard.body)
    assert heard.path == f"/{TOKEN}"
    assert told["type"] == "success"
    assert told["title"] == letter["Subject"] == f"Test: an alert of incident-process ({OPERATION})"
    text = f"Nothing is wrong: an operator is testing whether alerts arrive. Host: {socket.gethostname()}"
    assert told["message"] == letter.get_content().rstrip() == text
    assert TOKEN not in f"{heard.body!r}{letter}{good}{bad}"
    assert letter["To"] == "oncall@example.org"


def test_new_dead_letters(make_site: MakeSite, chat: Listener) -> None:
    site = alarmed(make_site(), chat)
    site.receiver.control(fail_accounts={ACCOUNTS[0]: 422})
    assert site.run()["dead"] == 1
    assert told(chat) == ["Alert: new dead letters"]
    assert ACCOUNTS[0] not in chat.heard[0].body.decode()
    site.make_due()
    site.run()
    assert told(chat) == ["Alert: new dead letters", "Over: new dead letters"]


def test_a_terminated_operation(make_site: MakeSite, chat: Listener) -> None:
    site = alarmed(make_site(), chat)
    assert site.state is not None
    site.state.sql("UPDATE Process_Operation SET end_dtm = ?", "2020-01-01 00:00:00")
    for _ in range(2):
        site.run(6)
    site.state.sql("UPDATE Process_Operation SET end_dtm = NULL")
    site.run(0)
    assert told(chat) == ["Alert: operation inactive or terminated", "Over: operation inactive or terminated"]


def test_a_lag_over_the_limit_is_noticed_by_a_schedule_that_cannot_run(make_site: MakeSite, chat: Listener) -> None:
    site = alarmed(make_site("sqlite", "mariadb"), chat, lag_seconds=600)
    site.run()
    assert site.state is not None
    before = datetime.now(UTC) - timedelta(hours=2)
    ahead = datetime.now(UTC) + timedelta(hours=2)
    site.state.sql("UPDATE Process_Operation_Run SET Window_End_Dtm = ?", before.replace(tzinfo=None))
    site.state.sql("UPDATE Process_Operation SET Next_execution_dtm = ?", f"{ahead:%Y-%m-%d %H:%M:%S}")
    with schedule(site.command) as running:
        wait_until(lambda: len(chat.heard) == 1)
        assert "no window was gone through for 7" in json.loads(chat.heard[0].body)["message"]
        site.make_due()
        wait_until(lambda: len(chat.heard) == 2)
        running.stop()
    assert told(chat) == ["Alert: lag over the limit", "Over: lag over the limit"]


def test_a_database_that_is_away_is_told_once_by_each_machine(make_site: MakeSite, chat: Listener) -> None:
    """The state itself is away: this machine remembers what it has told until the state can."""
    site = alarmed(make_site("mariadb", "mariadb"), chat)
    assert isinstance(site.source, ServerDatabase)
    site.source.server.kill()
    try:
        for _ in range(2):
            site.run(3)
    finally:
        site.source.server.start()
    assert told(chat) == ["Alert: run failed or incomplete"]
    site.run(0)
    assert told(chat) == ["Alert: run failed or incomplete", "Over: run failed or incomplete"]


def test_a_schedule_that_sees_nothing_says_so(make_site: MakeSite, chat: Listener) -> None:
    site = alarmed(make_site("mariadb", "sqlite"), chat)
    assert isinstance(site.source, ServerDatabase)
    with schedule(site.command) as running:
        running.wait_for("INFO:The next run is due at ")
        site.source.server.kill()
        try:
            wait_until(lambda: len(chat.heard) == 1, 60)
        finally:
            site.source.server.start()
        wait_until(lambda: len(chat.heard) == 2, 60)
        running.stop()
    assert told(chat) == ["Alert: source or state out of reach", "Over: source or state out of reach"]


def test_two_schedules_tell_it_once(make_site: MakeSite, chat: Listener) -> None:
    site = alarmed(make_site("sqlite", "mongo"), chat)
    site.receiver.control(fail_rate=1)
    with (
        schedule(site.command, interval_seconds=2) as one,
        schedule(site.command, interval_seconds=2) as two,
    ):
        wait_until(lambda: one.count("INFO:Run ") + two.count("INFO:Run ") >= 4)
        site.receiver.calm()
        wait_until(lambda: len(chat.heard) == 2)
        before = one.count("INFO:Run ") + two.count("INFO:Run ")
        wait_until(lambda: one.count("INFO:Run ") + two.count("INFO:Run ") >= before + 2)
        for running in (one, two):
            running.stop()
    assert told(chat) == ["Alert: run failed or incomplete", "Over: run failed or incomplete"]


def test_a_notifier_that_fails_is_a_warning_and_shows_no_address(
    make_site: MakeSite, chat: Listener, closed_port: int
) -> None:
    site = alarmed(make_site(), chat)
    lost = f"json://user:{TOKEN}@127.0.0.1:{closed_port}/{TOKEN}"
    unknown = f"nothing://{TOKEN}"
    site.command.configure(notify={"urls": f"{lost}\n  {unknown}"}, process={"log_level": "DEBUG"})
    site.receiver.control(fail_accounts={ACCOUNTS[0]: 422})
    finished = site.finish()
    assert "[NOTIFY] urls: address 1 did not take an alert." in finished.messages("WARNING")
    assert any(message.startswith("[NOTIFY] urls: address 2 is none") for message in finished.messages("WARNING"))
    assert TOKEN not in finished.stderr + finished.stdout
    assert site.history()[0]["status"] == "completed"


def test_an_address_that_works_is_told_once_though_another_does_not(
    make_site: MakeSite, chat: Listener, closed_port: int
) -> None:
    site = alarmed(make_site(), chat)
    site.command.configure(notify={"urls": f"json://127.0.0.1:{closed_port}/ json://{chat.address}/{TOKEN}"})
    site.receiver.control(fail_rate=1)
    for _ in range(2):
        site.run(4)
    assert told(chat) == ["Alert: run failed or incomplete"]


def test_a_mistake_in_the_addresses_does_not_show_them(make_site: MakeSite) -> None:
    site = make_site()
    site.command.configure(notify={"urls": f"json://127.0.0.1/ {TOKEN}"})
    finished = site.command.run()
    assert finished.status == 2
    assert "[NOTIFY] urls has no address in place 2: write scheme://…" in finished.stderr
    assert TOKEN not in finished.stderr + finished.stdout


def test_a_run_that_somebody_stops_alarms_nobody(make_site: MakeSite, chat: Listener, receiver: ReceiverHandle) -> None:
    site = alarmed(make_site(), chat)
    receiver.control(latency_ms=2000)
    with site.command.started("run") as running:
        wait_until(lambda: len(site.requests()) > 0)
        assert running.terminate().status in {0, 4}
    assert told(chat) == []
