"""What commands print of lists."""

import sys

import pytest

from incident_process.cli.output import COUNTED, emit_table


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
