"""Window arithmetic: SPEC 3 and 6."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.models import (
    NEVER,
    Operation,
    RunStatus,
    Tracking,
    Window,
)
from incident_process.core.window import (
    MAX_INCIDENT_ID,
    guarded_end,
    id_floor,
    operation_refusal,
    system_date,
    watermark_after,
    window_until,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
instants = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def operation(**fields: object) -> Operation:
    return Operation(name="op", **fields)  # type: ignore[arg-type]


def test_system_date_is_the_source_clock_less_the_gap() -> None:
    now = NOON + timedelta(microseconds=1)
    assert system_date(now, 60, Tracking.MONGO) == now - timedelta(seconds=60)


def test_system_date_is_whole_seconds_where_the_column_is() -> None:
    assert system_date(NOON + timedelta(seconds=60.9), 60, Tracking.SQL) == NOON


def test_first_window_begins_in_1900() -> None:
    assert window_until(operation(), NOON) == Window(start=NEVER, end=NOON)


@given(instants, instants)
def test_a_clock_that_was_set_back_never_turns_the_window_round(watermark: datetime, end: datetime) -> None:
    window = window_until(operation(last_execution=watermark), end)
    assert window.start == watermark
    assert window.end >= window.start


@given(instants, instants, st.none() | instants, st.sampled_from(Tracking))
def test_the_watermark_never_moves_backwards_nor_past_the_window(
    start: datetime, end: datetime, newest: datetime | None, tracking: Tracking
) -> None:
    window = Window(start=start, end=max(start, end))
    newest = min(newest, window.end) if newest else None
    after = watermark_after(tracking, window, newest)
    assert window.start <= after <= window.end


def test_mongo_remembers_the_newest_row_and_sql_the_window_end() -> None:
    window = Window(start=NOON, end=NOON + timedelta(hours=1))
    newest = NOON + timedelta(minutes=5)
    assert watermark_after(Tracking.MONGO, window, newest) == newest
    assert watermark_after(Tracking.MONGO, window, None) == NOON
    assert watermark_after(Tracking.SQL, window, newest) == window.end


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (None, RunStatus.INACTIVE),
        (operation(end=NOON), RunStatus.TERMINATED),
        (operation(end=NOON - timedelta(days=1), next_execution=NOON + timedelta(days=1)), RunStatus.TERMINATED),
        (operation(next_execution=NOON), RunStatus.NOT_DUE),
        (operation(next_execution=NOON + timedelta(seconds=1)), RunStatus.NOT_DUE),
    ],
)
def test_the_sql_gate_refuses(found: Operation | None, status: RunStatus) -> None:
    refused = operation_refusal(Tracking.SQL, "op", found, NOON)
    assert refused is not None
    assert refused.status is status
    assert "'op'" in refused.message


@pytest.mark.parametrize(
    "found",
    [
        operation(),
        operation(end=NOON + timedelta(seconds=1)),
        operation(next_execution=NOON - timedelta(seconds=1)),
    ],
)
def test_the_sql_gate_lets_through(found: Operation) -> None:
    assert operation_refusal(Tracking.SQL, "op", found, NOON) is None


def test_mongo_tracking_has_no_gate() -> None:
    assert operation_refusal(Tracking.MONGO, "op", None, NOON) is None


def test_ids_are_the_milliseconds_since_2024_times_4096() -> None:
    assert id_floor(datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1000 * 4096


def test_ids_fit_in_53_bits_for_this_century_s_first_ninety_years() -> None:
    assert id_floor(datetime(2090, 1, 1, tzinfo=UTC)) <= MAX_INCIDENT_ID


def test_ids_are_positive_even_before_their_epoch() -> None:
    assert id_floor(datetime(1999, 1, 1, tzinfo=UTC)) == 1


def test_the_guard_holds_the_end_below_the_oldest_open_transaction() -> None:
    writers = [NOON - timedelta(minutes=5), NOON - timedelta(minutes=30)]
    held = guarded_end(NOON, NOON + timedelta(seconds=60), writers, 6 * 3600)
    assert held.end == NOON - timedelta(minutes=30, seconds=1)
    assert held.given_up == 0


def test_the_guard_lets_go_of_what_is_open_for_too_long_but_not_of_the_rest() -> None:
    writers = [NOON - timedelta(hours=7), NOON - timedelta(minutes=5)]
    held = guarded_end(NOON, NOON, writers, 6 * 3600)
    assert held.end == NOON - timedelta(minutes=5, seconds=1)
    assert held.given_up == 1


def test_the_guard_never_moves_the_end_forward() -> None:
    assert guarded_end(NOON, NOON + timedelta(hours=1), [NOON + timedelta(minutes=30)], 6 * 3600).end == NOON
    assert guarded_end(NOON, NOON, [], 0).end == NOON
