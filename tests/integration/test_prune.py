"""A prune deletes what nobody needs, and no decision or key is another one after it (SPEC 6.4)."""

import asyncio
import random
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pymongo import MongoClient

from incident_process.core.crash_points import CrashPoints
from incident_process.core.errors import ConfigurationError
from incident_process.core.events import Events
from incident_process.core.models import (
    NO_PRUNE,
    Chunk,
    DeliveryStatus,
    Lease,
    LedgerEntry,
    Outcome,
    RunKind,
    RunRecord,
    RunStatus,
)
from incident_process.operations import prune
from incident_process.pipeline.change_detection import ResendPolicy, account_content
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.enqueue import Enqueuer
from incident_process.pipeline.state_check import last_run
from incident_process.pipeline.transform import BuildRequest, BuildResult
from incident_process.source.base import AccountRows
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.state.base import StateStore
from incident_process.state.sql import retention
from incident_process.state.sql.schema import OWN
from tests.integration.test_state import story
from tests.support.stores import OPERATION, SqliteStores, SqlStores, StoreFactory

ZONE = ZoneInfo("UTC")
THEN = datetime(2026, 3, 1, tzinfo=UTC)
YEARS_LATER = datetime(2030, 1, 1, tzinfo=UTC)
ACCOUNTS = ("001", "002", "003", "004")
DELIVERED, DEAD, SKIPPED, PENDING = (
    DeliveryStatus.DELIVERED,
    DeliveryStatus.DEAD,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.PENDING,
)
STEPS = 20


class Interrupted(BaseException):
    """The process was killed here."""


def row(columns: tuple[str, ...], **values: Any) -> tuple[Any, ...]:
    return tuple(THEN if name == "LOAD_DATE" else values.get(name) for name in columns)


def rows_of(account: str, content: int) -> AccountRows:
    """Return rows with one of a few contents; none of a customer for 0, and such as make no document for 4."""
    customers = [row(CUSTOMER_COLUMNS, OUTSTANDING=Decimal(content) if content < 4 else "much")] if content else []
    return AccountRows(account=account, customers=customers, payments=[row(PAYMENT_COLUMNS)])


class World:
    """One operation's state, with the real change detection and enqueueing; the answers are given."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.made: list[Any] = []
        self._runs = 0

    async def begin(self) -> Lease:
        await self.store.prepare()
        await self.store.create_operation(60)
        return await self.store.acquire_lease("host-a:1", 600)

    async def run(
        self,
        lease: Lease,
        contents: dict[str, int],
        answers: Sequence[DeliveryStatus],
        resend: ResendPolicy = ResendPolicy.CHANGED,
    ) -> None:
        """Drain the outbox, then send what these contents call for; each incident gets the next answer."""
        self._runs += 1
        started = THEN + timedelta(minutes=self._runs)
        run = RunRecord(
            run_id=f"run-{self._runs:04d}",
            operation=OPERATION,
            kind=RunKind.WINDOW,
            status=RunStatus.COMPLETED,
            host="host-a",
            started_at=started,
        )
        await self.store.open_run(lease, run)
        given = iter(answers)
        for chunk_id in await self.store.claim_outbox(lease):
            chunk = await self.store.load_chunk(chunk_id)
            assert chunk is not None
            await self._answer(lease, chunk, [next(given) for _ in chunk.incidents], started)
        context = SimpleNamespace(
            parts=SimpleNamespace(
                builder=None,
                store=self.store,
                settings=SimpleNamespace(process=SimpleNamespace(created_by="drs_admin")),
                events=Events(),
                faults=CrashPoints.from_environment({}),
            ),
            lease=lease,
            clock=SimpleNamespace(now=lambda: THEN),
            run_id=run.run_id,
            started_at=started,
            key_name=OPERATION,
            chunk_prefix=run.run_id,
        )
        known = await self.store.last_known(list(contents))
        task = BuildRequest(accounts=list(contents), as_of=started, known=known, resend=resend)
        built = BuildResult()
        for account, content in contents.items():
            built.add(rows_of(account, content), task, ZONE)
        chunk = await Enqueuer(cast("RunContext", context), resend).enqueue(task, built)
        self.made.append((known, chunk))
        if chunk is not None and chunk.incidents:
            await self._answer(lease, chunk, [next(given) for _ in chunk.incidents], started)

    async def _answer(self, lease: Lease, chunk: Chunk, answers: Sequence[DeliveryStatus], at: datetime) -> None:
        outcomes = [
            Outcome(incident_id=one.incident_id, account=one.account, status=status, attempts=1, runs=1, at=at)
            for one, status in zip(chunk.incidents, answers, strict=True)
        ]
        await self.store.record_outcomes(lease, chunk, outcomes)

    async def says(self) -> Any:
        """Return everything that decides."""
        digests = [account_content(rows_of("1", content), ZONE) for content in range(5)]
        pairs = {(account, content.digest) for account in ACCOUNTS for content in digests if content is not None}
        return (
            self.made,
            await self.store.last_known(ACCOUNTS),
            await self.store.delivered_before(pairs),
            timeless(await self.store.dead_letters()),
            timeless(await self.store.deliveries(status=PENDING)),
            [account async for account in self.store.delivered_accounts()],
        )


def timeless(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Return the entries without the state's own times."""
    return [msgspec.structs.replace(entry, created_at=THEN, updated_at=THEN) for entry in entries]


