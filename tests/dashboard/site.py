"""A dashboard over synthetic data: source, receiver and state as they are after a few days of runs, all of it real.

The last runs are real ones; those of the days before are written into the audit trail as a run would write them, so
that there is something to chart. Also used by ``scripts/screenshots``.
"""

import asyncio
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

import incident_process
from incident_process.app.factory import make_store
from incident_process.app.runner import run_leased, run_window
from incident_process.core.models import (
    Counts,
    RunKind,
    RunRecord,
    RunReport,
    RunStatus,
    Window,
)
from incident_process.operations.dead_letters import open_dead_letters
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import replay
from incident_process.pipeline.run import Run
from incident_process.sandbox.demo.data import Population
from incident_process.sandbox.demo.tables import create_sqlite, insert
from incident_process.settings import Settings
from incident_process.settings.template import render
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from tests.support.receivers import ReceiverHandle, start_receiver

TOKEN = "a-token-made-for-tests"
UNMASK_TOKEN = "another-token-made-for-tests"
ACCOUNTS = 300
PAST_RUNS = 34
REFUSED = {422: range(40, 47), 400: range(80, 83), 413: range(120, 121)}
"""Which accounts the receiver rejects, by index, and with which status."""
READY_SECONDS = 30
STOP_SECONDS = 15


