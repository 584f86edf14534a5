"""What commands print of lists."""

import sys

import pytest

from incident_process.cli.output import COUNTED, emit_table
from incident_process.cli.reading import RUN_COLUMNS, RUN_SPARE, _request


@pytest.mark.parametrize(
    ("beyond", "told"),
    [
        (0, []),
        (1, ["... and 1 more: --limit N"]),
        (COUNTED, ["... and at least 1,000 more: --limit N"]),
        (1234, ["... and 1,234 more: --limit N"]),
    ],
)
def test_a_table_says_how_many_lines_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], beyond: int, told: list[str]
) -> None:
    rows = [{"account": number} for number in range(3 + beyond)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    emit_table(rows, ["account"], "None.", 3)
    assert capsys.readouterr().out.splitlines() == ["account", "0", "1", "2", *told]


def test_a_table_for_a_program_is_lines_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emit_table([{"account": number} for number in range(9)], ["account"], "None.", 3)
    assert capsys.readouterr().out.splitlines() == ["account", "0", "1", "2"]
    monkeypatch.setenv("COLUMNS", "20")
    emit_table([{"account": "x" * 30, "run_id": "y"}], ["account", "run_id"], "None.", 3, ["run_id"])
    assert "run_id" in capsys.readouterr().out, "an exported width is a terminal's"


@pytest.mark.parametrize(("width", "started"), [(140, "2026-11-29T21"), (100, "2026-11-29T21"), (80, "11-29T21")])
def test_the_runs_fit_a_terminal_with_their_start_and_who_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, started: str
) -> None:
    run = dict.fromkeys(RUN_COLUMNS, 1) | {
        "run_id": "20261129T213000-0a1b2c3d",
        "kind": "reconcile",
        "status": "incomplete",
        "started": "2026-11-29T21:30:00.123Z",
        "seconds": 1234.5,
        "error": "HTTP 500 " * 20,
        "requested_by": "root",
        "why": "ticket 4711",
    }
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", f"{width}")
    monkeypatch.setenv("NO_COLOR", "1")
    emit_table([run], RUN_COLUMNS, "None.", 20, RUN_SPARE, note=_request)
    head, line, who, *error = capsys.readouterr().out.splitlines()
    assert max(map(len, (head, line, *error))) <= width
    assert line.split()[0] == run["run_id"], "for history RUN_ID"
    assert f" {started}:30:00Z" in line
    assert ("unchanged" in head, "accounts" in head) == (width == 140, width == 140)
    assert who == "    by root: ticket 4711"
    assert error[0].startswith("    HTTP 500")
