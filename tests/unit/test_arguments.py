"""Times as a command takes them, and the other spellings of an account's number."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from incident_process.core.arguments import other_spellings, relative_instant

COLOMBO = ZoneInfo("Asia/Colombo")


def test_a_relative_time_counts_from_now_or_is_a_day_of_the_zone() -> None:
    now = datetime.now(UTC)
    for text, ago in (("2h", timedelta(hours=2)), ("7d", timedelta(days=7)), ("now", timedelta(0))):
        found = relative_instant(text, COLOMBO)
        assert found is not None
        assert abs(now - ago - found) < timedelta(seconds=10)
    begin, end = (relative_instant("yesterday", COLOMBO, whole_day=whole) for whole in (False, True))
    assert begin is not None
    assert end is not None
    assert (begin.astimezone(COLOMBO).hour, end - begin) == (0, timedelta(days=1) - timedelta(microseconds=1))
    assert timedelta(0) < now - begin < timedelta(days=2, seconds=10)


@pytest.mark.parametrize("text", ["2026-01-31", "2 h", "h", "-2h", "tomorrow", ""])
def test_another_text_is_no_relative_time(text: str) -> None:
    assert relative_instant(text, COLOMBO) is None


def test_an_account_is_guessed_with_more_and_fewer_zeros() -> None:
    assert {"1", "0000000001"} <= set(other_spellings("01"))
    assert "01" not in other_spellings("01")
    assert other_spellings("A1") == other_spellings("9" * 40) == []