class Site:
    """What ``make_site`` has made. ``changed`` is an account whose rows have changed since its last delivery."""

    def __init__(self, folder: Path, receiver: ReceiverHandle) -> None:
        self.folder = folder
        self.receiver = receiver
        self.people = Population(assets=2)
        self.config = folder / "site.ini"
        self.changed = self.people.account(7)
        self.refused = {status: [self.people.account(index) for index in of] for status, of in REFUSED.items()}

    def configure(self, **dashboard: str) -> Settings:
        """Write the configuration with these keys of ``[DASHBOARD]``, and return it read."""
        values = {
            "DATABASE": {"URL": f"sqlite:///{self.folder / 'source.db'}"},
            "STATE": {"url": f"sqlite:///{self.folder / 'state.db'}"},
            "API": {"api_url": self.receiver.url, "max_connections": "16"},
            "PROCESS": {"tracking": "sql", "time_gap_seconds": "0", "chunk_accounts": "50", "keep_bodies": "30"},
            "LOG": {"file": str(self.folder / "site.log")},
            "DASHBOARD": dashboard,
        }
        self.config.write_text(render({name: of for name, of in values.items() if of}), encoding="utf-8")
        return Settings.load(self.config, {})

    def load_payments(self, *indexes: int) -> None:
        """Let payments of these accounts arrive now."""
        now = datetime.now(UTC).replace(microsecond=0)
        with closing(self.source()) as source:
            insert(source, PAYMENT_TABLE, self.people.payments(indexes, now))

    def run(self, **overrides: str) -> RunReport:
        """Run one window, whether or not it is due; ``overrides`` are keys of ``[API]``."""
        environment = {f"INCIDENT_PROCESS__API__{key.upper()}": value for key, value in overrides.items()}
        self._make_due()
        return run_window(Settings.load(self.config, environment))

    def replay(self) -> RunReport:
        """Send all dead letters once more."""

        async def made(parts: Parts) -> Run:
            return Run(parts, replay(parts, [entry.account for entry in await open_dead_letters(parts.store)]))

        return run_leased(Settings.load(self.config, {}), made)

    def fail(self) -> None:
        """Do a run while the receiver fails for all: some incidents are tried, the others are not."""
        self.load_payments(*range(140, 180))
        self.receiver.control(fail_rate=1.0)
        self.run(max_attempts="1", breaker_failures="3", max_connections="2")
        self.receiver.control(fail_rate=0.0)

    def accept(self) -> None:
        """Let the receiver take from now on what it rejected."""
        self.receiver.control(fail_accounts={})

    def refuse(self) -> None:
        """Let the receiver turn the accounts of ``REFUSED`` away."""
        self.receiver.control(fail_accounts={account: status for status, of in self.refused.items() for account in of})

    def source(self) -> sqlite3.Connection:
        """Return an open connection to the source."""
        return sqlite3.connect(self.folder / "source.db", timeout=30)

    def _make_due(self) -> None:
        with closing(sqlite3.connect(self.folder / "state.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE Process_Operation SET Next_execution_dtm = datetime('now', '-1 second')")


@contextmanager
def make_site(folder: Path, **faults: object) -> Iterator[Site]:
    """Make a site in an empty folder, its receiver with these faults; the receiver is stopped at the end."""
    with start_receiver(folder, **faults) as receiver:
        site = Site(folder, receiver)
        settings = site.configure(token=TOKEN, unmask_token=UNMASK_TOKEN)
        now = datetime.now(UTC).replace(microsecond=0)
        create_sqlite(folder / "source.db")
        source = site.source()
        insert(source, CUSTOMER_TABLE, site.people.customers(range(ACCOUNTS), (now - timedelta(days=5)).date()))
        insert(source, PAYMENT_TABLE, site.people.payments(range(0, ACCOUNTS + 2, 2), now - timedelta(days=2)))
        # Something for the doctor: a missing index, and a row that no window can ever hold.
        source.execute("DROP INDEX debt_payment_account")
        source.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('0000000001')")
        source.commit()
        source.close()
        asyncio.run(_past(settings, now))
        site.refuse()
        site.run()
        for some in (range(30), range(10, 60, 3)):
            site.load_payments(*some)
            site.run()
        with closing(site.source()) as source, source:  # not sent yet: the last run is over
            insert(source, CUSTOMER_TABLE, site.people.customers((7,), now.date()))
        yield site


async def _past(settings: Settings, now: datetime) -> None:
    """Write the runs of the last days into the audit trail, through the store, as runs write them."""
    chance = random.Random(5)
    operation = settings.process.operation_name
    async with make_store(settings) as store:
        await store.prepare()
        await store.create_operation(settings.process.execution_duration)
        lease = await store.acquire_lease("tests", 60)
        for back in range(PAST_RUNS, 0, -1):
            began = now - timedelta(hours=back, seconds=chance.randrange(40))
            seconds = chance.uniform(1.4, 3.2)
            delivered = chance.randrange(60, 240) if began.hour % 24 in range(6, 21) else chance.randrange(25)
            counts = Counts(
                rows={CUSTOMER_TABLE: delivered * 2, PAYMENT_TABLE: delivered // 3},
                accounts=delivered + 6,
                reread=chance.randrange(40, 110),
                delivered=delivered,
                unchanged=chance.randrange(40, 110),
                skipped=1 if back % 11 == 3 else 0,
                pending=38 if back == 20 else 0,
            )
            run = RunRecord(
                run_id=f"{began:%Y%m%dT%H%M%S}-{chance.randrange(16**8):08x}",
                operation=operation,
                kind=RunKind.WINDOW,
                status=RunStatus.RUNNING,
                host="worker-1",
                started_at=began,
                window=Window(start=began - timedelta(hours=1), end=began),
            )
            await store.open_run(lease, run)
            await store.write_run(lease, _ended(run, began + timedelta(seconds=seconds), counts, failed=back == 20))
        await store.release_lease(lease)


def _ended(run: RunRecord, at: datetime, counts: Counts, *, failed: bool) -> RunRecord:
    return msgspec.structs.replace(
        run,
        status=RunStatus.INCOMPLETE if failed else RunStatus.COMPLETED if counts.delivered else RunStatus.NO_DATA,
        ended_at=at,
        counts=counts,
        error="the receiver fails across accounts (circuit breaker): HTTP 503 Service Unavailable" if failed else None,
    )


class Served:
    """A dashboard that runs. ``log`` is what it has written to stderr so far."""

    def __init__(self, url: str, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.url = url
        self.pid = process.pid
        self._errors = errors

    @property
    def log(self) -> str:
        return self._errors.read_text(encoding="utf-8")


@contextmanager
def serving(site: Site, *arguments: str) -> Iterator[Served]:
    """Run the command ``dashboard`` on a free port; it is ended by SIGTERM, and has to end well."""
    errors = site.folder / f"dashboard-{len(list(site.folder.glob('dashboard-*')))}.log"
    package = Path(incident_process.__file__).parent.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INCIDENT_PROCESS")}
    command = [sys.executable, "-m", "incident_process", "dashboard", "--config", str(site.config), "--port", "0"]
    with errors.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            env={**environment, "PYTHONPATH": str(package)},
        )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        line = process.stdout.readline().strip() if ready else ""
        assert line.startswith("Dashboard: http"), errors.read_text()
        yield Served(line.partition(" ")[2], process, errors)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0, errors.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
