"""One sentence and one colour: which one, in which state of the operation."""

from typing import Any

import pytest

from incident_process.operations.health import Health, HealthLevel, health

NOW = "2026-03-01T12:00:00Z"
STATUS: dict[str, Any] = {
    "source_now": NOW,
    "gate": "not_due",
    "reason": None,
    "lease": None,
    "next_execution_dtm": "2026-03-01T12:40:00Z",
    "execution_minutes": 60,
    "deliveries": {"pending": 0, "delivered": 9, "dead": 0, "skipped": 0},
}
RUN: dict[str, Any] = {"run_id": "r1", "status": "completed", "started": "2026-03-01T11:40:00Z", "error": None}
HELD = {"holder": "host/1", "expires": "2026-03-01T12:01:00Z"}


def judged(run: dict[str, Any] | None = None, dead: int = 0, **status: Any) -> Health:
    return health(STATUS | status, [RUN | (run or {})], dead, more_dead=False)


def test_all_is_well() -> None:
    assert judged() == Health(
        level=HealthLevel.GOOD, sentence="All is well: everything that was due has been delivered."
    )


def test_a_run_under_way_is_well() -> None:
    found = judged({"status": "running"}, lease=HELD, gate="open", deliveries={"pending": 5})
    assert (found.level, found.sentence) == (HealthLevel.GOOD, "All is well, and a run is under way.")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"gate": "terminated", "reason": "Operation 'x' is terminated."}, HealthLevel.TROUBLE, "is terminated"),
        ({"gate": "inactive", "reason": "Operation 'x' is inactive."}, HealthLevel.TROUBLE, "is inactive"),
        (
            {"run": {"status": "failed", "error": "the source is away."}},
            HealthLevel.TROUBLE,
            "failed: the source is away. Noth",
        ),
        (
            {"run": {"status": "incomplete", "error": "HTTP 503"}},
            HealthLevel.TROUBLE,
            "incomplete: HTTP 503. The next run",
        ),
        (
            {"run": {"status": "incomplete", "error": "interrupted by SIGTERM; without an outcome: 6 not tried"}},
            HealthLevel.ATTENTION,
            "The last run was interrupted by SIGTERM; without an outcome: 6 not tried. The next run resumes.",
        ),
        ({"run": {"status": "running"}}, HealthLevel.ATTENTION, "was cut off"),
        ({"deliveries": {"pending": 1}}, HealthLevel.ATTENTION, "1 incident waits for an outcome"),
        ({"dead": 2}, HealthLevel.ATTENTION, "2 dead letters are open"),
        (
            {"gate": "open", "next_execution_dtm": "2026-03-01T10:59:00Z"},
            HealthLevel.ATTENTION,
            "due since 2026-03-01 10:59 UTC",
        ),
        (
            {"next_execution_dtm": None, "run": {"started": "2026-02-28T11:00:00Z"}},
            HealthLevel.ATTENTION,
            "more than a day",
        ),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], level: HealthLevel, words: str) -> None:
    found = judged(**changes)
    assert found.level is level
    assert words in found.sentence


def test_after_a_deliberate_stop_the_remedy_is_the_next_run_and_one_that_resumes_is_well() -> None:
    stopped = {"status": "incomplete", "error": "interrupted by Ada"}
    assert judged(stopped).remedy.startswith("Start a run, or wait for the next")
    resuming = [RUN | {"status": "running", "run_id": "r2"}, RUN | stopped]
    assert health(STATUS | {"lease": HELD}, resuming, 0, more_dead=False).level is HealthLevel.GOOD


def test_a_run_that_is_only_just_due_is_no_matter() -> None:
    assert judged(gate="open", next_execution_dtm="2026-03-01T11:10:00Z").level is HealthLevel.GOOD


def test_the_worst_comes_first_and_the_rest_is_there() -> None:
    found = judged({"status": "failed", "error": None}, dead=1)
    assert found.level is HealthLevel.TROUBLE
    assert found.further == ("1 dead letter is open: see why they were rejected, then replay them.",)


def test_before_the_first_run() -> None:
    found = health(STATUS, [], 0, more_dead=False)
    assert (found.level, found.sentence.partition(":")[0]) == (HealthLevel.ATTENTION, "No run yet")


def test_more_dead_letters_than_were_counted() -> None:
    assert "More than 10,000 dead letters" in health(STATUS, [RUN], 10_000, more_dead=True).sentence
