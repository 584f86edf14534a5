"""Scopes: the leases and outboxes of chunks that run side by side, over every store that there is.

What all stores share without scopes is in ``test_state.py``; its ways to make incidents, chunks and outcomes are used
here. Steps that are cut short or overtaken between two writes of the Mongo store are in ``test_state_scopes_mongo.py``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from incident_process.core.errors import IncidentProcessError, LeaseLostError
from incident_process.core.models import DeliveryStatus, Incident, Lease, RunStatus
from incident_process.state.base import LedgerReader, RunState, StateStore
from tests.integration.test_state import (
    T0,
    begin,
    chunk,
    incident,
    operation_of,
    outcome,
    refuse,
    run_record,
    step,
    story,
)
from tests.support.stores import OPERATION, ServerStores, SqlStores, StoreFactory

PENDING = DeliveryStatus.PENDING


async def opened(store: StateStore, count: int = 8) -> Lease:
    """Begin a run with so many scopes."""
    lease = await begin(store, "coordinator")
    assert await store.open_scopes(lease, count) == []
    return lease


async def next_run(store: StateStore, before: Lease, count: int = 8) -> tuple[Lease, list[int]]:
    """Take the operation over, as a run does that comes later; return its lease and the scopes with leftovers."""
    lease = await store.acquire_lease("later coordinator", 60, evict=before.token)
    return lease, await store.open_scopes(lease, count)


async def pending_ids(store: StateStore) -> list[int]:
    return sorted(entry.incident_id for entry in await store.deliveries(status=PENDING))


# -- who may claim ----------------------------------------------------------------------------------------------------


@story
async def test_a_chunk_is_worked_on_under_its_own_lease(stores: StoreFactory) -> None:
    whole = chunk(incident(11), incident(12), name="r1-000003-1")
    async with stores() as store:
        coordinator = await opened(store)
        worker = store.scoped(3, coordinator.token)
        assert await worker.lease_state() is not None, "it was opened"
        lease = await worker.acquire_lease("worker", 30)
        state = await worker.lease_state()
        assert state is not None
        assert (state.holder, state.token, state.active) == ("worker", lease.token, True)
        assert await worker.claim_outbox(lease) == []
        await worker.enqueue(lease, whole)
        assert await worker.load_chunk(whole.chunk_id) == whole
        assert await worker.claim_outbox(lease) == [whole.chunk_id]
        moved = await worker.replace_incident(lease, whole, 12, incident(20, whole.incidents[1].account))
        await worker.record_outcomes(lease, moved, [outcome(one) for one in moved.incidents])
        assert await worker.claim_outbox(lease) == []
        assert await worker.load_chunk(whole.chunk_id) is None
        known = await worker.last_known([one.account for one in whole.incidents])
        assert [one.delivered_id for one in known.values()] == [11, 20]
        assert known == await store.last_known([one.account for one in whole.incidents])
        assert await worker.delivered_before([(whole.incidents[0].account, "d11")]) != set()
        assert [entry.incident_id for entry in await worker.deliveries()] == [20, 11]
        await worker.release_lease(lease)
        state = await worker.lease_state()
        assert state is not None
        assert (state.holder, state.active) == ("", False)
        with pytest.raises(LeaseLostError):
            await worker.renew_lease(lease)
        # The coordinator holds the operation all the while, and closes the run.
        assert (await store.advance(coordinator, step(await operation_of(store)))).sequence == 1
        assert await worker.read_operation() == await store.read_operation()


FENCED: dict[str, Callable[[RunState, Lease], Awaitable[Any]]] = {
    "renew_lease": lambda store, lease: store.renew_lease(lease),
    "reserve_ids": lambda store, lease: store.reserve_ids(lease, 10, 1),
    "enqueue": lambda store, lease: store.enqueue(lease, chunk(incident(9), name="c9")),
    "claim_outbox": lambda store, lease: store.claim_outbox(lease),
    "record_outcomes": lambda store, lease: store.record_outcomes(lease, chunk(incident(1)), [outcome(incident(1))]),
    "replace_incident": lambda store, lease: store.replace_incident(
        lease, chunk(incident(1)), 1, incident(8, incident(1).account)
    ),
    "purge_bodies": lambda store, lease: store.purge_bodies(lease, T0 + timedelta(days=9999)),
}


async def everything(store: LedgerReader, *seen: RunState) -> list[Any]:
    bodies = [await one.load_chunk(name) for one in seen for name in ("c1", "c9", "kept")]
    return [await store.deliveries(), await store.kept_body(2), *bodies]


@pytest.mark.parametrize("later", ["another claim", "another run"])
@pytest.mark.parametrize("write", sorted(FENCED))
@story
async def test_the_later_claim_wins_and_the_earlier_can_write_nothing(
    stores: StoreFactory, write: str, later: str
) -> None:
    async with stores(keep_bodies_days=7) as one, stores(keep_bodies_days=7) as two:
        coordinator = await opened(one)
        early = one.scoped(0, coordinator.token)
        old = await early.acquire_lease("early", 300)
        kept = chunk(incident(2), name="r1-kept")
        await early.enqueue(old, kept)
        await early.record_outcomes(old, kept, [outcome(incident(2))])
        await early.enqueue(old, chunk(incident(1)))
        if later == "another run":
            coordinator, left = await next_run(two, coordinator)
            assert left == [0]
        successor = two.scoped(0, coordinator.token)
        new = await successor.acquire_lease("late", 300)
        assert new.token > old.token
        assert await successor.claim_outbox(new) == ["c1"]
        first = await successor.reserve_ids(new, 1, 100)
        before = await everything(two, successor)
        with pytest.raises(LeaseLostError):
            await FENCED[write](early, old)
        await early.release_lease(old)  # it is left alone
        await successor.renew_lease(new)
        assert await everything(two, successor) == before
        assert await two.kept_body(2) == incident(2).body
        assert await successor.reserve_ids(new, 1, 1) == first + 1


@story
async def test_opening_fences_at_once_who_is_at_work(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two:
        coordinator = await opened(one, 2)
        workers = [one.scoped(number, coordinator.token) for number in range(2)]
        leases = [await worker.acquire_lease(f"worker {number}", 300) for number, worker in enumerate(workers)]
        later, left = await next_run(two, coordinator, 0)
        assert left == []
        for worker, lease in zip(workers, leases, strict=True):
            with pytest.raises(LeaseLostError):
                await worker.enqueue(lease, chunk(incident(1)))
            with pytest.raises(LeaseLostError, match="later run"):
                await worker.acquire_lease("again", 300)
        assert await two.deliveries() == []
        with pytest.raises(LeaseLostError):
            await one.open_scopes(coordinator, 2)
        # Nor has the attempt of the earlier coordinator shut the later one out.
        assert (await two.scoped(1, later.token).acquire_lease("worker", 30)).token > leases[1].token


@story
async def test_a_task_of_an_earlier_run_that_never_began_cannot_claim(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 1)
        zombie = store.scoped(0, coordinator.token)
        never = store.scoped(5, coordinator.token)
        later, _ = await next_run(store, coordinator, 6)
        for one in (zombie, never, store.scoped(6, later.token), store.scoped(0, later.token + 1)):
            with pytest.raises(LeaseLostError):
                await one.acquire_lease("zombie", 30)
        await store.scoped(5, later.token).acquire_lease("worker", 30)


@story
async def test_of_two_claims_at_once_one_is_the_later(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two, stores() as three:
        coordinator = await opened(one, 1)
        scoped = [store.scoped(0, coordinator.token) for store in (one, two, three)]
        leases = await asyncio.gather(*(worker.acquire_lease(f"w{n}", 30) for n, worker in enumerate(scoped)))
        assert len({lease.token for lease in leases}) == 3
        newest = max(lease.token for lease in leases)
        for number, (worker, lease) in enumerate(zip(scoped, leases, strict=True)):
            mine = chunk(incident(number + 1), name=f"c{number}")
            if lease.token == newest:
                await worker.enqueue(lease, mine)
            else:
                with pytest.raises(LeaseLostError):
                    await worker.enqueue(lease, mine)
        assert len(await one.deliveries()) == 1


@story
async def test_a_claim_against_the_opening_of_a_later_run(stores: StoreFactory) -> None:
    """Whoever comes first, nothing is written under the earlier epoch after the later coordinator has its answer."""
    async with stores() as one, stores() as two:
        coordinator = await opened(one, 4)
        for turn in range(5):
            workers = [one.scoped(number, coordinator.token) for number in range(4)]

            async def claim(worker: RunState) -> tuple[RunState, Lease | None]:
                try:
                    return worker, await worker.acquire_lease("early", 300)
                except LeaseLostError:
                    return worker, None

            later = await two.acquire_lease("later", 60, evict=coordinator.token)
            claimed, _ = await asyncio.gather(asyncio.gather(*map(claim, workers)), two.open_scopes(later, 4))
            for worker, lease in claimed:
                if lease is not None:
                    with pytest.raises(LeaseLostError):
                        await worker.enqueue(lease, chunk(incident(100 + turn), name=f"c{turn}"))
            coordinator = later
        assert await two.deliveries() == []


@story
async def test_an_operation_opens_its_own_scopes_only(stores: StoreFactory) -> None:
    async with stores() as store, stores("another operation") as other:
        coordinator = await opened(store, 2)
        worker = store.scoped(1, coordinator.token)
        lease = await worker.acquire_lease("worker", 30)
        await worker.enqueue(lease, chunk(incident(1)))
        assert await opened(other, 2)
        await worker.renew_lease(lease)
        assert await worker.claim_outbox(lease) == ["c1"]


# -- sweeps and leftovers ---------------------------------------------------------------------------------------------


@story
async def test_each_claim_and_sweep_is_confined_to_its_scope(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 3)
        await store.enqueue(coordinator, chunk(incident(1), name="own"))
        workers = [store.scoped(number, coordinator.token) for number in range(3)]
        leases = [await worker.acquire_lease("worker", 30) for worker in workers]
        for number, (worker, lease) in enumerate(zip(workers, leases, strict=True)):
            await worker.enqueue(lease, chunk(incident(10 + number), name=f"c{number}"))
        # Claimed over and over, by others too, as runs and workers come and go.
        for _ in range(3):
            leases[1] = await workers[1].acquire_lease("other worker", 30)
            assert await workers[1].claim_outbox(leases[1]) == ["c1"]
            assert await store.claim_outbox(coordinator) == ["own"]
        assert await pending_ids(store) == [1, 10, 11, 12]
        assert await workers[1].load_chunk("c2") is None, "it is another scope's"
        assert await store.load_chunk("c2") is None
        assert set(await store.last_known([incident(n).account for n in (1, 10, 11, 12)])) == {
            incident(n).account for n in (1, 10, 11, 12)
        }
        for number in (0, 2):
            mine = chunk(incident(10 + number), name=f"c{number}")
            await workers[number].record_outcomes(leases[number], mine, [outcome(incident(10 + number))])
            assert await workers[number].claim_outbox(leases[number]) == []
        await store.record_outcomes(coordinator, chunk(incident(1), name="own"), [outcome(incident(1))])
        assert await pending_ids(store) == [11]


@story
async def test_leftovers_are_named_and_none_is_lost(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 12)
        for number in (11, 2, 7):
            worker = store.scoped(number, coordinator.token)
            lease = await worker.acquire_lease("worker", 30)
            mine = chunk(incident(number), incident(100 + number), name=f"c{number}")
            await worker.enqueue(lease, mine)
            done = [outcome(one) for one in mine.incidents]
            await worker.record_outcomes(lease, mine, done if number == 7 else done[:1])
        await store.release_lease(coordinator)
        # A run on one machine, which opens none of its own, finds them and drains them.
        local = await store.acquire_lease("local", 30)
        assert await store.claim_outbox(local) == []
        assert await store.open_scopes(local, 0) == [2, 11]
        assert await store.open_scopes(local, 3) == [2, 11]
        for number in (2, 11):
            drained = store.scoped(number, local.token)
            lease = await drained.acquire_lease("local", 30)
            assert await drained.claim_outbox(lease) == [f"c{number}"]
            found = await drained.load_chunk(f"c{number}")
            assert found is not None
            assert [one.incident_id for one in found.incidents] == [100 + number]
            await drained.record_outcomes(lease, found, [outcome(one) for one in found.incidents])
        assert await store.open_scopes(local, 0) == []
        assert await pending_ids(store) == []
        assert (await store.delivery_counts())[DeliveryStatus.DELIVERED] == 6


@story
async def test_kept_bodies_of_scopes_are_found_and_no_leftovers_and_go_when_old(stores: StoreFactory) -> None:
    async with stores(keep_bodies_days=7) as store:
        coordinator = await opened(store, 30)
        for number in range(30):
            worker = store.scoped(number, coordinator.token)
            lease = await worker.acquire_lease("worker", 30)
            mine = chunk(incident(200 - number), name=f"r1-{number:06d}-{lease.token}-000001")
            await worker.enqueue(lease, mine)
            await worker.record_outcomes(lease, mine, [outcome(incident(200 - number))])
        assert await store.kept_body(200) == incident(200).body, "however many chunks ran beside its own"
        assert await store.kept_body(171) == incident(171).body
        assert await store.open_scopes(coordinator, 30) == []
        later = datetime.now(UTC) + timedelta(minutes=1)
        worker = store.scoped(4, coordinator.token)
        lease = await worker.acquire_lease("worker", 30)
        assert await worker.purge_bodies(lease, later) == 1
        assert await store.kept_body(196) is None
        assert await store.kept_body(195) == incident(195).body
        assert await store.purge_bodies(coordinator, later) == 29


@story
async def test_a_scope_whose_lease_was_deleted_by_hand_is_opened_again(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 5)
        worker = store.scoped(4, coordinator.token)
        lease = await worker.acquire_lease("worker", 30)
        await worker.enqueue(lease, chunk(incident(1)))
        stores.forget_scopes()
        with pytest.raises(LeaseLostError):
            await worker.renew_lease(lease)
        assert await store.open_scopes(coordinator, 2) == [4]
        again = await worker.acquire_lease("worker", 30)
        assert again.token > lease.token
        assert await worker.claim_outbox(again) == ["c1"]


@story
async def test_a_pending_entry_without_a_body_holds_its_account_up_no_longer_than_the_next_run(
    sql_stores: SqlStores,
) -> None:
    async with sql_stores() as store:
        coordinator = await opened(store, 3)
        workers = [store.scoped(number, coordinator.token) for number in range(3)]
        leases = [await worker.acquire_lease("worker", 30) for worker in workers]
        for number, account in enumerate(["lost", "half", "kept"]):
            await workers[number].enqueue(leases[number], chunk(incident(number + 1, account), name=f"c{number}"))
        await workers[1].enqueue(leases[1], chunk(incident(9, "rest"), name="c9"))
        sql_stores.sql("DELETE FROM Incident_Outbox WHERE Chunk_Id IN ('c0', 'c1')")
        assert await workers[1].claim_outbox(leases[1]) == ["c9"]
        assert set(await store.last_known(["lost", "half", "rest", "kept"])) == {"lost", "rest", "kept"}
        assert await store.open_scopes(coordinator, 1) == [1, 2]
        assert set(await store.last_known(["lost", "half", "rest", "kept"])) == {"rest", "kept"}


# -- many at once -----------------------------------------------------------------------------------------------------


@story
async def test_no_id_is_handed_out_twice_to_eight_scopes_at_once(stores: StoreFactory) -> None:
    rounds, size = 6, 5
    async with stores() as store:
        coordinator = await opened(store, 8)

        async def work(number: int) -> list[int]:
            ids: list[int] = []
            async with stores() as own:
                worker = own.scoped(number, coordinator.token)
                lease = await worker.acquire_lease(f"worker {number}", 60)
                for turn in range(rounds):
                    assert await worker.claim_outbox(lease) == []
                    first = await worker.reserve_ids(lease, size, 1000)
                    mine = chunk(*(incident(first + n) for n in range(size)), name=f"r1-{number}-{turn}")
                    await worker.enqueue(lease, mine)
                    ids += [one.incident_id for one in mine.incidents]
                    await worker.record_outcomes(lease, mine, [outcome(one) for one in mine.incidents])
            return ids

        found: Sequence[list[int]] = await asyncio.gather(*map(work, range(8)))
        every = [one for ids in found for one in ids]
        assert len(set(every)) == len(every) == 8 * rounds * size
        assert min(every) >= 1000
        assert (await store.delivery_counts())[DeliveryStatus.DELIVERED] == len(every)
        assert await store.reserve_ids(coordinator, 1, 1) > max(every)


@story
async def test_a_chunk_that_runs_twice_at_once_is_delivered_by_the_later(stores: StoreFactory) -> None:
    """Both go through the same steps side by side; what the earlier enqueued in time is sent under the same ids."""
    async with stores() as one, stores() as two:
        coordinator = await opened(one, 1)
        for turn in range(4):
            account = f"account {turn}"

            async def work(
                store: StateStore, name: str, account: str = account, turn: int = turn
            ) -> list[tuple[int, bytes]]:
                posted: list[tuple[int, bytes]] = []
                worker = store.scoped(0, coordinator.token)
                try:
                    lease = await worker.acquire_lease(name, 60)
                    for found in await worker.claim_outbox(lease):
                        held = await worker.load_chunk(found)
                        assert held is not None
                        posted += [(one.incident_id, one.body) for one in held.incidents]
                        await worker.record_outcomes(lease, held, [outcome(one) for one in held.incidents])
                    known = (await worker.last_known([account])).get(account)
                    if known is None:
                        first = await worker.reserve_ids(lease, 1, 1)
                        mine = chunk(incident(first, account, digest="d"), name=f"r{turn}-{lease.token}-1")
                        await worker.enqueue(lease, mine)
                        posted += [(one.incident_id, one.body) for one in mine.incidents]
                        await worker.record_outcomes(lease, mine, [outcome(one) for one in mine.incidents])
                except LeaseLostError:
                    pass
                return posted

            both = await asyncio.gather(work(one, "one"), work(two, "two"))
            assert len({post for posts in both for post in posts}) == 1, "one id, one body"
            assert (await one.last_known([account]))[account].newest_status is DeliveryStatus.DELIVERED
        assert await one.open_scopes(coordinator, 0) == []
        assert len(await one.deliveries()) == 4


# -- what is not for a chunk ------------------------------------------------------------------------------------------


@story
async def test_what_belongs_to_the_coordinator_is_refused(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 1)
        worker = store.scoped(0, coordinator.token)
        lease = await worker.acquire_lease("worker", 30)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: worker.open_scopes(lease, 1),
            lambda: worker.open_run(lease, run_record()),
            lambda: worker.write_run(lease, run_record(status=RunStatus.COMPLETED)),
            lambda: worker.raise_as_of(lease, T0),
            cast("StateStore", worker).__aenter__,
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="chunk 0"):
                await call()
        before = await operation_of(store)
        with pytest.raises(RuntimeError, match="chunk 0"):
            await worker.advance(lease, step(before))
        assert await operation_of(store) == before
        assert await store.runs() == []


@story
async def test_the_lease_of_one_is_none_on_another(stores: StoreFactory) -> None:
    async with stores() as store:
        coordinator = await opened(store, 2)
        workers = [store.scoped(number, coordinator.token) for number in range(2)]
        lease = await workers[0].acquire_lease("worker", 30)
        for other in (workers[1], store):
            with pytest.raises(LeaseLostError):
                await other.renew_lease(lease)
        with pytest.raises(LeaseLostError):
            await workers[0].renew_lease(coordinator)


# -- what only the SQL stores have ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["Incident_Delivery", "Incident_Outbox"])
@story
async def test_an_enqueue_that_fails_at_either_write_leaves_nothing(sql_stores: SqlStores, table: str) -> None:
    async with sql_stores() as store:
        coordinator = await opened(store, 1)
        worker = store.scoped(0, coordinator.token)
        lease = await worker.acquire_lease("worker", 30)
        refuse(sql_stores, "INSERT", table)
        with pytest.raises(IncidentProcessError):
            await worker.enqueue(lease, chunk(incident(1)))
        assert await store.deliveries() == []
        assert await store.open_scopes(coordinator, 1) == []


@story
async def test_a_state_of_before_goes_on(sql_stores: SqlStores) -> None:
    """Its tables get the column; what is in them is the operation's own."""
    async with sql_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1)))
        on = "" if not isinstance(sql_stores, ServerStores) else " ON Incident_Outbox"
        sql_stores.sql(f"DROP INDEX Outbox_By_Scope{on}")
        for table in ("Incident_Delivery", "Incident_Outbox"):
            sql_stores.sql(f"ALTER TABLE {table} DROP COLUMN Scope")
        sql_stores.sql("ALTER TABLE Incident_Delivery DROP COLUMN Rows_Digest")
        sql_stores.sql("DROP TABLE Process_Operation_Scope")
    async with sql_stores() as one, sql_stores() as two:
        await asyncio.gather(one.prepare(), two.prepare())
        await two.prepare()
        assert await one.open_scopes(lease, 3) == []
        assert await one.claim_outbox(lease) == ["c1"]
        assert await one.load_chunk("c1") == chunk(incident(1))
        worker = one.scoped(2, lease.token)
        await worker.enqueue(await worker.acquire_lease("worker", 30), chunk(incident(2), name="c2"))
        assert await one.open_scopes(lease, 3) == [2]


