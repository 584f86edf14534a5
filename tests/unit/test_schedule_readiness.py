"""What ``/readyz`` answers from: the last look, the last run of this process, the newest run of any host."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from incident_process.core.clock import uptime
from incident_process.core.models import Counts, RunKind, RunRecord, RunStatus
from incident_process.core.window import Refusal
from incident_process.schedule.readiness import Readiness
from incident_process.schedule.timing import Due, Snapshot

T0 = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
GOOD = RunRecord(
    run_id="r1",
    operation="o",
    kind=RunKind.WINDOW,
    status=RunStatus.COMPLETED,
    host="h",
    started_at=T0,
    counts=Counts(rows={"debt_payment": 1}),
)
BAD = msgspec.structs.replace(GOOD, run_id="r2", status=RunStatus.INCOMPLETE, error="the receiver fails")
DUE = Due(at=T0 + timedelta(hours=1))


def seen(*runs: RunRecord, due: Due = DUE) -> Readiness:
    ready = Readiness()
    ready.seen(Snapshot(now=T0, operation=None, runs=runs), due)
    return ready


def test_it_is_not_ready_before_the_first_look() -> None:
    assert Readiness().reasons() == ["no look at source and state yet"]
    assert Readiness().report()["ready"] is False


def test_a_look_that_failed_and_one_that_did_not() -> None:
    ready = seen(GOOD)
    assert ready.report() == {"ready": True, "reasons": [], "running": False, "next_run_due": "2026-03-02T09:30:00Z"}
    ready.unseen("the state cannot be reached")
    assert ready.reasons() == ["the state cannot be reached"]


def test_the_newest_run_of_any_host_counts() -> None:
    assert seen(BAD, GOOD).reasons() == ["the last run is incomplete: the receiver fails"]
    assert seen(msgspec.structs.replace(BAD, error="interrupted by SIGTERM")).reasons() == []


def test_while_a_run_is_tried_again_the_last_one_still_counts() -> None:
    """A stand-by that looks on is no more ready for it than the one at work."""
    again = msgspec.structs.replace(GOOD, run_id="r3", status=RunStatus.RUNNING)
    ready = seen(again, BAD, GOOD)
    assert ready.reasons() == ["the last run is incomplete: the receiver fails"]
    ready.ended("the state cannot be reached")
    next_one = msgspec.structs.replace(again, run_id="r4")
    ready.seen(Snapshot(now=T0, operation=None, runs=(next_one, BAD, GOOD)), Due(at=T0))
    assert ready.reasons() == ["the last run failed: the state cannot be reached"]
    done = msgspec.structs.replace(again, status=RunStatus.COMPLETED)
    ready.seen(Snapshot(now=T0, operation=None, runs=(done, BAD, GOOD)), Due(at=T0))
    assert ready.reasons() == []
    assert seen(again).reasons() == []


def test_a_fault_counts_until_there_was_another_run() -> None:
    at_once = Due(at=T0)
    ready = seen(GOOD, due=at_once)
    ready.ended("the source cannot be reached")
    ready.seen(Snapshot(now=T0, operation=None, runs=(GOOD,)), at_once)
    assert ready.reasons() == ["the last run failed: the source cannot be reached"]
    ready.seen(Snapshot(now=T0, operation=None, runs=(msgspec.structs.replace(GOOD, run_id="r3"), GOOD)), at_once)
    assert ready.reasons() == []


def test_a_fault_that_left_nothing_undone_does_not_count() -> None:
    """The gate has moved on, and only the run's own record could not be closed."""
    ready = seen(GOOD, due=Due(at=T0))
    ready.ended("the state cannot be reached")
    ready.seen(Snapshot(now=T0, operation=None, runs=(GOOD,)), DUE)
    assert ready.reasons() == []


def test_a_look_that_is_long_ago_is_none_but_while_a_run_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = seen(GOOD)
    later = uptime() + 61
    monkeypatch.setattr("incident_process.schedule.readiness.uptime", lambda: later)
    assert ready.reasons() == ["the last look at source and state is 61 s ago"]
    ready.running = True
    assert ready.reasons() == []


def test_an_operation_that_may_not_run_is_not_ready_and_never_due() -> None:
    refused = Refusal(status=RunStatus.TERMINATED, message="Operation 'o' is terminated.")
    report = seen(GOOD, due=Due(at=T0, refused=refused)).report()
    assert report == {
        "ready": False,
        "reasons": ["Operation 'o' is terminated."],
        "running": False,
        "next_run_due": None,
    }
