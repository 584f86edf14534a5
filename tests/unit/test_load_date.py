"""LOAD_DATE arithmetic: pure, so every corner of clocks, precisions and damaged dates is asked here."""

# ruff: noqa: DTZ001 - local times without a zone are what the tables hold

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from incident_process.core.models import NEVER
from incident_process.source.load_date import (
    EARLIEST,
    LATEST,
    Kind,
    LoadDateType,
    as_text,
    floor,
    in_utc,
    instant_of,
    local,
    local_text,
    lookback_start,
    native_bound,
    parse_type,
)

DATE = LoadDateType(kind=Kind.DATE)
SECOND = LoadDateType(kind=Kind.DATETIME)
MICRO = LoadDateType(kind=Kind.DATETIME, digits=6)
STAMP = LoadDateType(kind=Kind.TIMESTAMP)
NEW_YORK = ZoneInfo("America/New_York")
COLOMBO = ZoneInfo("Asia/Colombo")
ST_JOHNS = ZoneInfo("America/St_Johns")  # set back from 00:01 to 23:01 in those years
ZONES = [ZoneInfo("UTC"), NEW_YORK, COLOMBO, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")]

instants = st.datetimes(datetime(1850, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
nights = st.one_of(  # in which the clocks of two of the zones are set back, and the instants between
    st.datetimes(datetime(2026, 11, 1, 4), datetime(2026, 11, 1, 8), timezones=st.just(UTC)),
    st.datetimes(datetime(2026, 4, 4, 14), datetime(2026, 4, 4, 16), timezones=st.just(UTC)),
    st.datetimes(datetime(2026, 4, 4), datetime(2026, 11, 2), timezones=st.just(UTC)),
)
columns = st.builds(LoadDateType, kind=st.sampled_from(Kind), digits=st.integers(0, 6))
zones = st.sampled_from(ZONES)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("date", DATE),
        ("DATETIME", SECOND),
        ("datetime(6)", MICRO),
        (" timestamp ( 3 ) ", LoadDateType(kind=Kind.TIMESTAMP, digits=3)),
        ("datetime /* mariadb-5.3 */", SECOND),
        ("varchar(20)", None),
        ("dates", None),
        ("", None),
    ],
)
def test_declarations(declared: str, expected: LoadDateType | None) -> None:
    assert parse_type(declared) == expected


@given(st.one_of(instants, nights), st.one_of(instants, nights), columns, zones)
@example(datetime(2026, 11, 1, 5, 40, tzinfo=UTC), datetime(2026, 11, 1, 6, 10, tzinfo=UTC), SECOND, NEW_YORK)
@example(datetime(2010, 11, 7, 2, 30, 30, tzinfo=UTC), datetime(2010, 11, 7, 2, 40, tzinfo=UTC), DATE, ST_JOHNS)
def test_bounds_compare_as_instants_do(row: datetime, bound: datetime, column: LoadDateType, zone: ZoneInfo) -> None:
    """Rounded to the column's precision, and over an hour that the clock repeats."""
    value = floor(local(row, column, zone), column)
    read = instant_of(value, column, zone)
    assert read is not None
    assert (value <= native_bound(bound, column, zone)) == (read <= bound)


def test_in_the_second_pass_of_an_hour_all_of_it_is_over() -> None:
    for minute in (0, 10, 59):
        second_pass = datetime(2026, 11, 1, 6, minute, tzinfo=UTC)
        assert native_bound(second_pass, SECOND, NEW_YORK) == datetime(2026, 11, 1, 1, 59, 59)
        assert native_bound(second_pass, STAMP, NEW_YORK) == datetime(2026, 11, 1, 6, minute)
    assert native_bound(datetime(2026, 11, 1, 5, 59, tzinfo=UTC), SECOND, NEW_YORK) == datetime(2026, 11, 1, 1, 59)
    assert native_bound(datetime(2026, 11, 1, 7, tzinfo=UTC), SECOND, NEW_YORK) == datetime(2026, 11, 1, 2)


@given(st.one_of(instants, nights), columns, zones)
def test_there_and_back(instant: datetime, column: LoadDateType, zone: ZoneInfo) -> None:
    """A value read as an instant and compared again is the same value; it is never after the instant it came from."""
    native = native_bound(instant, column, zone)
    read = instant_of(native.date() if column.kind is Kind.DATE else native, column, zone)
    assert read is not None
    again = native_bound(read, column, zone)
    # A midnight that the zone left out moves forward, within its own day.
    assert again == native
    if column.kind is not Kind.DATE:
        assert read <= instant


@given(st.one_of(instants, nights), st.floats(0, 10_000_000), columns, zones)
def test_lookback_reaches_back(watermark: datetime, seconds: float, column: LoadDateType, zone: ZoneInfo) -> None:
    start = lookback_start(watermark, seconds, column, zone)
    assert start == floor(start, column)
    assert start <= local(watermark - timedelta(seconds=seconds), column, zone)
    assert start <= local(watermark - column.unit, column, zone)


@given(st.one_of(instants, nights), st.floats(1, 100_000), st.floats(0, 86_400), zones)
def test_no_row_stamped_after_the_watermark_is_before_the_lookback(
    watermark: datetime, seconds: float, later: float, zone: ZoneInfo
) -> None:
    """Whatever the clock does: what is stamped from the lookback's start on, and read later, is in it or after it."""
    stamped = floor(local(watermark + timedelta(seconds=later), SECOND, zone), SECOND)
    assert stamped >= lookback_start(watermark, seconds, SECOND, zone)


def test_lookback_of_a_date_is_at_least_a_day_and_rounded_down() -> None:
    assert lookback_start(datetime(2026, 3, 4, tzinfo=UTC), 0, DATE, UTC) == datetime(2026, 3, 3)
    assert lookback_start(datetime(2026, 3, 4, 9, tzinfo=UTC), 86400, DATE, UTC) == datetime(2026, 3, 3)
    assert lookback_start(datetime(2026, 3, 4, 9, tzinfo=UTC), 0, SECOND, UTC) == datetime(2026, 3, 4, 8, 59, 59)


def test_lookback_grows_by_a_change_of_the_clock() -> None:
    watermark = datetime(2026, 11, 1, 5, 50, tzinfo=UTC)  # 01:50, ten minutes before 02:00 becomes 01:00
    assert lookback_start(watermark, 60, SECOND, NEW_YORK) == datetime(2026, 11, 1, 0, 49)
    assert lookback_start(watermark, 60, STAMP, NEW_YORK) == datetime(2026, 11, 1, 5, 49)


@pytest.mark.parametrize("seconds", [1e11, 1e18, float(2**62)])
def test_lookback_without_end(seconds: float) -> None:
    assert lookback_start(NEVER, seconds, SECOND, NEW_YORK) <= datetime(1, 1, 3)


def test_ambiguous_and_missing_local_times() -> None:
    assert instant_of(datetime(2026, 11, 1, 1, 30), SECOND, NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert instant_of(datetime(2026, 3, 8, 2, 30), SECOND, NEW_YORK) == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", "0000-00-00", "0000-00-00 00:00:00", "0000-05-05", "soon", 20260101, b"x"])
def test_no_date(value: object) -> None:
    assert instant_of(value, SECOND, UTC) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-00-15", datetime(2026, 1, 15)),
        ("2026-00-00 01:02:03", datetime(2026, 1, 1, 1, 2, 3)),
        ("2026-02-30", datetime(2026, 2, 28)),
        ("2026-03-01", datetime(2026, 3, 1)),
        ("2026-03-01T10:11:12Z", datetime(2026, 3, 1, 10, 11, 12)),
        ("2026-03-01 10:11:12.5", datetime(2026, 3, 1, 10, 11, 12, 500_000)),
        ("2026-03-01 10:11", datetime(2026, 3, 1, 10, 11)),
        (date(2026, 3, 1), datetime(2026, 3, 1)),
    ],
)
def test_readings(value: object, expected: datetime) -> None:
    assert instant_of(value, MICRO, UTC) == expected.replace(tzinfo=UTC)


