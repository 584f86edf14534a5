"""Runs that are started and stopped here, and their log lines: what no browser is needed for."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from incident_process.core.logs import TextFormatter
from incident_process.core.models import NEVER, Counts, RunKind, RunRecord, RunReport, RunStatus
from incident_process.core.process_identity import Runner
from incident_process.dashboard import own_runs
from incident_process.dashboard.own_runs import OwnRuns
from incident_process.dashboard.responses import Json
from incident_process.dashboard.stop_signal import stop_by_signal
from incident_process.operations.run_log import MOST_LINES, lines_of
from incident_process.pipeline.run import Run
from incident_process.settings import Settings
from tests.support.command import wait_until

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = RunRecord(
    run_id="20260301T120000-aaaaaaaa",
    operation="x",
    kind=RunKind.WINDOW,
    status=RunStatus.COMPLETED,
    host="here",
    started_at=BEGAN,
    ended_at=BEGAN + timedelta(minutes=1),
)


def process(*command: str) -> "subprocess.Popen[bytes]":
    """Start a process that sleeps, under a command line as the program's own, and wait until Linux shows that line."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *command])
    wait_until(Path(f"/proc/{started.pid}/cmdline").read_bytes)  # empty for a moment, while it is being started
    return started


def holder_of(pid: int) -> str:
    this = Runner.this()
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return str(Runner(host=this.host, pid=pid, machine=this.machine, started=started))


@pytest.mark.parametrize("command", [("/usr/bin/incident-process", "run", "--now"), ("incident_process", "backfill")])
def test_a_run_of_a_command_gets_sigterm(command: tuple[str, ...]) -> None:
    with process(*command) as running:
        assert stop_by_signal(holder_of(running.pid)) is None
        assert running.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("incident-process", "schedule"), "belongs to a schedule, which would end altogether: stop it there"),
        (("incident-process", "--version"), "belongs to a program of its own"),
        (("airflow", "run"), "belongs to a program of its own"),
    ],
)
def test_what_would_end_with_the_run_gets_no_signal(command: tuple[str, ...], said: str) -> None:
    with process(*command) as running:
        assert said in (stop_by_signal(holder_of(running.pid)) or "")
        assert running.poll() is None
        running.kill()


def test_a_process_that_is_not_the_holder_gets_no_signal() -> None:
    with process("incident-process", "run") as running:
        here = Runner.parse(holder_of(running.pid))
        assert here is not None
        for other in (f"elsewhere/{running.pid}/boot/1", f"{here.host}/{here.pid}/{here.machine}/1"):
            assert "which this dashboard does not reach" in (stop_by_signal(other) or "")
        assert "is not known which process" in (stop_by_signal("an old name") or "")
        assert running.poll() is None
        running.kill()


def test_where_python_cannot_signal_safely_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with process("incident-process", "run") as running:
        assert "cannot be signalled from here (no pidfd_open)" in (stop_by_signal(holder_of(running.pid)) or "")
        assert running.poll() is None
        running.kill()


