"""Which conditions there are, what a run says of them, and who has to tell it. Pure functions.

A condition is *found* with a sentence (it stands), with None (it does not), or not at all, where the run does not
know. What was told so far is a ``state.alert_store.AlertCondition``; one step of compare-and-set decides who tells the
next.
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
)
from incident_process.state.alert_store import AlertCondition, Stage

TELLING_SECONDS = 300
"""After so long somebody who took on the telling is believed to have failed, and the next one tries."""

Found = dict[str, str | None]


class ConditionName(StrEnum):
    """The conditions."""

    RUN = "run"  # the last window run failed, or left something pending
    DEAD_LETTERS = "dead_letters"  # the last run made dead letters
    LAG = "lag"  # no window was gone through for longer than [NOTIFY] lag_seconds
    OPERATION = "operation"  # inactive, or terminated
    SIGHT = "sight"  # a schedule can read source or state no longer


TITLES = {
    ConditionName.RUN: "run failed or incomplete",
    ConditionName.DEAD_LETTERS: "new dead letters",
    ConditionName.LAG: "lag over the limit",
    ConditionName.OPERATION: "operation inactive or terminated",
    ConditionName.SIGHT: "source or state out of reach",
}
_REFUSED = frozenset({RunStatus.INACTIVE, RunStatus.TERMINATED})


def found_by(kind: RunKind, report: RunReport) -> Found:
    """Return what a run that is over says of the conditions."""
    found: Found = {}
    status, message = report.status, report.message or "no reason was given"
    run = f"run {report.run_id}" if report.run_id else "the run"
    if kind is RunKind.WINDOW and status in DONE:
        found[ConditionName.RUN] = None
    elif kind is RunKind.WINDOW and status in UNFINISHED and not message.startswith(INTERRUPTED):
        found[ConditionName.RUN] = f"{run} is {status.value}: {message}"
    if report.counts.dead:
        found[ConditionName.DEAD_LETTERS] = (
            f"{report.counts.dead} incident(s) became dead letters in {run}: see 'incident-process dead-letters list'"
        )
    elif status in DONE:
        found[ConditionName.DEAD_LETTERS] = None
    if kind is RunKind.WINDOW and status in _REFUSED:
        found[ConditionName.OPERATION] = message
    elif kind is RunKind.WINDOW and status in DONE | {RunStatus.NOT_DUE, RunStatus.INCOMPLETE}:
        found[ConditionName.OPERATION] = None
    return found


def lag_found(runs: Sequence[RunRecord], now: datetime, limit_seconds: float) -> Found:
    """Return what is known of the lag: how long ago the last window ended that was gone through.

    A watermark alone would not tell: it stays where it is as long as no new rows come.

    Args:
        runs: The newest runs.
        now: The source's clock.
        limit_seconds: What is too long; 0 for no limit.
    """
    ends = [run.window.end for run in runs if run.kind is RunKind.WINDOW and run.status in DONE and run.window]
    if not limit_seconds or not ends:
        return {}
    lag = (now - max(ends)).total_seconds()
    too_long = f"no window was gone through for {lag:.0f} s; the limit is {limit_seconds:g} s"
    return {ConditionName.LAG: too_long if lag > limit_seconds else None}


class AlertStep(Record, frozen=True, kw_only=True):
    """One change of a condition by compare-and-set; ``telling`` says what its winner has to send, if anything.

    ``settled`` is the change that follows once that was sent; where it cannot be sent, it is tried again later.
    """

    before: AlertCondition | None
    after: AlertCondition | None
    telling: Stage | None = None

    @property
    def settled(self) -> AlertCondition | None:
        """The condition once its telling has arrived."""
        if self.after is None or self.after.stage is Stage.ENDING:
            return None
        return msgspec.structs.replace(self.after, stage=Stage.STANDING)


def step(name: str, said: str | None, known: AlertCondition | None, now: datetime) -> AlertStep | None:
    """Return what to do about a condition that was found, None when there is nothing to do.

    Args:
        name: Which condition.
        said: The sentence when it stands, None when it does not.
        known: What was told so far.
        now: This machine's clock.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return _stands(name, said, known, now) if said is not None else _gone(known, now)


def is_told(known: AlertCondition | None) -> bool:
    """Return True unless somebody has taken on to tell a condition's beginning or end, and has not done it yet."""
    return known is None or known.stage is Stage.STANDING


def _stands(name: str, said: str, known: AlertCondition | None, now: datetime) -> AlertStep | None:
    if known is None:
        new = AlertCondition(name=name, stage=Stage.BEGINNING, since=now, claimed_at=now, told=said)
        return AlertStep(before=None, after=new, telling=Stage.BEGINNING)
    if known.stage is Stage.ENDING:  # it came back before anybody was told that it had gone
        return AlertStep(before=known, after=msgspec.structs.replace(known, stage=Stage.STANDING, claimed_at=now))
    if known.stage is Stage.BEGINNING and _is_stale(known, now):
        again = msgspec.structs.replace(known, claimed_at=now, told=said)
        return AlertStep(before=known, after=again, telling=Stage.BEGINNING)
    return None


def _gone(known: AlertCondition | None, now: datetime) -> AlertStep | None:
    if known is None:
        return None
    stale = _is_stale(known, now)
    if known.stage is Stage.STANDING or (known.stage is Stage.ENDING and stale):
        ending = msgspec.structs.replace(known, stage=Stage.ENDING, claimed_at=now)
        return AlertStep(before=known, after=ending, telling=Stage.ENDING)
    if known.stage is Stage.BEGINNING and stale:  # nobody was told of it
        return AlertStep(before=known, after=None)
    return None


def _is_stale(known: AlertCondition, now: datetime) -> bool:
    # Either way: a clock that was set back must not keep an alert from being told for as long.
    return abs(now - known.claimed_at) > timedelta(seconds=TELLING_SECONDS)
