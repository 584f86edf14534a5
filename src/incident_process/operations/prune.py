"""Deletes what no run, command or auditor's question needs any more, by age (SPEC 6.4).

What decides whether an account is sent again, and under which key, stays: its last delivery, its last entry, whatever
waits, and of each deleted delivery a mark of its content (``state.remembered``). It takes no lease: entries that have
an outcome never change, and what a run writes meanwhile is younger than the age limit.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from incident_process.core.clock import SourceClock
from incident_process.core.errors import ConfigurationError
from incident_process.core.models import (
    NEVER,
    Counts,
    DeliveryStatus,
    LastDelivery,
    LedgerEntry,
    Record,
    RunKind,
    RunRecord,
    RunRequest,
    RunStatus,
    Window,
)
from incident_process.core.process_identity import Runner, user_name
from incident_process.core.window import id_floor
from incident_process.pipeline.operation_check import require_usable
from incident_process.pipeline.run_record import new_run_id
from incident_process.settings import Settings
from incident_process.state.base import StateStore

PAGE = 1000
"""Entries that one transaction deletes at most."""
NEWEST_RUNS = 100
"""Newest runs that stay at any age: alerts, the schedule and the dashboard look at up to 50."""
SHORTEST = timedelta(days=1)

KEPT = (
    "Kept at any age: what waits, open dead letters, each account's last delivery and a mark of every earlier content "
    "(they decide whether and how an account is sent again), the runs that these name, "
    f"the newest {NEWEST_RUNS} runs, records of prunes."
)

_FINAL = (DeliveryStatus.DELIVERED, DeliveryStatus.DEAD, DeliveryStatus.SKIPPED)
_TABLES = ("Incident_Delivery", "Process_Operation_Run")
_CUT_OFF = "was cut off: what it names is deleted; the same command deletes the rest"


class Pruned(Record, frozen=True, kw_only=True):
    """What was deleted, or would be.

    ``bytes_before`` and ``bytes_after`` are about what the state takes on the disk, None where the server does not say.
    ``not_reclaimed``: why the file did not become smaller, if it did not.
    """

    dry_run: bool
    older_than: datetime
    run_id: str | None
    deliveries: Mapping[DeliveryStatus, int]
    runs: int
    bytes_before: int | None
    bytes_after: int | None
    not_reclaimed: str | None = None


def require_age(age: timedelta, settings: Settings) -> None:
    """Raise ConfigurationError for an age below what runs and auditors may still ask for."""
    process = settings.process
    for least, why in (
        (SHORTEST, "no younger entry is deleted"),
        (timedelta(seconds=process.lookback_seconds), "each run re-reads the rows of [PROCESS] lookback_seconds"),
        (timedelta(days=process.keep_bodies), "[PROCESS] keep_bodies keeps bodies that are found by their deliveries"),
    ):
        if age < least:
            raise ConfigurationError(
                f"--older-than is {_in_days(age)}, and has to be at least {_in_days(least)}: {why}."
            )


class Prune:
    """One prune of an operation's state.

    Args:
        store: The state.
        operation: The operation's name.
        now: The source's clock.
        age: Entries and runs that are younger stay.
        dry_run: Whether to count alone.
    """

    def __init__(self, store: StateStore, operation: str, now: datetime, age: timedelta, *, dry_run: bool) -> None:
        self._store = store
        self._clock = SourceClock(now)
        self._dry_run = dry_run
        self._limit = now - age
        self._below = id_floor(self._limit)  # ids are never behind the clock: those below were taken before the limit
        self._named: set[str] = set()
        self._deliveries: Counter[DeliveryStatus] = Counter()
        self._runs = 0
        self._record = RunRecord(
            run_id=new_run_id(now),
            operation=operation,
            kind=RunKind.PRUNE,
            status=RunStatus.INCOMPLETE,
            host=Runner.this().host,
            started_at=now,
            window=Window(start=NEVER, end=self._limit),
            error=_CUT_OFF,
            request=RunRequest(requested_by=user_name()),
        )

    async def make(self) -> Pruned:
        """Delete, give free space back, and return what was done; it may be cut off anywhere, and repeated.

        Raises ConfigurationError for an operation that the state does not know, and for a state that runs may not use
        either: copied elsewhere, or being renamed.
        """
        identity = await self._store.identity()
        if identity is None:
            raise ConfigurationError(
                f"The state knows no operation '{self._record.operation}': correct [PROCESS] operation_name."
            )
        require_usable(identity)
        before = await self._store.stored_bytes()
        await self._delete({}, [])  # the record comes first: nothing is deleted without one
        await self._prune_ledger()
        await self._prune_runs()
        reason = None
        if not self._dry_run:
            reason = await self._store.reclaim()
            self._record = msgspec.structs.replace(
                self._record, status=RunStatus.COMPLETED, error=None, ended_at=self._clock.now()
            )
            await self._delete({}, [])
        return Pruned(
            dry_run=self._dry_run,
            older_than=self._limit,
            run_id=None if self._dry_run else self._record.run_id,
            deliveries={status: self._deliveries[status] for status in _FINAL},
            runs=self._runs,
            bytes_before=before,
            bytes_after=None if self._dry_run else await self._store.stored_bytes(),
            not_reclaimed=reason,
        )

    async def _prune_ledger(self) -> None:
        after = 0
        while entries := await self._store.ledger_after(after, PAGE):
            after = entries[-1].incident_id
            old = [one for one in entries if one.incident_id < self._below]
            known = await self._store.last_known(list({one.account for one in old})) if old else {}
            superseded: dict[DeliveryStatus, dict[int, int]] = defaultdict(dict)
            for entry in old:
                if entry.updated_at < self._limit and await self._is_superseded(entry, known.get(entry.account)):
                    later = known[entry.account].delivered_id if _was_sent(entry) else 0
                    superseded[entry.status][entry.incident_id] = later
                else:
                    self._named.add(entry.run_id)
            for status, of_status in superseded.items():
                self._deliveries[status] += (await self._delete(of_status, []))[0]
            if len(old) < len(entries):
                return

    async def _is_superseded(self, entry: LedgerEntry, known: LastDelivery | None) -> bool:
        """Return whether a later entry with an outcome decides in this one's place.

        A later entry that is pending does not count: it may still be withdrawn.
        """
        if known is None:
            return False
        if entry.incident_id < known.delivered_id:
            return True
        if _was_sent(entry):
            return False  # no later delivery can keep a mark of it
        newest = await self._store.deliveries(account=entry.account, limit=1)
        return any(one.incident_id > entry.incident_id and one.status is not DeliveryStatus.PENDING for one in newest)

    async def _prune_runs(self) -> None:
        seen = skip = 0
        while runs := await self._store.runs(skip=skip, limit=PAGE):
            old: list[str] = []
            for run in runs:
                seen += run.kind is not RunKind.PRUNE
                if seen > NEWEST_RUNS and run.started_at < self._limit and not await self._is_needed(run):
                    old.append(run.run_id)
            if old:
                self._runs += (await self._delete({}, old))[1]
            skip += len(runs) if self._dry_run else len(runs) - len(old)

    async def _is_needed(self, run: RunRecord) -> bool:
        """Return whether a run is under way, or named by an entry that stays; a prune's record proves the deletion."""
        if run.kind is RunKind.PRUNE or run.status is RunStatus.RUNNING or run.run_id in self._named:
            return True
        newest = await self._store.deliveries(run_id=run.run_id, limit=1)
        if not self._dry_run:
            return bool(newest)  # what is superseded has gone by now
        if not newest or newest[0].incident_id >= self._below:
            return bool(newest)
        return bool(await self._store.deliveries(run_id=run.run_id, status=DeliveryStatus.PENDING, limit=1))

    async def _delete(self, superseded: Mapping[int, int], run_ids: Sequence[str]) -> tuple[int, int]:
        """Delete in one step with the record of it, unless it is to be counted alone; return how many went of each."""
        if self._dry_run:
            return len(superseded), len(run_ids)
        before = self._record.counts.rows

        def record(*more: int) -> RunRecord:
            rows = {name: before.get(name, 0) + number for name, number in zip(_TABLES, more, strict=True)}
            return msgspec.structs.replace(self._record, counts=Counts(rows=rows))

        deleted = await self._store.prune(superseded, run_ids, record)
        self._record = record(*deleted)
        return deleted


def _was_sent(entry: LedgerEntry) -> bool:
    """Return whether the receiver may have the content, so that it goes under another key when it comes back."""
    return entry.status is DeliveryStatus.DELIVERED or entry.attempts > 0


def _in_days(age: timedelta) -> str:
    hours = round(age.total_seconds() / 3600, 1)
    return f"{hours / 24:g} day(s)" if hours % 24 == 0 else f"{hours:g} hours"
