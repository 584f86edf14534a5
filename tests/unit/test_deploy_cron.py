"""The cron lines and their wrapper: somebody is told when somebody has to act, and only then."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import incident_process

ROOT = Path(__file__).parents[2]
CRON = ROOT / "deploy" / "cron"
WRAPPER = CRON / "incident-process-cron"
LINE = re.compile(r"^(?P<when>(?:[\d*/,-]+ ){5})(?P<user>\w+) (?P<command>.+)$", re.MULTILINE)


def call(folder: Path, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Call the wrapper over a program of the test's own, with the system log out of reach."""
    command = folder / "command"
    command.write_text(f"#!/bin/sh\n{program}\n")
    command.chmod(0o755)
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "hostname").write_text("#!/bin/sh\necho host.example.org\n")
    (tools / "hostname").chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(WRAPPER), *arguments],
        cwd=folder,
        env={
            "PATH": str(tools),
            "INCIDENT_PROCESS_COMMAND": str(command),
            "PYTHONPATH": str(Path(incident_process.__file__).parents[1]),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("status", range(7))
def test_run_is_silent_only_when_nobody_has_to_act(tmp_path: Path, status: int) -> None:
    done = call(tmp_path, f"echo said; echo warned >&2; exit {status}", "run")
    assert done.returncode == status
    if status in {0, 5}:
        assert done.stdout == done.stderr == ""
    else:
        ended = f"incident-process run on host.example.org ended with exit status {status}."
        assert done.stdout.splitlines() == ["said", "warned", ended]


def test_a_reconcile_that_found_a_run_at_work_is_told(tmp_path: Path) -> None:
    done = call(tmp_path, "echo another runner holds the lease; exit 5", "reconcile", "--repair")
    assert (done.returncode, done.stdout) == (5, "another runner holds the lease\n")


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = call(tmp_path, "exec /nowhere/incident-process", "run")
    assert done.returncode == 127
    assert "ended with exit status 127." in done.stdout


def test_the_real_command_with_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "wrong.ini").write_text("[DATABASE]\nURL = sqlite:///source.db\n")
    program = f'exec "{sys.executable}" -m incident_process "$@"'
    done = call(tmp_path, program, "run", "--config", "wrong.ini")
    assert done.returncode == 2
    assert "[API] api_url" in done.stdout
    assert "ended with exit status 2." in done.stdout


def test_every_line_calls_the_wrapper_with_a_command_of_the_page() -> None:
    text = (CRON / "incident-process").read_text(encoding="utf-8")
    lines = list(LINE.finditer(text))
    others = [line for line in text.splitlines() if line and not line.startswith("#") and "=" not in line]
    assert [line[0] for line in lines] == others
    page = (ROOT / "docs" / "how-to" / "cron.md").read_text(encoding="utf-8")
    for line in lines:
        assert line["command"].split()[0] == "/opt/incident-process/deploy/cron/incident-process-cron"
        assert line[0] in page
    assert "MAILTO=" in text
    assert os.access(WRAPPER, os.X_OK)
