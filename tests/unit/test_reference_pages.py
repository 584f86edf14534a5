"""The reference says what the code does: its made parts are fresh, its written tables name all that there is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import incident_process
from incident_process.cli.commands import app
from incident_process.core.crash_points import CrashPoint
from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import (
    NEVER,
    Counts,
    DeliveryStatus,
    RunReport,
    RunStatus,
)
from incident_process.settings.key_docs import keys
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.state.sql.schema import OWN, PROCESS_OPERATION
from tests.support.fixed_messages import fixed_messages
from tests.support.markdown import first_cells, section

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def made(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what ``make docs-reference`` runs."""
    return subprocess.run(
        [sys.executable, "-m", "docs_reference", *arguments],
        cwd=ROOT,
        env=dict(os.environ) | {"PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_made_from_the_code_is_fresh() -> None:
    done = made("--check")
    assert done.returncode == 0, done.stderr.strip()


def test_a_stale_page_is_named_with_the_command_that_renews_it(tmp_path: Path) -> None:
    shutil.copytree(DOCS / "reference", tmp_path / "docs" / "reference")
    settings = tmp_path / "docs" / "reference" / "settings.md"
    fresh = settings.read_text(encoding="utf-8")
    settings.write_text(fresh.replace("`65535`", "").replace("TCP port", "a port"), encoding="utf-8")
    done = made("--check", "--root", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "No longer what the code says: docs/reference/settings.md. Run: make docs-reference\n"
    assert settings.read_text(encoding="utf-8") != fresh, "--check writes nothing"
    done = made("--root", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "Renewed docs/reference/settings.md.\n")
    assert settings.read_text(encoding="utf-8") == fresh


def test_a_part_that_nothing_makes_or_without_its_end_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "page.md"
    file.parent.mkdir()
    mark = "<!-- made by `make docs-reference`: {}: {} -->\n"
    for text, sentence in (
        (
            mark.format("nonsense", "begin") + mark.format("nonsense", "end"),
            "nothing makes a part with the name nonsense",
        ),
        (mark.format("alerts", "begin"), "a made part lacks one of its two comments"),
    ):
        file.write_text(text, encoding="utf-8")
        done = made("--root", str(tmp_path))
        assert done.returncode == 2
        assert done.stderr.startswith(f"docs/page.md: {sentence}")
        assert done.stderr.count("\n") == 1
        assert file.read_text(encoding="utf-8") == text


def test_no_page_is_empty_in_the_clone() -> None:
    for file in DOCS.rglob("*.md"):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("<!--")]
        assert len(lines) >= (10 if file.parent.name == "reference" else 4), file.name


def test_the_table_of_settings_has_every_key() -> None:
    table = section(page("reference/settings"), "## All keys")
    assert first_cells(table) - {"key", "---"} == {f"[{key.section}] {key.name}" for key in keys()}
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(list(keys()))
    row = "| `[API] max_connections` | `64` | requests under way at once, at most | a whole number from 1 to 1000 |"
    assert row in lines
    assert all(line.count("|") == 5 for line in lines)


def test_every_exit_status_is_listed() -> None:
    def tree(error: type[IncidentProcessError]) -> set[int]:
        return {error.exit_status}.union(*(tree(below) for below in error.__subclasses__()))

    listed = first_cells(section(page("reference/errors"), "## Exit statuses").partition("<!--")[0])
    assert {str(status) for status in range(7)} <= listed
    assert {str(status) for status in tree(IncidentProcessError)} <= listed


def test_every_command_is_mentioned_and_no_other() -> None:
    registered = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert first_cells(page("reference/commands").partition("<!--")[0]) - {"command", "---"} == registered


def test_every_field_of_the_report_has_its_meaning() -> None:
    report = RunReport(
        status=RunStatus.COMPLETED,
        run_id=None,
        sequence=0,
        window=None,
        counts=Counts(),
        last_execution=NEVER,
        seconds=0.0,
    )
    text = page("reference/run-report")
    assert first_cells(text) - {"field", "---"} == set(report.to_dict())
    assert all(f"`{status.value}`" in text for status in RunStatus if status is not RunStatus.RUNNING)


def test_the_log_messages_are_those_of_the_code() -> None:
    text = page("reference/log-messages")
    assert not [message for message in fixed_messages() if f"`{message}`" not in text]


def test_the_fields_of_tracking_and_state_are_named() -> None:
    text = page("reference/state")
    assert {column.split()[0] for column in PROCESS_OPERATION.columns.split(",")} <= first_cells(text)
    assert {table.name for table in OWN} <= first_cells(text)
    assert all(status.value in text for status in DeliveryStatus)


def test_indexes_fault_points_and_public_names_are_listed() -> None:
    assert all(f"{index.statement};" in page("how-to/configure") for index in INDEX_ADVICE)
    points = section(page("development/architecture"), "## Crash points")
    assert all(f"`{step.value}`" in points for step in CrashPoint)
    python = page("reference/python").partition("<!--")[0] + page("reference/old-names")
    assert all(f"`{name}`" in python or f"`{name}(" in python for name in incident_process.__all__)


def test_the_layout_names_every_module_and_folder() -> None:
    package = ROOT / "src" / "incident_process"
    parts = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    # The contract's files have a folder of their own, which is data and no room of the house.
    parts |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py") if path.parent.name != "contract"}
    named = page("development/architecture")
    assert not {part for part in parts if f"`{part}`" not in named}
