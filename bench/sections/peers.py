"""Peers: general tools that bring rows from MySQL to a REST API, in virtual environments of their own.

They post rows, one request each; neither builds a nested document of an account, keeps a ledger or an outbox, or
notices a late row. Each is set up to be as fast as it lets itself be.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import peers
from bench.measure import Line, Sample, command, line, unmeasured
from bench.workspace import Workspace, say
from incident_process.source.base import CUSTOMER_TABLE
from incident_process.source.columns import CUSTOMER_COLUMNS

DRT = "drt-core, one request a row"
DLT = "dlt, one request a row"
FOLDER = Path(peers.__file__).parent
INSTALL_SECONDS = 600

_DRT_SYNC = """
name: rows
model: |
  SELECT {columns} FROM {table} LIMIT {rows}
destination:
  type: rest_api
  url: {url}
  method: POST
  headers:
    Content-Type: application/json
sync:
  mode: full
  batch_size: {rows}
  rate_limit:
    requests_per_second: 1000000
"""
_DRT_PROFILE = """
source:
  type: mysql
  host: {server.host}
  port: {server.port}
  dbname: {database}
  user: {server.user}
  password_env: BENCH_PASSWORD
"""
_DRT_PROJECT = """
name: bench
version: "1.0"
profile: source
"""


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield one line for each peer; one that cannot be installed says so."""
    measured: tuple[tuple[str, list[str], Callable[[Workspace, Path], Sample], str], ...] = (
        (DRT, ["drt-core[mysql]"], drt, "one batch, rate limit lifted"),
        (DLT, ["dlt", "sqlalchemy", "pymysql"], dlt, "load workers with a connection each"),
    )
    for name, packages, run, note in measured:
        try:
            python = environment(workspace.cache, packages)
        except (subprocess.SubprocessError, OSError) as exc:
            reason = getattr(exc, "stderr", None) or str(exc)
            yield unmeasured("peers", name, f"it could not be installed ({reason.strip().splitlines()[-1][:120]})")
            continue
        samples = [run(workspace, python) for _ in range(workspace.plan.repeats)]
        rows = workspace.plan.peer_rows
        yield line("peers", name, rows, samples, f"rows, not incidents: a sample of {rows:,}, whole process; {note}")


def environment(cache: Path, packages: list[str]) -> Path:
    """Return the Python of a virtual environment with these packages; made once, in the versions of the pins' file.

    Raises:
        subprocess.SubprocessError: It cannot be made; ``stderr`` says why.
    """
    place = cache / packages[0].partition("[")[0]
    python, ready = place / "bin" / "python", place / "ready"
    pins = FOLDER / "constraints.txt"
    if not ready.exists() or ready.read_text() != pins.read_text():
        say(f"Installing {packages[0]} into {place.name}, once ...")
        steps: tuple[list[str | Path], ...] = (
            [sys.executable, "-m", "venv", "--clear", place],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", pins, *packages],
        )
        for step in steps:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        ready.write_text(pins.read_text())
    return python


def drt(workspace: Workspace, python: Path) -> Sample:
    """Let drt post rows."""
    place = workspace.folder / "drt"
    files = {
        ".drt/profiles.yml": _DRT_PROFILE.format(server=workspace.mariadb, database=workspace.main),
        "project/drt_project.yml": _DRT_PROJECT,
        "project/syncs/rows.yml": _DRT_SYNC.format(
            # As text: drt cannot write a date or an amount as JSON.
            columns=", ".join(f"CAST({name} AS CHAR) AS {name}" for name in CUSTOMER_COLUMNS),
            table=CUSTOMER_TABLE,
            rows=workspace.plan.peer_rows,
            url=workspace.receiver.url,
        ),
    }
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    settings = {"HOME": str(place), "BENCH_PASSWORD": workspace.mariadb.password, "DO_NOT_TRACK": "1"}
    sample = command(
        [python.with_name("drt"), "run", "--output", "json"],
        servers=workspace.watched,
        environment=_environment(settings),
        folder=place / "project",
    )
    report = json.loads(sample.output)
    if report["syncs"][0]["rows_synced"] != workspace.plan.peer_rows:
        raise RuntimeError(f"drt did not post {workspace.plan.peer_rows} rows: {report}")
    return sample


def dlt(workspace: Workspace, python: Path) -> Sample:
    """Let dlt post rows."""
    place = Path(tempfile.mkdtemp(prefix="dlt-", dir=workspace.folder))  # without what an earlier run left for the next
    settings = {
        "HOME": str(place),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "BENCH_SOURCE": workspace.source(workspace.main).replace("mysql://", "mysql+pymysql://"),
    }
    sample = command(
        [
            *(python, FOLDER / "dlt_rows.py", place, str(workspace.plan.peer_rows), workspace.receiver.url),
            *(CUSTOMER_TABLE, *CUSTOMER_COLUMNS),
        ],
        servers=workspace.watched,
        environment=_environment(settings),
        folder=place,
    )
    if int(sample.output.splitlines()[-1]) != workspace.plan.peer_rows:
        raise RuntimeError(f"dlt did not post {workspace.plan.peer_rows} rows: {sample.output[-500:]}")
    return sample


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this environment without the paths of this Python."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | settings
