"""What a run says of the state that it finds: SPEC 10, docs/promise.md."""

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest

from incident_process.core.models import (
    Counts,
    Operation,
    RunKind,
    RunRecord,
    RunStatus,
)
from incident_process.pipeline.state_check import findings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNKNOWN = Operation(name="op")
BEGUN = Operation(name="op", sequence=7, last_execution=NOON - timedelta(hours=1))
AHEAD = Operation(name="op", sequence=7, last_execution=NOON + timedelta(days=1))


def run(status: RunStatus = RunStatus.COMPLETED, **fields: object) -> RunRecord:
    given = {
        "run_id": "R1",
        "operation": "op",
        "kind": RunKind.WINDOW,
        "status": status,
        "host": "here",
        "started_at": NOON - timedelta(hours=1),
    }
    return RunRecord(**(given | fields))  # type: ignore[arg-type]


def test_after_an_ordinary_run_nothing_is_said() -> None:
    for status in (RunStatus.COMPLETED, RunStatus.NO_DATA):
        assert not list(findings(BEGUN, run(status, counts=Counts(delivered=3)), has_deliveries=True, now=NOON))


@pytest.mark.parametrize(
    ("operation", "last", "has_deliveries", "level", "words"),
    [
        (UNKNOWN, None, False, logging.INFO, "no earlier run"),
        (BEGUN, None, False, logging.WARNING, "7 run\\(s\\) were before .* the state was lost"),
        (BEGUN, None, True, logging.WARNING, "audit trail of runs is empty"),
        (BEGUN, run(counts=Counts(delivered=3)), False, logging.WARNING, "ledger is empty, though run R1 delivered 3"),
        (UNKNOWN, run(), True, logging.WARNING, "Process_Operation knows of none"),
        (BEGUN, run(RunStatus.RUNNING), True, logging.WARNING, "R1 on here, begun at 2026-03-01T11:00:00Z, has no end"),
        (BEGUN, run(RunStatus.FAILED, error="gone"), True, logging.INFO, "R1, ended as failed: gone"),
        (BEGUN, run(RunStatus.INCOMPLETE, error="3 pending"), True, logging.INFO, "R1, ended as incomplete: 3 pending"),
        (BEGUN, run(started_at=NOON + timedelta(days=1)), True, logging.WARNING, "still to come by the source's clock"),
        (
            AHEAD,
            run(),
            True,
            logging.WARNING,
            "through 2026-03-02T12:00:00Z, which is still to come .* no window holds",
        ),
    ],
)
def test_what_does_not_fit_is_said(
    operation: Operation, last: RunRecord | None, has_deliveries: bool, level: int, words: str
) -> None:
    ((found, message),) = findings(operation, last, has_deliveries=has_deliveries, now=NOON)
    assert found == level
    assert re.search(words, message)


def test_a_first_run_that_was_killed_is_no_lost_operation() -> None:
    ((_, message),) = findings(UNKNOWN, run(RunStatus.RUNNING), has_deliveries=True, now=NOON)
    assert "has no end" in message
