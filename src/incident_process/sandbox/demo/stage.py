"""The demo's stage: one folder, the receiver and the commands as their own processes, a source to write into.

The commands are the real ones, with a real configuration file; this module imports nothing of them.
"""

import json
import os
import select
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from incident_process.core import safe_path
from incident_process.core.errors import ConfigurationError, IncidentProcessError
from incident_process.core.models import Record
from incident_process.core.safe_path import PACKAGE
from incident_process.sandbox.demo.tables import Value, create_sqlite, insert
from incident_process.settings.template import render

GAP_SECONDS = 1
"""Seconds of the demo's time gap; with the usual 60 s every step would wait a minute."""
_READY_SECONDS = 30  # until the receiver must answer
_RUN_SECONDS = 600  # for one command, at most
_STOP_SECONDS = 10  # for the receiver to stop before it is killed
_LAST_LINES = 5  # of the log, in an error


class Result(Record, frozen=True, kw_only=True):
    """How a run ended. ``report`` is what ``run --json`` printed, empty where the run was killed before."""

    exit_status: int
    report: dict[str, Any]
    seconds: float

    @property
    def killed(self) -> bool:
        """True when SIGKILL ended it."""
        return self.exit_status == -signal.SIGKILL


class DemoStage:
    """The demo's folder with everything in it. Make it by ``set_up``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source.db"
        self.state = folder / "state.db"
        self.receiver = folder / "receiver.db"
        self.config = folder / "demo.ini"
        self.log = folder / "runs.log"
        self.url = ""
        self._last_end = datetime.min.replace(tzinfo=UTC)

    # -- the source -----------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the source's clock (aware UTC)."""
        with closing(sqlite3.connect(self.source)) as connection:
            text = connection.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchone()[0]
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    def fresh(self) -> datetime:
        """Return a LOAD_DATE, in whole seconds, after the last run's window and inside the next one's.

        Waits for the clock to get there: two seconds at most.
        """
        while (stamp := self.now().replace(microsecond=0) - timedelta(seconds=GAP_SECONDS)) <= self._last_end:
            time.sleep(0.05)
        return stamp

    def load(self, table: str, rows: Iterable[Sequence[Value]]) -> int:
        """Insert rows into the source in one transaction; return how many."""
        with closing(sqlite3.connect(self.source)) as connection:
            return insert(connection, table, rows)

    # -- the commands ---------------------------------------------------------------------------------------------

    def run(self, *, fault: str | None = None) -> Result:
        """Run ``incident-process run --json``, once it is due; ``fault`` names the crash point that kills it.

        Raises:
            IncidentProcessError: It printed no report and was not killed on purpose.
        """
        self.fresh()
        began = time.monotonic()
        with self.log.open("ab") as log:
            done = subprocess.run(  # noqa: S603  # this program itself
                safe_path.command(PACKAGE, "run", "--json", "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment() | ({"INCIDENT_PROCESS_FAULT": fault} if fault else {}),
                timeout=_RUN_SECONDS,
                check=False,
            )
        report = json.loads(done.stdout) if done.stdout.strip() else {}
        result = Result(exit_status=done.returncode, report=report, seconds=time.monotonic() - began)
        if not report and not (fault and result.killed):
            raise self.failure(f"A run ended with exit status {done.returncode} and without a report.")
        if report.get("window"):
            self._last_end = datetime.fromisoformat(report["window"]["end"])
        return result

    def failure(self, what: str) -> IncidentProcessError:
        """Return an error that says what went wrong, with the last lines of the log (which holds no personal data)."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return IncidentProcessError(f"{what} Its log ends: {' | '.join(lines[-_LAST_LINES:])}")

    def pending(self) -> int:
        """Return how many incidents the ledger has without an outcome."""
        with closing(sqlite3.connect(self.state)) as connection:
            query = "SELECT COUNT(*) FROM Incident_Delivery WHERE Status = 'pending'"
            return int(connection.execute(query).fetchone()[0])

    def answers(self) -> dict[int, int]:
        """Return how many requests the receiver has answered with each status."""
        with closing(sqlite3.connect(f"file:{quote(str(self.receiver))}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT answer, COUNT(*) FROM request GROUP BY answer"))


@contextmanager
def set_up(folder: Path, accounts: int) -> Iterator[DemoStage]:
    """Create source, state and configuration in a folder, and keep the receiver running while the block runs.

    Raises:
        ConfigurationError: The folder cannot be written, or holds an earlier demo.
        IncidentProcessError: The receiver or ``init`` did not start.
    """
    stage = DemoStage(folder.absolute())
    try:
        stage.folder.mkdir(parents=True, exist_ok=True)
        existing = [path.name for path in (stage.source, stage.state, stage.receiver, stage.config) if path.exists()]
        if existing:
            raise ConfigurationError(f"--folder {folder} holds {', '.join(existing)} already: name a new folder.")
        create_sqlite(stage.source)
    except (OSError, sqlite3.OperationalError) as exc:
        raise ConfigurationError(f"--folder {folder} cannot be written ({exc}): name another folder.") from exc
    with _receiver(stage):
        _configure(stage, accounts)
        yield stage


def environment() -> dict[str, str]:
    """Return this environment without the variables that would change what the commands do."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("INCIDENT_PROCESS")}


def command_line(*arguments: str) -> str:
    """Return a command line for the reader to paste, with the name by which this program was started."""
    program = [sys.argv[0]] if Path(sys.argv[0]).name == "incident-process" else [sys.executable, "-m", PACKAGE]
    return shlex.join([*program, *arguments])


@contextmanager
def _receiver(stage: DemoStage) -> Iterator[None]:
    command = safe_path.command(PACKAGE, "receiver", "--port", "0", "--database", str(stage.receiver))
    with (
        (stage.folder / "receiver.log").open("ab") as log,
        subprocess.Popen(  # noqa: S603  # this program itself
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment()
        ) as process,
    ):
        try:
            stage.url = _address(process)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: "subprocess.Popen[bytes]") -> str:
    """Return the URL that the receiver prints as soon as it answers."""
    assert process.stdout is not None  # noqa: S101  # for the type checker: it was asked for
    ready, _, _ = select.select([process.stdout], [], [], _READY_SECONDS)
    line = process.stdout.readline().decode() if ready else ""
    _, _, url = line.strip().rpartition(" ")
    if not url.startswith("http"):
        raise IncidentProcessError("The local receiver did not start; its log is receiver.log in the demo's folder.")
    return url


def _configure(stage: DemoStage, accounts: int) -> None:
    """Write the configuration, let ``init`` create the state, and make the operation due at any time."""
    values = {
        "DATABASE": {"URL": _sqlite_url(stage.source)},
        "STATE": {"url": _sqlite_url(stage.state)},
        "API": {"api_url": stage.url},
        "PROCESS": {
            "operation_name": "Demo",
            "tracking": "sql",
            "time_gap_seconds": str(GAP_SECONDS),
            "chunk_accounts": str(max(2, accounts // 20)),
        },
    }
    stage.config.write_text(render(values), encoding="utf-8")
    with stage.log.open("ab") as log:
        command = safe_path.command(PACKAGE, "init", "--config", str(stage.config))
        done = subprocess.run(  # noqa: S603  # this program itself
            command, stdout=log, stderr=log, env=environment(), timeout=_RUN_SECONDS, check=False
        )
    if done.returncode:
        raise stage.failure(f"init ended with exit status {done.returncode}.")
    with closing(sqlite3.connect(stage.state)) as connection, connection:
        # By default an hour lies between two runs; the demo's reader should not wait for it.
        connection.execute("UPDATE Process_Operation SET execution_duration = 0")


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"
