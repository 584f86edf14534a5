"""The progress of a run: it moves within a chunk, and its rate is that of what is delivered."""

from datetime import UTC, datetime
from typing import Any

from incident_process.cli.progress_bar import ProgressBar
from incident_process.core.events import AccountsDone, AccountsFound, Attempted, Events, OutcomesRecorded
from incident_process.core.models import Chunk, DeliveryStatus, Outcome
from incident_process.observability.listeners import show_progress


class Clock:
    """Seconds that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def outcome(number: int) -> Outcome:
    return Outcome(
        incident_id=number,
        account=str(number),
        status=DeliveryStatus.DELIVERED,
        attempts=1,
        runs=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_it_moves_within_a_chunk_and_counts_no_account_twice() -> None:
    clock, events = Clock(), Events()
    shown: dict[str, Any] = {}
    show_progress(ProgressBar(lambda **now: shown.update(now), clock), events)
    chunk = Chunk(chunk_id="c", run_id="r", incidents=())

    def attempted(number: int, meaning: str = "delivered") -> None:
        clock.now += 1
        events.emit(Attempted, number, 201, None, 0.1, meaning)

    attempted(1)  # of an earlier run's outbox
    events.emit(OutcomesRecorded, chunk, [outcome(1)])
    events.emit(AccountsFound, 100)
    for number in range(2, 12):
        attempted(number)
    attempted(12, "retry")
    assert (shown["completed"], shown["total"]) == (10, 100)
    events.emit(OutcomesRecorded, chunk, [outcome(number) for number in range(2, 12)])
    events.emit(AccountsDone, 50)  # 39 of them were unchanged
    clock.now += 1
    events.emit(AccountsDone, 20)
    assert shown["completed"] == 70
    assert shown["pace"] == f"{60 * 11 / 13:,.1f}/min, 0:00:35 left", "what is unchanged is no rate"
    for number in range(20, 60):
        attempted(number)
    assert shown["completed"] == 100, "what is tried again at the end goes not beyond"
    assert shown["pace"] == "1/s"