def wipe(stores: StoreFactory) -> None:
    if isinstance(stores, SqlStores):
        for table in OWN:
            stores.sql(f"DELETE FROM {table.name}")
        return
    client: MongoClient[dict[str, Any]]
    with MongoClient(cast("Any", stores).url) as client:
        client.drop_database(cast("Any", stores).database)


def pruning(store: StateStore, *, dry_run: bool = False) -> prune.Prune:
    return prune.Prune(store, OPERATION, YEARS_LATER, timedelta(days=1), dry_run=dry_run)


class Killed:
    """A store whose prune is cut off: before a step, after it, or within it where it has parts."""

    def __init__(self, store: StateStore, chance: random.Random) -> None:
        self._store = store
        self._left = chance.randrange(1, 12)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Interrupted

    async def prune(self, *step: Any) -> Any:
        self._step()
        with pytest.MonkeyPatch.context() as patch:
            if hasattr(self._store, "_checkpoint"):
                patch.setattr(self._store, "_checkpoint", self._checkpoint)
            done = await cast("Any", self._store).prune(*step)
        self._step()
        return done

    async def _checkpoint(self, _: str) -> None:
        self._step()


class Changed:
    """A store with some methods replaced."""

    def __init__(self, store: StateStore, **methods: Any) -> None:
        self._store = store
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def history(stores: StoreFactory, seed: int, *, prunes: bool) -> tuple[Any, list[LedgerEntry], int]:
    """Return what a random history comes to, what the ledger has at its end, and how many prunes deleted entries."""
    chance, of_prunes = random.Random(seed), random.Random(seed)
    deleted = 0
    async with stores() as store, stores() as beside:
        world = World(store)
        lease = await world.begin()
        for _ in range(STEPS):
            contents = {
                account: chance.choice((0, 1, 1, 2, 2, 3, 4))
                for account in sorted(chance.sample(ACCOUNTS, chance.randrange(1, 4)))
            }
            answers = chance.choices((DELIVERED, DEAD, PENDING), (7, 2, 1), k=20)
            resend = chance.choice([*[ResendPolicy.CHANGED] * 4, *ResendPolicy])
            run = world.run(lease, contents, answers, resend)
            if not prunes or of_prunes.random() < 0.3:
                await run
                continue
            done = asyncio.create_task(run)
            with suppress(Interrupted):
                made = pruning(cast("StateStore", Killed(beside, of_prunes)) if of_prunes.random() < 0.5 else beside)
                deleted += sum((await made.make()).deliveries.values()) > 0
            await done
        if prunes:
            await pruning(store).make()
        return await world.says(), await store.deliveries(limit=10_000), deleted


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a prune take many small steps, and keep few runs."""
    monkeypatch.setattr(prune, "PAGE", 3)
    monkeypatch.setattr(prune, "NEWEST_RUNS", 2)


@pytest.mark.usefixtures("small")
@story
async def test_a_history_with_prunes_decides_as_the_same_history_without(stores: StoreFactory) -> None:
    seed = 8
    plain, everything, _ = await history(stores, seed, prunes=False)
    wipe(stores)
    pruned, left, deleted = await history(stores, seed, prunes=True)
    assert pruned == plain
    assert deleted, "prunes between the runs, not the last one alone"
    for account in ACCOUNTS:
        of_account = [entry for entry in left if entry.account == account]
        older = [entry for entry in of_account[1:] if entry.status is not PENDING]
        assert len([entry for entry in of_account if entry.status is DELIVERED]) <= 1, account
        assert len(older) <= 2, account
    assert len(left) < len(everything) / 3


@pytest.mark.usefixtures("small")
@story
async def test_it_says_what_goes_and_what_went_and_leaves_a_record(stores: StoreFactory) -> None:
    async with stores() as store:
        world = World(store)
        lease = await world.begin()
        await world.run(lease, {"001": 1, "003": 0, "004": 1, "005": 1}, [DELIVERED, DELIVERED, DEAD])
        await world.run(
            lease, {"001": 2, "002": 2, "003": 1, "004": 1, "005": 2}, [DELIVERED, DEAD, DELIVERED, DELIVERED]
        )
        await world.run(lease, {"001": 3}, [PENDING])
        for _ in range(2):
            await world.run(lease, {}, [PENDING])
        before = await store.deliveries()

        planned = await pruning(store, dry_run=True).make()
        assert await store.deliveries() == before
        assert len(await store.runs()) == 5
        young = await prune.Prune(store, OPERATION, datetime.now(UTC), timedelta(days=9999), dry_run=False).make()
        assert (sum(young.deliveries.values()), young.runs) == (0, 0), "nothing is so old"

        done = await pruning(store).make()
        assert done.deliveries == planned.deliveries == {DELIVERED: 1, DEAD: 1, SKIPPED: 1}
        # Of five runs the first delivered what is the last of 004, the second and third are named, two are the newest.
        assert done.runs == planned.runs == 0
        left = [(entry.account, entry.status) for entry in await store.deliveries()]
        assert sorted(left) == [
            ("001", DELIVERED), ("001", PENDING), ("002", DEAD), ("003", DELIVERED), ("004", DELIVERED),
            ("005", DELIVERED),
        ]  # fmt: skip
        content = account_content(rows_of("005", 1), ZONE)
        assert content is not None
        may_have_arrived = {("005", content.digest)}
        assert await store.delivered_before(may_have_arrived) == may_have_arrived
        record, *_ = await store.runs(kind=RunKind.PRUNE)
        assert (record.run_id, record.status, record.error) == (done.run_id, RunStatus.COMPLETED, None)
        assert record.request.requested_by
        assert record.window is not None
        assert record.window.end == done.older_than
        assert record.counts.rows == {"Incident_Delivery": 3, "Process_Operation_Run": 0}
        last = await last_run(store)
        assert last is not None
        assert last.run_id == "run-0005", "a prune is no run: schedule and health look at those"
        found = await store.runs(search=NO_PRUNE, limit=50)
        assert [run.run_id[-1] for run in found] == ["5", "4", "3", "2", "1"]

        await world.run(lease, {"004": 2}, [DELIVERED, DELIVERED])
        again = await pruning(store).make()
        assert (again.deliveries[DELIVERED], again.runs) == (2, 2), "runs 1 and 4 are named by nothing any more"
        identity = await store.identity()
        assert identity is not None
        await store.write_identity(lease, msgspec.structs.replace(identity, renaming="another"))
        with pytest.raises(ConfigurationError, match="rename' or 'state copy' again"):
            await pruning(store).make()


@story
async def test_a_rename_beside_it_ends_it_and_the_old_name_stays_unknown(stores: StoreFactory) -> None:
    async with stores() as store, stores() as beside, stores("new") as renamed:
        world = World(store)
        lease = await world.begin()
        for content in (1, 2):
            await world.run(lease, {"001": content}, [DELIVERED])

        async def last_known(accounts: Sequence[str]) -> Any:
            found = await store.last_known(accounts)
            await store.rename(lease, "new")
            return found

        meanwhile = cast("StateStore", Changed(beside, last_known=last_known))
        with pytest.raises(ConfigurationError, match="given another name meanwhile"):
            await pruning(meanwhile).make()
        assert await store.identity() is None
        assert [known.operation for known in await renamed.operations()] == ["new"]
        assert await store.runs() == []
        assert len(await renamed.deliveries()) == 2
        (record,) = await renamed.runs(kind=RunKind.PRUNE)
        assert record.status is RunStatus.INCOMPLETE
        await prune.Prune(renamed, "new", YEARS_LATER, timedelta(days=1), dry_run=False).make()
        assert len(await renamed.deliveries()) == 1


@story
async def test_a_record_of_a_prune_makes_no_operation_known(stores: StoreFactory) -> None:
    async with stores() as store, stores("new") as renamed:
        lease = await World(store).begin()
        await pruning(store).make()
        (record,) = await store.runs()
        await store.rename(lease, "new")
        lease = await renamed.acquire_lease("host-a:1", 600)
        await renamed.write_run(lease, msgspec.structs.replace(record, run_id="late"))
        assert await store.identity() is None
        assert [known.operation for known in await store.operations()] == ["new"]


@pytest.mark.usefixtures("small")
@story
async def test_a_run_stays_whose_waiting_entry_is_delivered_meanwhile(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path / "state.db")
    async with stores() as store:
        world = World(store)
        lease = await world.begin()
        await world.run(lease, {"001": 1}, [DELIVERED])
        await world.run(lease, {"001": 2}, [PENDING])
        for _ in range(2):
            await world.run(lease, {}, [PENDING])

        async def runs(**wanted: Any) -> list[RunRecord]:
            if await store.deliveries(status=PENDING):
                await world.run(lease, {}, [DELIVERED])
            return await store.runs(**wanted)

        await pruning(cast("StateStore", Changed(store, runs=runs))).make()
        left = await store.deliveries()
        assert [(entry.status, entry.run_id[-1]) for entry in left] == [(DELIVERED, "2"), (DELIVERED, "1")]
        assert {entry.run_id for entry in left} <= {run.run_id for run in await store.runs()}


def test_one_statement_writes_so_many_marks_as_the_server_takes() -> None:
    texts = {number: "x" * 17 * (number % 40) for number in range(1, 500)} | {0: "x" * 5000}
    found = list(retention._slices(texts, 4096))
    assert [number for some in found for number in some] == list(texts)
    assert all(sum(len(texts[number]) + 40 for number in some) <= 4096 for some in found if some != [0])
    assert [0] in found
    assert len(found) < 80


@story
async def test_a_copy_has_the_marks_of_what_was_pruned(stores: StoreFactory) -> None:
    async with stores() as store:
        world = World(store)
        lease = await world.begin()
        for content in (1, 2, 3):
            await world.run(lease, {"001": content}, [DELIVERED])
        (first,), (second,) = (chunk.incidents for _, chunk in world.made[:2])
        await pruning(store).make()
        (kept,) = await store.ledger_after(0, 10)
        assert kept.earlier == (first.digest[:16], second.digest[:16])
    wipe(stores)
    async with stores() as copy:
        lease = await World(copy).begin()
        await copy.restore_ledger(lease, [kept])
        assert await copy.ledger_after(0, 10) == [kept]
        pairs = {("001", first.digest), ("001", "unknown"), ("002", second.digest)}
        assert await copy.delivered_before(pairs) == {("001", first.digest)}


@story
async def test_a_sqlite_file_becomes_smaller_unless_a_run_is_at_work(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path / "state.db")
    async with stores() as store:
        lease = await World(store).begin()
        rows = [(f"r{number}", "x" * 2000) for number in range(1000)]
        stores.sql("CREATE TABLE Filling (Id TEXT, Text TEXT)")
        with closing(sqlite3.connect(stores.file)) as connection, connection:
            connection.executemany("INSERT INTO Filling VALUES (?, ?)", rows)
        stores.sql("DROP TABLE Filling")
        done = await pruning(store).make()
        assert done.not_reclaimed == "a run is at work; new entries use the free space"
        await store.release_lease(lease)
        done = await pruning(store).make()
        assert done.not_reclaimed is None
        assert done.bytes_before is not None
        assert done.bytes_before > 2_000_000
        assert done.bytes_after == await store.stored_bytes()
        assert done.bytes_after is not None
        assert done.bytes_after < 200_000
        assert stores.file.stat().st_size == done.bytes_after
        assert stores.sql("PRAGMA quick_check") == [("ok",)]


@pytest.mark.parametrize(
    ("age", "says"),
    [
        (timedelta(hours=12), "is 12 hours, and has to be at least 1 day(s)"),
        (timedelta(days=2), "at least 3 day(s): each run re-reads the rows of [PROCESS] lookback_seconds"),
        (timedelta(days=6), "at least 7 day(s): [PROCESS] keep_bodies"),
        (timedelta(days=7), None),
    ],
)
def test_an_age_below_what_may_be_asked_for_is_refused(age: timedelta, says: str | None) -> None:
    settings = cast("Any", SimpleNamespace(process=SimpleNamespace(lookback_seconds=3 * 86400, keep_bodies=7)))
    if says is None:
        prune.require_age(age, settings)
        return
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        prune.require_age(age, settings)