def test_a_stop_after_the_end_of_the_run_s_loop_is_none_of_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between that end and the moment in which the dashboard notes it, a user may stop the run."""
    at_end: list[tuple[bool, str]] = []

    async def go() -> None:
        runs = OwnRuns(settings_with(None), lambda: None)

        def leased(_settings: Settings, make: Callable[[Any], Awaitable[Run]]) -> RunReport:
            asyncio.run(make(None))  # type: ignore[arg-type]
            loop.call_soon_threadsafe(lambda: at_end.append((runs.stop("x"), runs.state["state"])))
            return RunReport(
                status=RunStatus.INCOMPLETE,
                run_id=RUN.run_id,
                sequence=1,
                window=None,
                counts=Counts(pending=6),
                last_execution=NEVER,
                seconds=1.0,
                message="6 incidents have no outcome yet (6 x HTTP 503)",
            )

        async def plan(_parts: object) -> None: ...

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(own_runs, "run_leased", leased)
        monkeypatch.setattr(own_runs, "Run", made := Mock())
        runs.start(RunKind.WINDOW, plan, "Ada")  # type: ignore[arg-type]
        await runs.close()
        made.return_value.request_stop.assert_called_once_with("interrupted by the end of the dashboard")
        assert runs.state["message"].endswith(
            "6 without an outcome. Why: 6 incidents have no outcome yet (6 x HTTP 503)."
        )

    asyncio.run(go())
    assert at_end == [(True, "running")]


def settings_with(file: Path | None) -> Settings:
    return Settings.model_validate(
        {
            "api": {"api_url": "http://127.0.0.1:9/x"},
            "database": {"url": "sqlite:///none.db"},
            "process": {"tracking": "sql"},
            "log": {"file": file},
        }
    )


def of_json(run_id: str, message: str) -> str:
    return json.dumps({"ts": "2026-03-01T12:00:01.000Z", "level": "INFO", "message": message, "run_id": run_id})


def test_lines_in_json_are_those_of_the_run_also_from_older_files(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    (tmp_path / "run.log.1").write_text(of_json(RUN.run_id, "first") + "\n" + of_json("other", RUN.run_id) + "\n")
    file.write_text("{ cut off " + RUN.run_id + "\n" + of_json(RUN.run_id, "second") + "\n")
    found = lines_of(settings_with(file), RUN)
    assert [line["message"] for line in found["lines"]] == ["first", "second"]
    assert (found["by_time"], found["more"], found["why"], found["file"]) == (False, False, None, str(file))


def test_lines_in_text_are_those_of_its_time(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    times = ("11:59:54.000", "11:59:56.000", "12:01:04.000", "12:01:06.000")
    file.write_text("".join(f"2026-03-01T{at}Z ERROR:incident_logger:at {at}: \u202ex\n" for at in times) + "no line\n")
    found = lines_of(settings_with(file), RUN)
    assert [(line["level"], line["message"]) for line in found["lines"]] == [
        ("ERROR", "at 11:59:56.000: \\u202ex"),
        ("ERROR", "at 12:01:04.000: \\u202ex"),
    ], "also what another program has written there steers nothing"
    assert found["by_time"]


def test_a_traceback_is_left_out_of_text_as_it_is_of_json(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    record = logging.makeLogRecord({"msg": "Traceback:", "levelname": "DEBUG", "name": "incident_logger"})
    lines = []
    for error in (ValueError("Nic 871234567V of Perera"), ExceptionGroup("Perera", [ValueError("871234567V")])):
        try:
            raise error
        except Exception as exc:
            record.exc_info, record.exc_text = (type(exc), exc, exc.__traceback__), None
        record.created = BEGAN.timestamp()
        lines += [TextFormatter(with_time=True).format(record)]
        record.exc_info, record.exc_text = (type(error), error, None), None
        lines += [TextFormatter(with_time=True).format(record)]
    lines.append(lines[0].replace("Traceback:", "Odd: x", 1))
    file.write_text("\n".join(lines))
    assert all("Perera" in line for line in lines)
    found = lines_of(settings_with(file), RUN)["lines"]
    assert [line["message"] for line in found] == ["Traceback:"] * 4 + ["Odd: x"]


@pytest.mark.parametrize(
    "line",
    [
        "2026-99-01T12:00:01.000Z INFO:incident_logger:x",
        f'{{"run_id": "{RUN.run_id}", "x": ' + "[" * 200_000,
        f'{{"run_id": "{RUN.run_id}", "x": {"9" * 5000}}}',
    ],
    ids=("month 99", "deep", "long number"),
)
def test_a_damaged_line_is_no_line_of_the_run(tmp_path: Path, line: str) -> None:
    file = tmp_path / "run.log"
    file.write_text(line + "\n" + of_json(RUN.run_id, "sound \ud800") + "\n")
    found = lines_of(settings_with(file), RUN)
    assert [one["message"] for one in found["lines"]] == ["sound \\ud800"]
    assert Json(found).body


def test_the_newest_lines_are_shown_and_a_missing_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    file.write_text("".join(of_json(RUN.run_id, str(number)) + "\n" for number in range(MOST_LINES + 5)))
    found = lines_of(settings_with(file), RUN)
    assert (len(found["lines"]), found["more"], found["lines"][-1]["message"]) == (
        MOST_LINES,
        True,
        str(MOST_LINES + 4),
    )
    assert "[LOG] file is not set" in lines_of(settings_with(None), RUN)["why"]
    why = lines_of(settings_with(tmp_path / "none.log"), RUN)["why"]
    assert "have no line of this run in their newest 16 MB; " in why
    assert "this host's clock and the source's differ by over 5 s" in why
