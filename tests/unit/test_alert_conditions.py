"""Who tells what of a condition: once when it begins, once when it is over, whatever order the processes come in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.models import (
    NEVER,
    Counts,
    RunKind,
    RunRecord,
    RunReport,
    RunStatus,
    Window,
)
from incident_process.observability.alert_conditions import (
    TELLING_SECONDS,
    ConditionName,
    found_by,
    lag_found,
    step,
)
from incident_process.state.alert_store import AlertCondition, Stage

T0 = datetime(2026, 3, 2, 8, 30, 15, 123000, tzinfo=UTC)


def report(status: RunStatus, message: str | None = None, dead: int = 0) -> RunReport:
    return RunReport(
        status=status,
        run_id="r1",
        sequence=1,
        window=None,
        counts=Counts(dead=dead),
        last_execution=NEVER,
        seconds=1.0,
        message=message,
    )


class TestWhatARunSays:
    @pytest.mark.parametrize("status", [RunStatus.INCOMPLETE, RunStatus.FAILED])
    def test_a_bad_run_stands_and_a_good_one_ends_it(self, status: RunStatus) -> None:
        said = found_by(RunKind.WINDOW, report(status, "the receiver fails"))[ConditionName.RUN]
        assert said == f"run r1 is {status.value}: the receiver fails"
        assert found_by(RunKind.WINDOW, report(RunStatus.NO_DATA))[ConditionName.RUN] is None

    def test_a_run_that_somebody_stopped_is_no_news(self) -> None:
        assert ConditionName.RUN not in found_by(RunKind.WINDOW, report(RunStatus.INCOMPLETE, "interrupted by SIGTERM"))

    def test_a_backfill_says_nothing_of_the_window(self) -> None:
        assert ConditionName.RUN not in found_by(RunKind.BACKFILL, report(RunStatus.INCOMPLETE, "x"))
        assert found_by(RunKind.BACKFILL, report(RunStatus.COMPLETED, dead=2))[ConditionName.DEAD_LETTERS]

    @pytest.mark.parametrize("status", [RunStatus.LOCKED, RunStatus.NOT_DUE])
    def test_a_run_that_did_nothing_knows_nothing_of_the_last(self, status: RunStatus) -> None:
        assert {ConditionName.RUN, ConditionName.DEAD_LETTERS}.isdisjoint(found_by(RunKind.WINDOW, report(status)))

    @pytest.mark.parametrize("status", [RunStatus.INACTIVE, RunStatus.TERMINATED])
    def test_a_refused_operation(self, status: RunStatus) -> None:
        assert found_by(RunKind.WINDOW, report(status, "why")) == {ConditionName.OPERATION: "why"}
        assert found_by(RunKind.WINDOW, report(RunStatus.NOT_DUE)) == {ConditionName.OPERATION: None}


class TestLag:
    @staticmethod
    def run(status: RunStatus, end: datetime, kind: RunKind = RunKind.WINDOW) -> RunRecord:
        return RunRecord(
            run_id="r",
            operation="o",
            kind=kind,
            status=status,
            host="h",
            started_at=end,
            window=Window(start=NEVER, end=end),
        )

    def test_a_quiet_night_is_no_lag(self) -> None:
        """Windows without a row were gone through, though the watermark stayed."""
        runs = [self.run(RunStatus.NO_DATA, T0), self.run(RunStatus.COMPLETED, T0 - timedelta(hours=9))]
        assert lag_found(runs, T0 + timedelta(seconds=60), 600) == {ConditionName.LAG: None}

    def test_runs_that_fail_do_not_shorten_it(self) -> None:
        runs = [self.run(RunStatus.INCOMPLETE, T0), self.run(RunStatus.COMPLETED, T0 - timedelta(hours=1))]
        assert (
            lag_found(runs, T0, 600)[ConditionName.LAG] == "no window was gone through for 3600 s; the limit is 600 s"
        )

    def test_without_a_limit_or_a_run_nothing_is_known(self) -> None:
        assert lag_found([self.run(RunStatus.COMPLETED, T0)], T0, 0) == {}
        assert lag_found([self.run(RunStatus.COMPLETED, T0, RunKind.BACKFILL)], T0, 600) == {}


class Place:
    """A store in memory, and what its users told: True that it began, False that it is over."""

    def __init__(self) -> None:
        self.known: AlertCondition | None = None
        self.told: list[bool] = []

    def process(self, *, stands: bool, now: datetime, arrives: bool, seen: AlertCondition | None) -> None:
        """What a process does with what it saw; without an arrival its telling failed, or it died on the way."""
        due = step("run", "it failed" if stands else None, seen, now)
        if due is None or due.before != self.known:
            return
        self.known = due.after
        if due.telling is not None and arrives:
            self.told.append(due.telling is Stage.BEGINNING)
            self.known = due.settled


@given(
    events=st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 2 * TELLING_SECONDS), st.booleans()), max_size=30
    )
)
def test_news_and_all_clear_take_turns(events: list[tuple[bool, bool, int, bool]]) -> None:
    """Whatever fails and in whatever order views grow old: never twice the same in succession."""
    place, now, old = Place(), T0, None
    for stands, arrives, seconds, is_late in events:
        now += timedelta(seconds=seconds)
        seen = old if is_late else place.known
        old = place.known
        place.process(stands=stands, now=now, arrives=arrives, seen=seen)
    assert place.told == [number % 2 == 0 for number in range(len(place.told))]
    # Once all is quiet and messages arrive again, what was told is how it is.
    for stands in (True, False):
        for _ in range(3):
            now += timedelta(seconds=TELLING_SECONDS + 1)
            place.process(stands=stands, now=now, arrives=True, seen=place.known)
        assert bool(place.told and place.told[-1]) is stands
        assert (place.known is not None) is stands


def test_only_one_of_two_that_see_the_same_tells_it() -> None:
    place = Place()
    for _ in range(2):
        place.process(stands=True, now=T0, arrives=True, seen=None)
    assert place.told == [True]


def test_a_telling_that_failed_is_tried_again_by_a_later_run() -> None:
    place = Place()
    place.process(stands=True, now=T0, arrives=False, seen=None)
    soon, later = T0 + timedelta(seconds=10), T0 + timedelta(seconds=TELLING_SECONDS + 1)
    place.process(stands=True, now=soon, arrives=True, seen=place.known)
    assert place.told == []  # somebody else is just telling it, as far as anybody knows
    place.process(stands=True, now=later, arrives=True, seen=place.known)
    assert place.told == [True]
