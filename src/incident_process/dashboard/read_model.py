"""What the page shows, read through the read service and cached for a moment."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from incident_process.app.factory import make_source
from incident_process.core.errors import DatabaseConnectionError, IncidentProcessError
from incident_process.core.models import (
    NO_PRUNE,
    DeliveryStatus,
    LastDelivery,
    LedgerEntry,
    RunKind,
    RunSearch,
    RunStatus,
    Tracking,
    iso,
)
from incident_process.core.process_identity import is_held
from incident_process.dashboard.connections import Connections
from incident_process.dashboard.difference import lines
from incident_process.dashboard.single_flight_cache import SingleFlightCache
from incident_process.operations import insights
from incident_process.operations.dead_letters import pages, reason_id, reason_of
from incident_process.operations.doctor import examine
from incident_process.operations.health import health, unreachable
from incident_process.operations.insights import delivery_row
from incident_process.operations.preview import Previewed, preview_account
from incident_process.operations.run_log import lines_of
from incident_process.pipeline.change_detection import NO_CUSTOMER_DIGEST
from incident_process.pipeline.state_check import last_run
from incident_process.schedule.timing import DueRules, Snapshot, due
from incident_process.settings import Settings
from incident_process.state.base import LedgerReader

CHARTED_RUNS = 40
MOST_LETTERS = 10_000
"""Open dead letters that the page counts and groups; more of them have one reason anyway."""
SLOW_SECONDS = 10.0
"""Seconds that percentiles and dead letters are cached: they cost more and change less."""
DOCTOR_SECONDS = 30.0
PREVIEW_SECONDS = 60.0
"""Seconds for finding an account in the source; without an index the source reads the whole table."""
RATE_SECONDS = 10.0
ENTRIES = 50


class ReadModel:
    """Answers in plain types, for the requests that only read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections = Connections(settings)
        self._keep = SingleFlightCache()
        self._rate = Rate()
        self._previews = asyncio.Semaphore(1)  # one scan of the source's tables at a time

    async def close(self) -> None:
        """Close source and state."""
        await self._keep.close()
        await self._connections.close()

    def forget(self) -> None:
        """Empty the cache: something has changed."""
        self._keep.forget()

    async def overview(self) -> dict[str, Any]:
        """Return all parts of the overview; a part that cannot be read is None, and the health says why."""
        errors: list[str] = []

        async def part(reading: Awaitable[Any]) -> Any:
            try:
                return await reading
            except IncidentProcessError as exc:
                if str(exc) not in errors:
                    errors.append(str(exc))
                return None

        status, runs, latency, letters = await asyncio.gather(
            part(self._status()), part(self._newest_runs()), part(self._latency()), part(self._letters())
        )
        if status and runs and runs[0]["status"] == RunStatus.RUNNING and not status["lease"]:
            status, runs = await part(self._keep.get("cut off", self._one_moment)) or (None, None)
        return {
            "health": unreachable(errors) if errors else health(status, runs, len(letters[0]), more_dead=letters[1]),
            "at": self._at("status", "newest runs", "latency", "letters"),
            "as_of": {
                "status": self._at("status"),
                "runs": self._at("newest runs"),
                "latency": self._at("latency"),
                "dead_letters": self._at("letters"),
            },
            "now": status["source_now"] if status else iso(datetime.now(UTC)),
            "status": status,
            "runs": runs,
            "under_way": self._under_way(status, runs),
            "durations": _durations(runs or []),
            "latency": latency,
            "dead_letters": {"count": len(letters[0]), "more": letters[1]} if letters else None,
        }

    async def runs(
        self,
        kind: RunKind | None,
        status: RunStatus | None,
        search: RunSearch,
        skip: int,
        limit: int,
    ) -> dict[str, Any]:
        """Return a page of runs and whether there are more."""

        async def read() -> list[dict[str, Any]]:
            store = await self._connections.store()
            return await insights.history(store, kind=kind, status=status, search=search, skip=skip, limit=limit + 1)

        key = ("runs", kind, status, search, skip, limit)
        found = await self._keep.get(key, read)
        return {"runs": found[:limit], "more": len(found) > limit, "at": self._at(key)}

    async def run(self, run_id: str) -> dict[str, Any] | None:
        """Return one run, its neighbours and the incidents that it did not deliver; None for an unknown id."""
        store = await self._connections.store()

        async def read() -> dict[str, Any] | None:
            run = await insights.run(store, run_id)
            if run is None:
                return None
            dead, skipped = [
                await insights.deliveries(store, run_id=run_id, status=status, limit=ENTRIES)
                for status in (DeliveryStatus.DEAD, DeliveryStatus.SKIPPED)
            ]
            tried, rest = await insights.pending(store, run_id=run_id, limit=ENTRIES)
            return {
                "run": run,
                "not_delivered": [*dead, *tried, *skipped],
                "shown_of_each": ENTRIES,
                "not_tried": len(rest),
                "more_not_tried": len(rest) == insights.MOST_COUNTED,
            }

        found, newest = await asyncio.gather(self._keep.get(("run", run_id), read), self._newest_runs())
        if found is None:
            return None
        return {**found, "neighbours": _neighbours(found["run"], newest), "at": self._at(("run", run_id))}

    async def run_log(self, run_id: str) -> dict[str, Any] | None:
        """Return the log lines of one run; None for an unknown id."""
        store = await self._connections.store()

        async def read() -> dict[str, Any] | None:
            found = await store.runs(run_id=run_id, limit=1)
            return await asyncio.to_thread(lines_of, self._settings, found[0]) if found else None

        key = ("run log", run_id)
        log = await self._keep.get(key, read)
        return None if log is None else {**log, "at": self._at(key)}

    async def under_way(self, run_id: str) -> str | None:
        """Return, read now, who holds the lease while this run is under way; None when it is not."""
        store = await self._connections.store()
        lease, last = await store.lease_state(), await last_run(store)
        if lease is None or last is None or not is_held(lease):
            return None
        return lease.holder if last.run_id == run_id and last.status is RunStatus.RUNNING else None

    async def accounts(self, starting: str) -> dict[str, Any]:
        """Return accounts that begin with the text; for an empty text, the newest entries of the ledger."""
        store = await self._connections.store()
        if not starting:
            newest = await self._keep.get("newest", lambda: insights.deliveries(store, limit=ENTRIES))
            return {"newest": newest, "at": self._at("newest")}
        key = ("accounts", starting)
        found = await self._keep.get(key, lambda: insights.accounts(store, starting, ENTRIES))
        return {"accounts": found, "at": self._at(key)}

    async def account(self, account: str, before: int | None) -> dict[str, Any]:
        """Return an account's incidents, newest first."""
        store = await self._connections.store()
        at = _to_second(datetime.now(UTC))
        found = await insights.deliveries(store, account=account, before=before, limit=ENTRIES + 1)
        return {"account": account, "incidents": found[:ENTRIES], "more": len(found) > ENTRIES, "at": at}

    async def document(self, account: str, *, masked: bool) -> dict[str, Any]:
        """Return the document that a run would send of the account, beside the one last delivered.

        Raises DatabaseConnectionError, also when the source takes longer than ``PREVIEW_SECONDS``.
        """
        store = await self._connections.store()
        known = (await store.last_known([account])).get(account)
        delivered_id = known.delivered_id if known else 0
        then = await store.kept_body(delivered_id) if delivered_id else None
        # A connection of its own: a slow search must not block the status, which asks for the source's clock.
        try:
            async with asyncio.timeout(PREVIEW_SECONDS), self._previews, make_source(self._settings) as source:
                found = await preview_account(self._settings, source, account)
        except TimeoutError as exc:
            raise DatabaseConnectionError(
                f"The source did not find the account within {PREVIEW_SECONDS:g} s: see 'doctor' for missing indexes."
            ) from exc
        now = bytes(found.document) if found is not None and found.document is not None else None
        return {
            "account": account,
            "outcome": found.outcome if found else "absent",
            "error": found.error if found else None,
            "comparison": comparison(found, known),
            "delivered_id": str(delivered_id) if delivered_id else None,
            "delivered_digest": known.delivered_digest if known else None,
            "digest": found.digest if found and found.digest != NO_CUSTOMER_DIGEST else None,
            "kept": then is not None,
            "keep_bodies": self._settings.process.keep_bodies,
            "masked": masked,
            "lines": lines(now, then, masked=masked) if now is not None else [],
        }

    async def dead_letters(self, group: str | None, skip: int, limit: int) -> dict[str, Any]:
        """Return the reasons of the open dead letters, and a page of the letters of one reason or of all."""
        letters, more = await self._letters()
        of_group = [entry for entry in letters if group is None or reason_id(entry) == group]
        return {
            "count": len(letters),
            "more": more,
            "groups": _groups(letters),
            "letters": [delivery_row(entry) for entry in of_group[skip : skip + limit]],
            "of_group": len(of_group),
            "pending": (await self._counts())[DeliveryStatus.PENDING],
            "at": self._at("letters"),
        }

    async def pending(self, skip: int, limit: int) -> dict[str, Any]:
        """Return the incidents without an outcome: the reasons and a page of those tried, newest first."""

        async def read() -> list[LedgerEntry]:
            store = await self._connections.store()
            return await store.deliveries(status=DeliveryStatus.PENDING, attempted=True, limit=MOST_LETTERS)

        tried, counts = await self._keep.get("pending", read), await self._counts()
        count = counts[DeliveryStatus.PENDING]
        return {
            "count": count,
            "tried": len(tried),
            "not_tried": max(0, count - len(tried)) if len(tried) < MOST_LETTERS else None,
            "groups": _groups(tried),
            "incidents": [delivery_row(entry) for entry in tried[skip : skip + limit]],
            "at": self._at("pending", "counts"),
        }

    async def doctor(self) -> dict[str, Any]:
        """Return the doctor's findings and their time."""
        findings = await self._keep.get("doctor", lambda: examine(self._settings), DOCTOR_SECONDS)
        return {"findings": findings, "at": self._at("doctor")}

    # -- parts of the overview ------------------------------------------------------------------------------------

    async def _status(self) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            store, source = await self._connections.store(), await self._connections.source()
            status = await insights.status(self._settings, source, store)
            return {**status, "next_run": await next_run(self._settings, status, store)}

        return await self._keep.get("status", read)

    async def _one_moment(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read the lease and then the runs: a run that has no end although nobody held the lease before was cut off.

        Two cached readings may be of different moments: the lease's of before a run, the run's of during it.
        """
        self._keep.forget("status", "newest runs")
        return await self._status(), await self._newest_runs()

    async def _counts(self) -> Mapping[DeliveryStatus, int]:
        async def read() -> Mapping[DeliveryStatus, int]:
            return await (await self._connections.store()).delivery_counts()

        return await self._keep.get("counts", read)

    def _at(self, *keys: Hashable) -> str | None:
        """Return as of when the readings of these keys are, by this process's clock."""
        at = self._keep.read_at(*keys)
        return None if at is None else _to_second(at)

    async def _newest_runs(self) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            found = [
                run
                for run in await insights.history(await self._connections.store(), limit=CHARTED_RUNS)
                if run["kind"] != RunKind.PRUNE
            ]
            self._rate.observe(found[0] if found else None)
            return found

        return await self._keep.get("newest runs", read)

    async def _latency(self) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            return await insights.latency(await self._connections.store())

        return await self._keep.get("latency", read, SLOW_SECONDS)

    async def _letters(self) -> tuple[list[LedgerEntry], bool]:
        async def read() -> tuple[list[LedgerEntry], bool]:
            found: list[LedgerEntry] = []
            async for page in pages(await self._connections.store()):
                found += page
                if len(found) > MOST_LETTERS:
                    return found[:MOST_LETTERS], True
            return found, False

        return await self._keep.get("letters", read, SLOW_SECONDS)

    def _under_way(self, status: dict[str, Any] | None, runs: list[dict[str, Any]] | None) -> dict[str, Any] | None:
        """Return the progress of the run under way: how many of its accounts have their outcome."""
        if not status or not runs or runs[0]["status"] != RunStatus.RUNNING or status["lease"] is None:
            return None
        run = runs[0]
        total = run["accounts"] + run["reread"] + run["resumed"]
        seconds = (
            datetime.fromisoformat(status["source_now"]) - datetime.fromisoformat(run["started"])
        ).total_seconds()
        return {
            "run_id": run["run_id"],
            "kind": run["kind"],
            "started": run["started"],
            "done": done_of(run),
            "total": total or None,
            "sending": run["sending"],
            "rate": self._rate.now(run["run_id"]) or (done_of(run) / seconds if seconds > 0 else 0.0),
        }


class Rate:
    """How many accounts a second get their outcome, over the last ``RATE_SECONDS`` of the run under way.

    Args:
        clock: Returns seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._run_id: str | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, run: dict[str, Any] | None) -> None:
        """Note the progress of the newest run."""
        if run is None or run["run_id"] != self._run_id:
            self._seen.clear()
            self._run_id = run["run_id"] if run else None
        if run is not None:
            now = self._clock()
            self._seen.append((now, done_of(run)))
            while len(self._seen) > 2 and self._seen[0][0] < now - RATE_SECONDS:
                self._seen.popleft()

    def now(self, run_id: str) -> float | None:
        """Return accounts a second, None with fewer than two observations of the run."""
        if run_id != self._run_id or len(self._seen) < 2:
            return None
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else None


def done_of(run: dict[str, Any]) -> int:
    """Return how many accounts of a run have their outcome."""
    return sum(run[name] for name in ("delivered", "unchanged", "skipped", "dead", "pending"))


def comparison(now: Previewed | None, known: LastDelivery | None) -> str:
    """Compare an account's present content with the ledger; return a name that the page knows.

    It follows ``pipeline.change_detection.decide``, which decides what a run sends.
    """
    if known is None:
        return "never_delivered"
    same_as_newest = now is not None and now.digest == known.newest_digest
    if known.newest_status is DeliveryStatus.PENDING:
        return "pending" if now is None or same_as_newest else "waiting"
    if now is None:
        return "absent"
    if now.document is not None and now.digest == known.delivered_digest:
        return "same"
    if now.document is not None and known.newest_status is DeliveryStatus.DEAD and same_as_newest:
        return "dead"
    otherwise = "changed" if now.document is not None else "unfit"
    return "never_delivered" if known.delivered_digest is None else otherwise


def _durations(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return percentiles, in seconds, over the charted runs that ended without failing."""
    took = sorted(run["seconds"] for run in runs if run["seconds"] is not None and run["status"] != RunStatus.FAILED)
    return {"sample": len(took), **insights.percentiles(took)}


def _neighbours(run: dict[str, Any], newest: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the window runs just before and after a run, the run itself between them, oldest first."""
    windows = [
        other for other in newest if other["window"] and (other["kind"] == "window" or other["run_id"] == run["run_id"])
    ]
    at = next((place for place, other in enumerate(windows) if other["run_id"] == run["run_id"]), None)
    if at is None:
        return [run] if run["window"] else []
    return list(reversed(windows[max(0, at - 2) : at + 4]))


async def next_run(settings: Settings, status: Mapping[str, Any], store: LedgerReader) -> str | None:
    """Return when the next run is due: by ``Next_execution_dtm``, or else as ``schedule`` reckons it.

    Args:
        settings: Those of the operation.
        status: As ``insights.status`` returns it.
        store: The state.
    """
    rules = DueRules.of(settings)
    if rules.tracking is Tracking.SQL:
        gate: str | None = status["next_execution_dtm"]
        return gate
    now = datetime.fromisoformat(status["source_now"])
    view = Snapshot(now=now, operation=None, runs=await store.runs(search=NO_PRUNE, limit=CHARTED_RUNS))
    return _to_second(due(rules, view).at)


def _to_second(at: datetime) -> str:
    return iso(at.replace(microsecond=0))


def _groups(letters: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for entry in letters:  # newest first
        found = groups.setdefault(
            reason_id(entry),
            {
                "group": reason_id(entry),
                "http_status": entry.http_status,
                "reason": reason_of(entry),
                "count": 0,
                "newest": iso(entry.updated_at),
                "oldest": iso(entry.updated_at),
            },
        )
        found["count"] += 1
        found["oldest"] = min(found["oldest"], iso(entry.updated_at))
    return sorted(groups.values(), key=lambda group: -int(group["count"]))
