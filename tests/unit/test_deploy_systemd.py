"""The systemd units: systemd itself reads them, and they say what the pages promise."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from incident_process.settings import Settings
from incident_process.settings.template import render

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
PROGRAM = "/opt/incident-process/.venv/bin/incident-process"
SERVICES = sorted(UNITS.glob("*.service"))
MOST_EXPOSED = 1.1
"""Of 10, as ``systemd-analyze security`` counts; a unit without hardening has 9.6."""

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")


def unit(path: Path) -> configparser.ConfigParser:
    """Return a unit; of a key that stands several times, the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # systemd's keys have capitals
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def environment() -> dict[str, str]:
    """Nothing of the machine's own units is read, and no bus is asked."""
    return {"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning"}


@analyze
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        # The program is not installed where the units expect it; everything else is as it is in the file.
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@analyze
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_are_hardened(path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_keep_the_password_and_end_in_order(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["ExecStart"].startswith(f"{PROGRAM} ")
    assert service["LoadCredential"] == "databaseConfig.ini:/etc/incident-process/databaseConfig.ini"
    assert "INCIDENT_PROCESS_CONFIG=%d/databaseConfig.ini" in path.read_text(encoding="utf-8")
    assert service["User"] == service["StateDirectory"] == "incident-process"
    assert "Environment=XDG_STATE_HOME=%S\n" in path.read_text(encoding="utf-8"), "for notes of alerts"
    # SIGTERM lets the chunk under way finish; SIGKILL must not come before that.
    stop_seconds = Settings.model_fields["schedule"].get_default(call_default_factory=True).stop_seconds
    assert float(service["TimeoutStopSec"]) > 2 * stop_seconds
    assert service["KillMode"] == "mixed", "workers that are ended before they have recorded have to be asked again"


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_leave_no_dump_and_see_what_a_take_over_needs(path: Path) -> None:
    """What the second half keeps out is shown in tests/integration/test_confined.py."""
    service = unit(path)["Service"]
    assert service["LimitCORE"] == "0"
    assert service["MemoryDenyWriteExecute"] == service["PrivateMounts"] == "yes"
    assert service["ProtectProc"] == "invisible"
    assert "ProcSubset" not in service


def test_exit_statuses_are_told_apart() -> None:
    run, schedule, reconcile = (
        unit(UNITS / f"incident-process{name}.service")["Service"] for name in ("-run", "", "-reconcile")
    )
    assert run["SuccessExitStatus"] == "5"
    assert "SuccessExitStatus" not in reconcile, "a night without reconcile has to show"
    for service in (schedule, reconcile):
        assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2 6")


def test_reconcile_is_tried_for_as_long_as_the_page_says() -> None:
    reconcile = unit(UNITS / "incident-process-reconcile.service")
    assert (reconcile["Unit"]["StartLimitIntervalSec"], reconcile["Service"]["RestartSec"]) == ("4h", "5min")
    hours = int(reconcile["Unit"]["StartLimitBurst"]) * 5 / 60
    assert 3 <= hours < 4, "less than three hours, or for ever"
    page = (ROOT / "docs" / "how-to" / "systemd.md").read_text(encoding="utf-8")
    assert "tried again for three hours" in page


@pytest.mark.parametrize("name", ["run", "reconcile"])
def test_every_timer_starts_a_service_that_is_there(name: str) -> None:
    timer = unit(UNITS / f"incident-process-{name}.timer")
    assert timer["Timer"]["Persistent"] == "yes"
    assert (UNITS / f"incident-process-{name}.service").is_file()


def test_the_file_of_the_credential_is_read_as_any_other(tmp_path: Path) -> None:
    file = tmp_path / "databaseConfig.ini"
    file.write_text(render(), encoding="utf-8")
    assert Settings.load(environ={"INCIDENT_PROCESS_CONFIG": str(file)}).config_path == file