def test_dates_are_local_days() -> None:
    assert instant_of(date(2026, 3, 1), DATE, COLOMBO) == datetime(2026, 2, 28, 18, 30, tzinfo=UTC)
    assert as_text(native_bound(datetime(2026, 2, 28, 18, 30, tzinfo=UTC), DATE, COLOMBO), DATE) == "2026-03-01"
    assert as_text(native_bound(datetime(2026, 2, 28, 18, 29, tzinfo=UTC), DATE, COLOMBO), DATE) == "2026-02-28"


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("zone", ZONES)
def test_the_ends_of_time(instant: datetime, zone: ZoneInfo) -> None:
    for column in (DATE, MICRO, STAMP):
        bound = native_bound(instant, column, zone).replace(tzinfo=UTC)
        assert EARLIEST - timedelta(days=2) <= bound <= LATEST + timedelta(days=2)


def test_text_that_says_its_zone() -> None:
    for text in ("2026-03-01T04:30:00Z", "2026-03-01 04:30:00+00:00"):
        assert instant_of(text, SECOND, COLOMBO) == datetime(2026, 3, 1, 4, 30, tzinfo=UTC)


def test_instants_of_a_row_get_their_zone() -> None:
    noon, says_it = datetime(2026, 3, 1, 12), "2026-03-01T12:00:00+05:30"
    row = (noon, noon, "2026-03-01 12:00:00", says_it, "0000-00-00 00:00:00", "soon", None, 3)
    there = noon.replace(tzinfo=UTC)
    assert in_utc(row, range(1, 8)) == [noon, there, there, says_it, "0000-00-00 00:00:00", "soon", None, 3]


def test_utc_text_becomes_local_text() -> None:
    assert local_text("2026-03-01T10:00:00Z", COLOMBO) == "2026-03-01 15:30:00.000000"
    assert local_text("soonZ", COLOMBO) == "soonZ"
