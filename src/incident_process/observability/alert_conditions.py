"""The conditions, what a run says of them, and which process must send their alerts. Pure functions.

A condition is *found* with a sentence (it holds), with None (it does not), or not at all, where the run does not know.
``state.alert_store.AlertCondition`` is what was sent so far; one step of compare-and-set decides which process sends
the next alert.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from incident_process.core.models import (
    DONE,
    INTERRUPTED,
    UNFINISHED,
    Record,
    RunKind,
    RunRecord,
    RunReport,
    RunStatus,
    counted,
)
from incident_process.state.alert_store import AlertCondition, Stage

TELLING_SECONDS = 300
"""Seconds after which a process that claimed an alert counts as failed, and the next one sends it."""

Found = dict[str, str | None]


class ConditionName(StrEnum):
    """The conditions."""

    RUN = "run"  # the last window run failed, or left something pending
    DEAD_LETTERS = "dead_letters"  # the last run made dead letters
    LAG = "lag"  # no window was processed for longer than [NOTIFY] lag_seconds
    OPERATION = "operation"  # inactive, or terminated
    SIGHT = "sight"  # a schedule can no longer read source or state


TITLES = {
    ConditionName.RUN: "run failed or incomplete",
    ConditionName.DEAD_LETTERS: "new dead letters",
    ConditionName.LAG: "lag over the limit",
    ConditionName.OPERATION: "operation inactive or terminated",
    ConditionName.SIGHT: "source or state out of reach",
}
_REFUSED = frozenset({RunStatus.INACTIVE, RunStatus.TERMINATED})


def found_by(kind: RunKind, report: RunReport) -> Found:
    """Return what a finished run says of the conditions."""
    found: Found = {}
    status, message = report.status, report.message or "no reason was given"
    run = f"run {report.run_id}" if report.run_id else "the run"
    if kind is RunKind.WINDOW and status in DONE:
        found[ConditionName.RUN] = None
    elif kind is RunKind.WINDOW and status in UNFINISHED and not message.startswith(INTERRUPTED):
        found[ConditionName.RUN] = f"{run} is {status.value}: {message}"
    if report.counts.dead:
        became = counted(report.counts.dead, "incident became a dead letter", "incidents became dead letters")
        found[ConditionName.DEAD_LETTERS] = f"{became} in {run}: see 'incident-process dead-letters list'"
    elif status in DONE:
        found[ConditionName.DEAD_LETTERS] = None
    if kind is RunKind.WINDOW and status in _REFUSED:
        found[ConditionName.OPERATION] = message
    elif kind is RunKind.WINDOW and status in DONE | {RunStatus.NOT_DUE, RunStatus.INCOMPLETE}:
        found[ConditionName.OPERATION] = None
    return found


def lag_found(runs: Sequence[RunRecord], now: datetime, limit_seconds: float) -> Found:
    """Return the condition of the lag: how long ago the last processed window ended.

    The watermark does not show that: it stays where it is as long as no new rows come.

    Args:
        runs: The newest runs.
        now: The source's clock.
        limit_seconds: The longest lag that is no condition; 0 for no limit.
    """
    ends = [run.window.end for run in runs if run.kind is RunKind.WINDOW and run.status in DONE and run.window]
    if not limit_seconds or not ends:
        return {}
    lag = (now - max(ends)).total_seconds()
    too_long = f"no window was gone through for {lag:.0f} s; the limit is {limit_seconds:g} s"
    return {ConditionName.LAG: too_long if lag > limit_seconds else None}


class AlertStep(Record, frozen=True, kw_only=True):
    """One change of a condition by compare-and-set; ``telling`` is the alert that its winner has to send, if any.

    ``settled`` is the change that follows once the alert was sent; an alert that cannot be sent is retried later.
    """

    before: AlertCondition | None
    after: AlertCondition | None
    telling: Stage | None = None

    @property
    def settled(self) -> AlertCondition | None:
        """The condition once its alert has arrived."""
        if self.after is None or self.after.stage is Stage.ENDING:
            return None
        return msgspec.structs.replace(self.after, stage=Stage.STANDING)


def step(name: str, said: str | None, known: AlertCondition | None, now: datetime) -> AlertStep | None:
    """Return the step for a condition that was found, None when there is nothing to do.

    Args:
        name: The condition.
        said: The sentence when it holds, None when it does not.
        known: What was sent so far.
        now: This machine's clock.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return _step_if_found(name, said, known, now) if said is not None else _step_if_over(known, now)


def is_told(known: AlertCondition | None) -> bool:
    """Return False while a process has claimed the alert of a condition's beginning or end and not sent it yet."""
    return known is None or known.stage is Stage.STANDING


def _step_if_found(name: str, said: str, known: AlertCondition | None, now: datetime) -> AlertStep | None:
    if known is None:
        new = AlertCondition(name=name, stage=Stage.BEGINNING, since=now, claimed_at=now, told=said)
        return AlertStep(before=None, after=new, telling=Stage.BEGINNING)
    if known.stage is Stage.ENDING:  # it came back before the alert of its end was sent
        return AlertStep(before=known, after=msgspec.structs.replace(known, stage=Stage.STANDING, claimed_at=now))
    if known.stage is Stage.BEGINNING and _is_stale(known, now):
        again = msgspec.structs.replace(known, claimed_at=now, told=said)
        return AlertStep(before=known, after=again, telling=Stage.BEGINNING)
    return None


def _step_if_over(known: AlertCondition | None, now: datetime) -> AlertStep | None:
    if known is None:
        return None
    stale = _is_stale(known, now)
    if known.stage is Stage.STANDING or (known.stage is Stage.ENDING and stale):
        ending = msgspec.structs.replace(known, stage=Stage.ENDING, claimed_at=now)
        return AlertStep(before=known, after=ending, telling=Stage.ENDING)
    if known.stage is Stage.BEGINNING and stale:  # no alert of it was sent
        return AlertStep(before=known, after=None)
    return None


def _is_stale(known: AlertCondition, now: datetime) -> bool:
    # Before or after: a clock that was set back must not delay an alert by as much.
    return abs(now - known.claimed_at) > timedelta(seconds=TELLING_SECONDS)
