"""The operation's health as one sentence and one level: what the dashboard shows first. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from incident_process.core.models import INTERRUPTED, UNFINISHED, Record, RunStatus

OVERDUE = timedelta(minutes=15)
"""A run is missing when it has been due for longer than this and than the time between two runs."""
SILENCE = timedelta(days=1)
"""Time without a run that calls for attention where nothing says when a run is due (tracking in MongoDB)."""

ASK_DOCTOR = "Let the doctor look: it names what would fail now, each with its remedy. Then start a run."
RESUME = "Start a run, or wait for the next: it takes over what this one has left, and sends nothing twice."
LOOK_AT_SCHEDULER = "Start a run now, and look at cron, systemd or the schedule that should have done so."


class HealthLevel(StrEnum):
    """How well the operation is, from the best to the worst."""

    GOOD = "good"  # nothing to do
    ATTENTION = "attention"  # nothing is lost, but an operator should look when there is time
    TROUBLE = "trouble"  # incidents do not reach the receiver


class Health(Record, frozen=True, kw_only=True):
    """The worst finding as ``sentence`` with its remedy, and the others as ``further``, the worst first."""

    level: HealthLevel
    sentence: str
    further: tuple[str, ...] = ()
    remedy: str = ""
    """What to do about ``sentence``; empty where that says it, or where there is nothing to do."""


def health(status: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], dead: int, *, more_dead: bool) -> Health:
    """Return the operation's health.

    Args:
        status: As ``insights.status`` returns it.
        runs: The newest runs, newest first, as ``insights.history`` returns them.
        dead: How many dead letters are open.
        more_dead: Whether more are open than were counted.
    """
    found = sorted(_findings(status, runs, dead, more_dead), key=lambda item: item[0] is not HealthLevel.TROUBLE)
    if found:
        (level, sentence, remedy), *rest = found
        return Health(level=level, sentence=sentence, further=tuple(text for _, text, _ in rest), remedy=remedy)
    if runs and runs[0]["status"] == RunStatus.RUNNING:
        return Health(level=HealthLevel.GOOD, sentence="All is well, and a run is under way.")
    return Health(level=HealthLevel.GOOD, sentence="All is well: everything that was due has been delivered.")


def unreachable(errors: Sequence[str]) -> Health:
    """Return the health when source or state cannot be read; each error is a sentence."""
    return Health(level=HealthLevel.TROUBLE, sentence=errors[0], further=tuple(errors[1:]), remedy=ASK_DOCTOR)


def _findings(
    status: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], dead: int, more_dead: bool
) -> Iterator[tuple[HealthLevel, str, str]]:
    now = datetime.fromisoformat(status["source_now"])
    if status["gate"] in {RunStatus.INACTIVE, RunStatus.TERMINATED}:
        yield HealthLevel.TROUBLE, status["reason"], ""
    if not runs:
        sentence = "No run yet: start one with 'incident-process run', or let cron or systemd do it."
        yield HealthLevel.ATTENTION, sentence, ""
        return
    under_way = runs[0]["status"] == RunStatus.RUNNING and status["lease"] is not None
    if runs[0]["status"] == RunStatus.RUNNING and not under_way:
        yield (
            HealthLevel.ATTENTION,
            "The last run was cut off: it has no end, and nobody is at work. The next run resumes.",
            RESUME,
        )
    ended = next((run for run in runs if run["status"] != RunStatus.RUNNING), None)
    if ended is not None and ended["status"] in UNFINISHED:
        yield from _unfinished(ended, under_way=under_way)
    elif status["deliveries"]["pending"] and not under_way:
        waiting = status["deliveries"]["pending"]
        yield (
            HealthLevel.ATTENTION,
            f"{_many(waiting, 'incident waits', 'incidents wait')} for an outcome: start a run.",
            "",
        )
    if not under_way:
        yield from _missing_run(status, runs[0], now)
    if dead:
        count = (
            f"More than {dead:,} dead letters are open"
            if more_dead
            else _many(dead, "dead letter is open", "dead letters are open")
        )
        yield HealthLevel.ATTENTION, f"{count}: see why they were rejected, then replay them.", ""


def _unfinished(run: Mapping[str, Any], *, under_way: bool) -> Iterator[tuple[HealthLevel, str, str]]:
    error = f"{(run['error'] or 'no reason was noted').strip().rstrip('.')}."
    if error.startswith(INTERRUPTED):  # an operator's wish, and no fault
        if not under_way:
            yield HealthLevel.ATTENTION, f"The last run was {error} The next run resumes.", RESUME
    elif run["status"] == RunStatus.FAILED:
        sentence = f"The last run failed: {error} Nothing is lost; the next run resumes."
        yield HealthLevel.TROUBLE, sentence, ASK_DOCTOR
    else:
        yield (
            HealthLevel.TROUBLE,
            f"The last run was incomplete: {error} The next run resumes.",
            "See with which error the pending incidents were tried; once the receiver takes them, start a run.",
        )


def _missing_run(
    status: Mapping[str, Any], last: Mapping[str, Any], now: datetime
) -> Iterator[tuple[HealthLevel, str, str]]:
    due = status["next_execution_dtm"]
    if due is not None:
        patience = max(OVERDUE, timedelta(minutes=status["execution_minutes"] or 0))
        if status["gate"] == "open" and now - datetime.fromisoformat(due) > patience:
            yield (
                HealthLevel.ATTENTION,
                f"A run has been due since {due[:16].replace('T', ' ')} UTC: is the scheduler at work?",
                LOOK_AT_SCHEDULER,
            )
    elif now - datetime.fromisoformat(last["started"]) > SILENCE:
        yield HealthLevel.ATTENTION, "No run for more than a day: is the scheduler at work?", LOOK_AT_SCHEDULER


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
