"""``make bench``: incidents a second of the real command, beside the same bodies posted raw by the same client.

One first load of ACCOUNTS accounts (20,000 unless the variable says otherwise) is delivered to the project's own
receiver, with the state on SQLite, MariaDB and a server of MongoDB's wire protocol; source, state and receiver share
this machine's processors. All in one run, because machines differ and are noisy: quote the ratios.
"""

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDBServer
from tests.support.receivers import ReceiverHandle, start_receiver
from tests.support.secantus import SecantusServer
from tests.support.source_data import create_tables

from incident_process.delivery.transport import HttpTransport
from incident_process.demo.data import Population
from incident_process.source.contract import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE

ACCOUNTS = int(os.environ.get("ACCOUNTS", "20000"))
CONNECTIONS = 64
BATCH = 5000


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One line of the table. ``cpu_us`` is processor time an incident of the measured process alone."""

    name: str
    per_second: float
    cpu_us: float
    peak_mib: float | None


def main() -> None:
    """Measure and print the table."""
    loaded = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="incident-bench-")))
        mariadb = stack.enter_context(_running(MariaDBServer))
        database = mariadb.create_database()
        say(f"Loading {ACCOUNTS} synthetic accounts into SQLite and MariaDB ...")
        rows = _load(folder / "source.db", mariadb, database, loaded)
        say(f"{rows} rows. Measuring, a new receiver and a new state each time ...")
        results = []
        states: dict[str, dict[str, dict[str, object]]] = {
            "ours, source and state on SQLite": _sqlite(folder / "source.db", folder / "state.db"),
            "ours, source and state on MariaDB": _mariadb(mariadb, database),
        }
        for name, sections in states.items():
            with _receiver(folder, name) as receiver:
                results.append(_ours(name, folder, receiver, sections))
                bodies = _bodies(receiver)
        mongo = stack.enter_context(_running(SecantusServer))
        name = "ours, source on MariaDB, state on the Mongo-wire test server"
        with _receiver(folder, name) as receiver:
            sections = _mariadb(mariadb, database) | {"MONGODB": {"MONGO_URL": mongo.url, "DATABASE_NAME": "bench"}}
            sections["PROCESS"] = {"tracking": "mongo"}
            results.append(_ours(name, folder, receiver, sections))
        with _receiver(folder, "raw") as receiver:
            results.insert(0, asyncio.run(_raw(receiver.url, bodies)))
    _print(results)


def _print(results: list[Measured]) -> None:
    raw = results[0].per_second
    say(f"\n{'':<62}{'incidents/s':>12}{'of raw':>8}{'CPU us':>8}{'peak MiB':>10}")
    for one in results:
        peak = f"{one.peak_mib:.0f}" if one.peak_mib else "-"
        say(f"{one.name:<62}{one.per_second:>12.0f}{one.per_second / raw:>8.0%}{one.cpu_us:>8.0f}{peak:>10}")
    say("\nCPU: processor time an incident of the sending process alone; database and receiver come on top.")


def _ours(name: str, folder: Path, receiver: ReceiverHandle, sections: dict[str, dict[str, object]]) -> Measured:
    """Run the real command once over the whole load."""
    config = folder / "bench.ini"
    api = {"api_url": receiver.url, "max_connections": CONNECTIONS}
    lines = [
        line
        for section, keys in (sections | {"API": api}).items()
        for line in (f"[{section}]", *(f"{key} = {value}" for key, value in keys.items()))
    ]
    config.write_text("\n".join(lines))
    command = [sys.executable, "-m", "incident_process"]
    subprocess.run([*command, "init", "--config", str(config)], check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.Popen(
        [*command, "run", "--json", "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    output, _ = done.communicate()
    elapsed = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(output)
    if report["delivered"] != ACCOUNTS:
        msg = f"{name}: {report}"
        raise RuntimeError(msg)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return Measured(
        name=name, per_second=ACCOUNTS / elapsed, cpu_us=cpu / ACCOUNTS * 1e6, peak_mib=used.ru_maxrss / 1024
    )


async def _raw(url: str, bodies: list[tuple[str, bytes]]) -> Measured:
    """Post the same bodies with the same client and concurrency, and nothing else."""
    waiting = iter(bodies)
    async with HttpTransport(url, {}, CONNECTIONS, 30.0, None) as transport:

        async def work() -> None:
            for key, body in waiting:
                answer = await transport.post(body, key)
                if answer.status != 201:
                    raise RuntimeError(answer)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Measured(
        name="raw: the same bodies, client and connections",
        per_second=len(bodies) / elapsed,
        cpu_us=cpu / len(bodies) * 1e6,
        peak_mib=None,
    )


def _bodies(receiver: ReceiverHandle) -> list[tuple[str, bytes]]:
    with sqlite3.connect(receiver.database) as connection:
        return list(connection.execute("SELECT idempotency_key, body FROM accepted"))


def _sqlite(source: Path, state: Path) -> dict[str, dict[str, object]]:
    return {
        "DATABASE": {"URL": f"sqlite:///{source}"},
        "STATE": {"url": f"sqlite:///{state}"},
        "PROCESS": {"tracking": "sql"},
    }


def _mariadb(server: MariaDBServer, database: str) -> dict[str, dict[str, object]]:
    return {"DATABASE": {"URL": server.url(database)}, "PROCESS": {"tracking": "sql"}}


def _load(path: Path, mariadb: MariaDBServer, database: str, loaded: datetime) -> int:
    population = Population()
    rows = 0
    sqlite = sqlite3.connect(path)
    mysql = mariadb.connect(database)
    for connection, dialect, mark in ((sqlite, "sqlite", "?"), (mysql, "mysql", "%s")):
        create_tables(connection, dialect)
        cursor = connection.cursor()
        rows = 0
        for table, made in (
            (CUSTOMER_TABLE, population.customers(range(ACCOUNTS), loaded.date())),
            (PAYMENT_TABLE, population.payments(range(ACCOUNTS), loaded)),
        ):
            for batch in _batches(made):
                marks = ", ".join([mark] * len(batch[0]))
                cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", batch)  # noqa: S608  # two fixed names
                rows += len(batch)
        for index in INDEX_ADVICE:
            cursor.execute(index.statement)
        connection.commit()
        connection.close()
    return rows


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _receiver(folder: Path, name: str) -> Iterator[ReceiverHandle]:
    place = folder / f"receiver-{abs(hash(name))}"
    place.mkdir()
    with start_receiver(place) as receiver:
        yield receiver


@contextmanager
def _running(make: Callable[[], Any]) -> Iterator[Any]:
    server = make()
    try:
        (server.create if isinstance(server, MariaDBServer) else server.start)()
        yield server
    finally:
        server.stop()


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