@story
async def test_claims_of_two_scopes_never_wait_for_each_other(server_stores: ServerStores) -> None:
    """Another scope's rows are locked for as long as its transaction lasts; nobody else may notice."""
    async with server_stores() as store:
        coordinator = await opened(store, 2)
        workers = [store.scoped(number, coordinator.token) for number in range(2)]
        leases = [await worker.acquire_lease("worker", 30) for worker in workers]
        for number in range(2):
            await workers[number].enqueue(leases[number], chunk(incident(number + 1), name=f"c{number}"))
        await store.enqueue(coordinator, chunk(incident(9), name="own"))
        with server_stores.server.connect(server_stores.database) as busy, busy.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            busy.begin()
            mine = f"Operation_name = '{OPERATION}' AND"
            cursor.execute(f"UPDATE Process_Operation_Scope SET Token = Token + 1 WHERE {mine} Scope = 0")
            cursor.execute(f"UPDATE Incident_Outbox SET Token = Token + 1 WHERE {mine} Chunk_Id = 'c0'")
            cursor.execute("UPDATE Incident_Delivery SET Attempts = 1 WHERE Incident_Id = 1")
            async with asyncio.timeout(5):
                again = await workers[1].acquire_lease("worker", 30)
                assert await workers[1].claim_outbox(again) == ["c1"]
                assert await store.claim_outbox(coordinator) == ["own"]
                found = chunk(incident(2), name="c1")
                await workers[1].record_outcomes(again, found, [outcome(incident(2), PENDING)])
                await workers[1].record_outcomes(again, found, [outcome(incident(2))])
            busy.rollback()
        assert await pending_ids(store) == [1, 9]


@story
async def test_scopes_are_many_and_opened_fast(stores: StoreFactory) -> None:
    count = 300
    async with stores() as store:
        coordinator = await opened(store, count)
        last = store.scoped(count - 1, coordinator.token)
        lease = await last.acquire_lease("worker", 30)
        one: Incident = incident(1)
        await last.enqueue(lease, chunk(one, msgspec.structs.replace(incident(2), attempts=1)))
        assert await store.open_scopes(coordinator, 5) == [count - 1]
        with pytest.raises(LeaseLostError):
            await last.renew_lease(lease)
