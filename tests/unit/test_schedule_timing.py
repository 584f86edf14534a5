"""When a run is due: by the gate or the timetable, after failures, and whatever is done to the clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.models import (
    NEVER,
    Operation,
    RunKind,
    RunRecord,
    RunStatus,
    Tracking,
)
from incident_process.core.window import operation_refusal, system_date
from incident_process.schedule.timing import DueRules, Pauses, Snapshot, Timetable, due, failed

NAME = "Incident extraction from data lake"
T0 = datetime(2026, 3, 2, 8, 30, 15, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAUSES = Pauses(first=30, cap=900)
EVERY_TEN = Timetable(interval_seconds=600)


def rules(tracking: Tracking = Tracking.MONGO, timetable: Timetable = EVERY_TEN, name: str = "a") -> DueRules:
    return DueRules(
        tracking=tracking, operation=NAME, time_gap_seconds=60, timetable=timetable, pauses=PAUSES, name=name
    )


def run(status: RunStatus, started: datetime, kind: RunKind = RunKind.WINDOW, error: str | None = None) -> RunRecord:
    return RunRecord(
        run_id=f"{started:%H%M%S}",
        operation=NAME,
        kind=kind,
        status=status,
        host="host",
        started_at=started,
        ended_at=None if status is RunStatus.RUNNING else started + timedelta(seconds=5),
        error=error,
    )


def view(*runs: RunRecord, now: datetime = T0, operation: Operation | None = None) -> Snapshot:
    return Snapshot(now=now, operation=operation, runs=runs)


def sql(next_execution: datetime, end: datetime | None = None) -> Operation:
    return Operation(name=NAME, next_execution=next_execution, execution_minutes=60, end=end)


class TestTimetable:
    def test_a_run_that_never_was_is_due_at_once(self) -> None:
        assert due(rules(), view()).at == T0

    def test_the_interval_counts_from_the_start_of_the_newest_run(self) -> None:
        started = T0 - 4 * MINUTE
        assert due(rules(), view(run(RunStatus.COMPLETED, started))).at == started + 10 * MINUTE

    def test_hours_that_were_missed_are_one_run(self) -> None:
        """After it has begun, the next is an interval away: nothing is left to catch up on."""
        old = run(RunStatus.COMPLETED, T0 - timedelta(hours=7))
        assert due(rules(), view(old)).at <= T0
        caught_up = run(RunStatus.COMPLETED, T0)
        assert due(rules(), view(caught_up, old, now=T0 + MINUTE)).at == T0 + 10 * MINUTE

    def test_a_killed_run_is_gone_on_with_at_once(self) -> None:
        assert due(rules(), view(run(RunStatus.RUNNING, T0 - MINUTE))).at == T0

    def test_a_run_that_was_stopped_is_gone_on_with_at_once(self) -> None:
        stopped = run(RunStatus.INCOMPLETE, T0 - MINUTE, error="interrupted by SIGTERM")
        assert not failed(stopped)
        assert due(rules(), view(stopped)).at == T0

    def test_other_kinds_of_run_say_nothing_of_the_window(self) -> None:
        runs = (run(RunStatus.COMPLETED, T0 - MINUTE, RunKind.BACKFILL), run(RunStatus.COMPLETED, T0 - 3 * MINUTE))
        assert due(rules(), view(*runs)).at == T0 + 7 * MINUTE

    @pytest.mark.parametrize(
        ("line", "began", "next_due"),
        [
            ("*/10 * * * *", "2026-03-02T08:30:15", "2026-03-02T08:40:00"),
            ("0 6 * * 0", "2026-03-02T08:30:15", "2026-03-08T06:00:00"),  # 0 is Sunday, as in crontab
            ("0 6 * * 1-5", "2026-03-06T08:00:00", "2026-03-09T06:00:00"),
            ("0 0 13 * 5", "2026-03-02T08:30:15", "2026-03-06T00:00:00"),  # the 13th or a Friday
        ],
    )
    def test_a_line_of_cron_means_what_cron_means(self, line: str, began: str, next_due: str) -> None:
        table = Timetable(interval_seconds=600, cron=line)
        found = table.after(datetime.fromisoformat(began).replace(tzinfo=UTC))
        assert found == datetime.fromisoformat(next_due).replace(tzinfo=UTC)

    def test_cron_is_in_the_zone_of_the_source(self) -> None:
        table = Timetable(interval_seconds=600, cron="0 6 * * *", zone=ZoneInfo("Asia/Colombo"))
        assert table.after(T0) == datetime(2026, 3, 3, 0, 30, tzinfo=UTC)

    @pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
    def test_an_hourly_line_skips_and_repeats_no_hour_when_the_clocks_change(self, zone: str) -> None:
        table = Timetable(interval_seconds=600, cron="0 * * * *", zone=ZoneInfo(zone))
        for change in (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 28, 20, tzinfo=UTC)):
            at = change
            for _ in range(48):
                following = table.after(at)
                assert following - at == timedelta(hours=1)
                at = following

    @given(
        ages=st.lists(st.integers(-7200, 7200), max_size=6),
        now=st.integers(-7200, 7200).map(lambda seconds: T0 + timedelta(seconds=seconds)),
    )
    def test_however_the_clock_is_set_a_run_is_due_within_an_interval(self, ages: list[int], now: datetime) -> None:
        """Runs that are ahead of a clock that was set back neither stop the schedule nor let it run on and on."""
        runs = sorted((run(RunStatus.COMPLETED, T0 + timedelta(seconds=age)) for age in ages), key=lambda r: r.run_id)
        runs.sort(key=lambda record: record.started_at, reverse=True)
        at = due(rules(), view(*runs, now=now)).at
        assert at <= now + 10 * MINUTE
        done = run(RunStatus.COMPLETED, now)
        after = sorted([*runs, done], key=lambda record: record.started_at, reverse=True)
        later = now + timedelta(seconds=1)
        assert due(rules(), view(*after, now=later)).at > later


class TestGate:
    @given(
        next_execution=st.integers(-4000, 4000).map(lambda seconds: T0 + timedelta(seconds=seconds)),
        fraction=st.integers(0, 999_999),
    )
    def test_it_is_due_exactly_when_the_gate_opens(self, next_execution: datetime, fraction: int) -> None:
        operation = sql(next_execution.replace(microsecond=fraction))
        at = due(rules(Tracking.SQL), view(operation=operation)).at

        def refused(now: datetime) -> bool:
            return operation_refusal(Tracking.SQL, NAME, operation, system_date(now, 60, Tracking.SQL)) is not None

        assert not refused(at)
        assert at == T0 or refused(at - timedelta(microseconds=1))

    def test_the_timetable_has_no_say(self) -> None:
        operation = sql(NEVER)
        assert due(rules(Tracking.SQL), view(run(RunStatus.COMPLETED, T0 - MINUTE), operation=operation)).at == T0

    @pytest.mark.parametrize(
        ("operation", "status"),
        [(None, RunStatus.INACTIVE), (sql(NEVER, end=T0 - 5 * MINUTE), RunStatus.TERMINATED)],
    )
    def test_a_refused_operation_says_so(self, operation: Operation | None, status: RunStatus) -> None:
        refused = due(rules(Tracking.SQL), view(operation=operation)).refused
        assert refused is not None
        assert refused.status is status


class TestFailures:
    @pytest.mark.parametrize("tracking", list(Tracking))
    def test_a_failed_run_is_due_again_after_a_pause_that_grows(self, tracking: Tracking) -> None:
        pauses = []
        for failures in range(1, 12):
            runs = [run(RunStatus.INCOMPLETE, T0 - number * MINUTE) for number in range(failures)]
            now = T0 + timedelta(seconds=5)
            pauses.append((due(rules(tracking), view(*runs, now=now, operation=sql(NEVER))).at - now).total_seconds())
        assert 15 <= pauses[0] < 30
        assert 30 <= pauses[1] < 60
        assert all(450 <= pause < 900 for pause in pauses[6:])  # at the cap, half of it chance

    def test_failures_are_counted_in_a_row(self) -> None:
        runs = [run(RunStatus.FAILED, T0 - number * MINUTE) for number in range(3)]
        assert view(*runs).failures == 3
        assert view(runs[0], run(RunStatus.COMPLETED, T0 - MINUTE), *runs[1:]).failures == 1

    def test_asking_often_does_not_shorten_the_pause(self) -> None:
        seen = view(run(RunStatus.FAILED, T0 - MINUTE))
        assert len({due(rules(), seen).at for _ in range(20)}) == 1

    def test_two_schedules_come_back_at_different_times(self) -> None:
        seen = view(run(RunStatus.FAILED, T0 - timedelta(seconds=6)))
        assert len({due(rules(name=f"host/{number}"), seen).at for number in range(10)}) == 10

    def test_a_clock_that_was_set_back_does_not_lengthen_the_pause(self) -> None:
        ended_ahead = msgspec.structs.replace(run(RunStatus.FAILED, T0), ended_at=T0 + timedelta(hours=3))
        assert due(rules(), view(ended_ahead)).at <= T0 + timedelta(seconds=30)
