"""Times as a command takes them, and the other spellings of an account's number."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import typer

from incident_process.cli.options import moment
from incident_process.core.arguments import LONGEST_WHY, kept_reason, other_spellings, relative_instant

COLOMBO = ZoneInfo("Asia/Colombo")


def test_a_relative_time_counts_from_now_or_is_a_day_of_the_zone() -> None:
    now = datetime(2026, 3, 1, 20, tzinfo=UTC)
    for text, ago in (("2h", timedelta(hours=2)), ("7d", timedelta(days=7)), ("now", timedelta(0))):
        found = relative_instant(text, "--from", COLOMBO, now)
        assert found == now - ago
    begin, end = (relative_instant("yesterday", "--from", COLOMBO, now, whole_day=whole) for whole in (False, True))
    assert begin is not None
    assert end is not None
    assert (begin.astimezone(COLOMBO).hour, end - begin) == (0, timedelta(days=1) - timedelta(microseconds=1))
    assert begin.astimezone(COLOMBO).day == 1, "there it is the second already"


@pytest.mark.parametrize("text", ["2026-01-31", "2 h", "h", "-2h", "tomorrow", ""])
def test_another_text_is_no_relative_time(text: str) -> None:
    assert relative_instant(text, "--from", COLOMBO, datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9999w", "--from is out of range: give a year from 1900 to 9998."),
        ("1800-01-01", "--from is out of range: give a year from 1900 to 9998."),
        ("soon", "write 2026-01-31 or 2026-01-31T10:00:00, yesterday, or 2h for two hours ago."),
    ],
)
def test_a_time_that_is_none_is_refused_with_the_hint_that_fits(text: str, says: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        moment(text, "--from", COLOMBO)
    assert str(refused.value).endswith(says)


def test_a_reason_is_kept_as_one_line_of_limited_length() -> None:
    assert kept_reason(" ticket\n4711 ") == "ticket 4711"
    assert kept_reason("x" * 9999) == "x" * LONGEST_WHY
    assert kept_reason(" ") is kept_reason(None) is None


def test_an_account_is_guessed_with_more_and_fewer_zeros() -> None:
    assert {"1", "0000000001"} <= set(other_spellings("01"))
    assert "01" not in other_spellings("01")
    assert other_spellings("A1") == other_spellings("9" * 40) == []
