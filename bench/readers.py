"""What fifty readers of the dashboard cost a run: ``python -m bench.readers``.

The same first load is run by itself and with fifty readers, each of whom asks for the overview every two seconds as an
open page does, over the same source, each time with a state and a receiver of its own; by turns, because machines are
noisy. Readers, dashboard, receiver and run share this machine's processors, so everything that they cost is in it: on
machines of their own, the readers cost less.
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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.support.receivers import start_receiver

from incident_process.sandbox.demo.data import Population
from incident_process.sandbox.demo.tables import create_sqlite, insert
from incident_process.settings.template import render
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE

ACCOUNTS = int(os.environ.get("ACCOUNTS", "10000"))
PAIRS = int(os.environ.get("PAIRS", "5"))
READERS = 50
POLL_SECONDS = 2.0
_Measurement = tuple[float, float, int, float]
SETTLE_SECONDS = 2.0
"""Readers come one after the other within this time, as people do, before the run begins."""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="incident-readers-") as name:
        folder = Path(name)
        _load(folder / "source.db")
        say(f"A first load of {ACCOUNTS} accounts on SQLite, alone and with {READERS} readers, {PAIRS} times by turns.")
        alone: list[_Measurement] = []
        watched: list[_Measurement] = []
        for number in range(PAIRS):
            # The order changes with the pair: the second program finds the machine warm.
            for readers in (0, READERS) if number % 2 else (READERS, 0):
                (watched if readers else alone).append(_measured(folder / f"{number}-{readers}", folder, readers))
        for what, at in (("wall clock", 0), ("processor time of the run", 1)):
            before, after = median(one[at] for one in alone), median(one[at] for one in watched)
            say(f"{what}: {before:.2f} s alone, {after:.2f} s with {READERS} readers: {after / before - 1:+.1%}")
        share = sum(one[3] for one in watched) / sum(one[0] for one in watched)
        answers = sum(one[2] for one in watched)
        say(f"The dashboard gave {answers} answers and kept {share:.1%} of one processor busy.")


def say(text: object) -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _load(file: Path) -> None:
    people = Population(assets=2)
    day = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    create_sqlite(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        insert(connection, CUSTOMER_TABLE, people.customers(range(ACCOUNTS), day.date()))
        insert(connection, PAYMENT_TABLE, people.payments(range(ACCOUNTS), day))


def _measured(place: Path, folder: Path, readers: int) -> _Measurement:
    """Return wall clock and processor seconds of a run, the number of answers and their processor seconds."""
    place.mkdir()
    with start_receiver(place) as receiver:
        config = place / "bench.ini"
        values = {
            "DATABASE": {"URL": f"sqlite:///{folder / 'source.db'}"},
            "STATE": {"url": f"sqlite:///{place / 'state.db'}"},
            "API": {"api_url": receiver.url},
            "PROCESS": {"tracking": "sql"},
        }
        config.write_text(render(values), encoding="utf-8")
        _command(config, "init")
        with _dashboard(config) as (url, cpu_of):
            task = _Readers(url, readers)
            with task:
                before = cpu_of()
                used, began = _children(), time.monotonic()
                report = json.loads(_command(config, "run", "--json"))
                seconds, cpu = time.monotonic() - began, _children() - used
                after = cpu_of()
        assert report["delivered"] == ACCOUNTS, report  # noqa: S101  # a measurement of something else is none
    return seconds, cpu, task.answers, after - before


def _command(config: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "incident_process", *arguments, "--config", str(config)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _dashboard(config: Path) -> Iterator[tuple[str, "_ProcessCpu"]]:
    command = [sys.executable, "-m", "incident_process", "dashboard", "--port", "0", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101  # for the type checker: it was asked for
            yield process.stdout.readline().split()[-1], _ProcessCpu(process.pid)
        finally:
            process.terminate()


class _ProcessCpu:
    """The processor seconds that a process has used so far."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/stat")

    def __call__(self) -> float:
        fields = self._file.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Readers:
    """Readers in a process of their own, until the end of the block."""

    def __init__(self, url: str, number: int) -> None:
        self._url, self._number = url, number
        self.answers = 0

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "bench.readers", self._url, str(self._number)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(SETTLE_SECONDS)

    def __exit__(self, *exc_info: object) -> None:
        self.answers = int(self._process.communicate()[0] or 0)  # the end of its input ends it


async def _read(url: str, number: int) -> int:
    """Read until the input ends; return how many answers came."""
    parts = urlsplit(url)
    answers = 0

    async def reader(place: int) -> None:
        nonlocal answers
        await asyncio.sleep(POLL_SECONDS * place / number)
        incoming, outgoing = await asyncio.open_connection(parts.hostname, parts.port)
        while True:
            outgoing.write(f"GET /api/overview HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            head = await incoming.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await incoming.readexactly(length)
            answers += head.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(POLL_SECONDS)

    tasks = [asyncio.create_task(reader(place)) for place in range(number)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    return answers


if __name__ == "__main__":
    if len(sys.argv) == 3:
        say(asyncio.run(_read(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
