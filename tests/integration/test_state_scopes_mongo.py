"""Scopes in the Mongo store: steps that are cut short, or overtaken, between two of their writes.

As ``test_state_mongo.py`` does it for an operation; what all stores share is in ``test_state_scopes.py``.
"""

import asyncio

import msgspec
import pytest

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import DeliveryStatus, LastDelivery, Lease
from incident_process.state.mongo import MongoStateStore
from tests.integration.test_state import begin, chunk, incident, outcome, story
from tests.integration.test_state_mongo import ENQUEUE, Crash, Interruption, Look, interrupted
from tests.support.mongo_store import MongoStores

PENDING = DeliveryStatus.PENDING
LATE = ["enqueue: outbox written", "enqueue: ledger written"]
OPEN = [
    "open: fenced",
    "open: missing ones created",
    "open: all fenced",
    "open: outboxes seen",
    "open: idle ones claimed",
]


async def coordinate(store: MongoStateStore, before: Lease | None = None, count: int = 3) -> tuple[Lease, list[int]]:
    """Begin a run with scopes; return its lease and the scopes with leftovers."""
    if before is None:
        lease = await begin(store, "coordinator", 300)
    else:
        lease = await store.acquire_lease("later coordinator", 300, evict=before.token)
    return lease, await store.open_scopes(lease, count)


async def waiting(store: MongoStateStore) -> list[int]:
    return sorted(entry.incident_id for entry in await store.deliveries(status=PENDING))


async def deliver(store: MongoStateStore, epoch: int, scope: int, number: int, account: str) -> None:
    """Go over a chunk of one account, as a worker does that finds nothing to resume."""
    worker = store.scoped(scope, epoch)
    lease = await worker.acquire_lease("worker", 60)
    assert await worker.claim_outbox(lease) == []
    mine = chunk(incident(number, account, digest=f"fresh {number}"), name=f"r2-{scope}-{lease.token}")
    await worker.enqueue(lease, mine)
    await worker.record_outcomes(lease, mine, [outcome(one) for one in mine.incidents])


@pytest.mark.parametrize(("place", "found"), list(zip(ENQUEUE, [False, True, True], strict=True)))
@pytest.mark.parametrize("by", ["another worker", "a later run"])
@story
async def test_an_enqueue_that_was_cut_short_is_whole_or_absent(
    mongo_stores: MongoStores, place: str, found: bool, by: str
) -> None:
    whole = chunk(incident(1), incident(2))
    async with interrupted(mongo_stores, Interruption(place)) as dying, mongo_stores() as second:
        coordinator, _ = await coordinate(second)
        early = dying.scoped(1, coordinator.token)
        with pytest.raises(Crash):
            await early.enqueue(await early.acquire_lease("early", 300), whole)
        if by == "a later run":
            coordinator, left = await coordinate(second, coordinator, 0)
            assert left == ([1] if found else [])
        worker = second.scoped(1, coordinator.token)
        lease = await worker.acquire_lease("worker", 60)
        assert await worker.claim_outbox(lease) == (["c1"] if found else [])
        assert await worker.load_chunk("c1") == (whole if found else None)
        assert await waiting(second) == ([1, 2] if found else [])
        await worker.record_outcomes(lease, whole, [outcome(one) for one in whole.incidents])
        assert (await second.delivery_counts())[DeliveryStatus.DELIVERED] == (2 if found else 0)


@pytest.mark.parametrize("place", ENQUEUE)
@pytest.mark.parametrize("by", ["another worker", "a later run"])
@story
async def test_a_late_enqueue_takes_back_what_nobody_claimed(mongo_stores: MongoStores, place: str, by: str) -> None:
    claimed: list[str] = []
    async with mongo_stores() as second, Look(mongo_stores) as database:

        async def overtake() -> None:
            token = coordinator.token
            if by == "a later run":
                token = (await coordinate(second, coordinator))[0].token
            worker = second.scoped(1, token)
            claimed.extend(await worker.claim_outbox(await worker.acquire_lease("worker", 60)))

        async with interrupted(mongo_stores, Interruption(place, overtake)) as late:
            coordinator, _ = await coordinate(second)
            early = late.scoped(1, coordinator.token)
            lease = await early.acquire_lease("early", 300)
            with pytest.raises(LeaseLostError):
                await early.enqueue(lease, chunk(incident(1)))
        assert claimed == ([] if place == "enqueue: fenced" else ["c1"])
        assert await database["Incident_Outbox"].count_documents({}) == len(claimed)
        assert await database["Incident_Delivery"].count_documents({}) == len(claimed)


@pytest.mark.parametrize("place", LATE)
@pytest.mark.parametrize("by", ["another worker", "a later run"])
@story
async def test_an_orphan_of_a_late_worker_that_died_is_never_sent(
    mongo_stores: MongoStores, place: str, by: str
) -> None:
    """Evicted from scope 1 and then dead: its content is older than what another chunk has sent of the account since.

    A later run may never have claimed scope 1 before that: opening it has to do.
    """
    token: list[int] = []
    async with mongo_stores() as second, Look(mongo_stores) as database:

        async def overtake_then_let_it_die() -> None:
            if by == "a later run":
                token.append((await coordinate(second, coordinator))[0].token)
            else:
                token.append(coordinator.token)
                worker = second.scoped(1, coordinator.token)
                assert await worker.claim_outbox(await worker.acquire_lease("worker", 60)) == []
            checkpoint.place, checkpoint.meanwhile = place, None

        checkpoint = Interruption("enqueue: fenced", overtake_then_let_it_die)
        async with interrupted(mongo_stores, checkpoint) as late:
            coordinator, _ = await coordinate(second)
            early = late.scoped(1, coordinator.token)
            lease = await early.acquire_lease("early", 300)
            with pytest.raises(Crash):
                await early.enqueue(lease, chunk(incident(1, "0001", digest="stale")))
        assert await database["Incident_Outbox"].count_documents({}) == 1
        assert await second.last_known(["0001"]) == {}
        await deliver(second, token[0], 2, 5, "0001")
        known = LastDelivery(
            delivered_digest="fresh 5",
            delivered_id=5,
            newest_digest="fresh 5",
            newest_status=DeliveryStatus.DELIVERED,
        )
        assert await second.last_known(["0001"]) == {"0001": known}
        # The run after that drains what seems to be left, and finds nothing that may be sent.
        holder = Lease(operation=coordinator.operation, holder="", token=token[0], seconds=1)
        last, left = await coordinate(second, holder, 0)
        assert left == [1]
        worker = second.scoped(1, last.token)
        assert await worker.claim_outbox(await worker.acquire_lease("worker", 60)) == []
        assert await database["Incident_Outbox"].count_documents({}) == 0
        assert [entry.incident_id for entry in await second.deliveries()] == [5]
        assert await second.open_scopes(last, 0) == []


@pytest.mark.parametrize("place", ["claim: nothing found", "claim: swept", "claim: outbox taken"])
@story
async def test_an_orphan_that_arrives_in_the_middle_of_a_claim_is_not_taken_over(
    mongo_stores: MongoStores, place: str
) -> None:
    go_on = asyncio.Event()

    async def late_checkpoint(name: str) -> None:
        if name == "enqueue: fenced" and not go_on.is_set():
            await go_on.wait()
        if name == "enqueue: ledger written" and writing.get_name() == "late":
            raise Crash(name)

    async def wake_the_late_one() -> None:
        go_on.set()
        await asyncio.wait([writing])

    late = MongoStateStore(
        mongo_stores.url, mongo_stores.database, "Incident extraction from data lake", checkpoint=late_checkpoint
    )
    third = interrupted(mongo_stores, Interruption(place, wake_the_late_one))
    async with late, mongo_stores() as second, third, Look(mongo_stores) as database:
        coordinator, _ = await coordinate(second)
        early = late.scoped(1, coordinator.token)
        old = await early.acquire_lease("early", 300)
        writing = asyncio.create_task(early.enqueue(old, chunk(incident(1))), name="late")
        await asyncio.sleep(0.2)
        between = second.scoped(1, coordinator.token)
        lease = await between.acquire_lease("between", 60)
        assert await between.claim_outbox(lease) == []
        if place != "claim: nothing found":
            await between.enqueue(lease, chunk(incident(5), name="c5"))
        worker = third.scoped(1, coordinator.token)
        lease = await worker.acquire_lease("worker", 60)
        held = [] if place == "claim: nothing found" else ["c5"]
        assert await worker.claim_outbox(lease) == held
        assert isinstance(writing.exception(), Crash)
        assert await database["Incident_Outbox"].count_documents({}) == 1 + len(held)
        assert set(await second.last_known([incident(1).account])) == set()
        assert await worker.claim_outbox(lease) == held
        assert await database["Incident_Outbox"].count_documents({}) == len(held)
        assert await waiting(second) == [5][: len(held)]


@pytest.mark.parametrize(
    "place", ["claim: nothing found", "claim: swept", "claim: outbox taken", "claim: ledger taken"]
)
@story
async def test_a_claim_that_was_cut_short_is_made_again(mongo_stores: MongoStores, place: str) -> None:
    empty = place == "claim: nothing found"
    whole = chunk(incident(1), incident(2))
    async with mongo_stores() as first, interrupted(mongo_stores, Interruption(place)) as dying:
        coordinator, _ = await coordinate(first)
        early = first.scoped(0, coordinator.token)
        if not empty:
            await early.enqueue(await early.acquire_lease("early", 60), whole)
        second = dying.scoped(0, coordinator.token)
        with pytest.raises(Crash):
            await second.claim_outbox(await second.acquire_lease("second", 60))
        third = first.scoped(0, coordinator.token)
        lease = await third.acquire_lease("third", 60)
        assert await third.claim_outbox(lease) == ([] if empty else ["c1"])
        assert await third.claim_outbox(lease) == ([] if empty else ["c1"])
        assert await waiting(first) == ([] if empty else [1, 2])


@pytest.mark.parametrize(
    ("place", "left"),
    [("record: fenced", [1, 2, 3]), ("record: ledger written", [3]), ("record: outbox written", [3])],
)
@story
async def test_late_outcomes_are_true_or_nothing(mongo_stores: MongoStores, place: str, left: list[int]) -> None:
    whole = chunk(incident(1), incident(2), incident(3))
    late_outcomes = [outcome(incident(1)), outcome(incident(2), DeliveryStatus.DEAD, error="no such field")]
    async with mongo_stores() as second:

        async def overtake() -> None:
            assert await worker.claim_outbox(await worker.acquire_lease("worker", 60)) == ["c1"]

        async with interrupted(mongo_stores, Interruption(place, overtake)) as late:
            coordinator, _ = await coordinate(second)
            worker = second.scoped(2, coordinator.token)
            early = late.scoped(2, coordinator.token)
            lease = await early.acquire_lease("early", 300)
            await early.enqueue(lease, whole)
            with pytest.raises(LeaseLostError):
                await early.record_outcomes(lease, whole, late_outcomes)
        found = await worker.load_chunk("c1")
        assert found is not None
        assert [one.incident_id for one in found.incidents] == left
        assert await waiting(second) == left


@story
async def test_a_new_id_cut_short_is_swept_when_the_scopes_are_opened(mongo_stores: MongoStores) -> None:
    """Its ledger entry stands in no outbox, and nobody may ever claim that scope again."""
    whole = chunk(incident(1, "0001"), incident(2))
    async with interrupted(mongo_stores, Interruption("replace: ledger written")) as dying, mongo_stores() as second:
        coordinator, _ = await coordinate(second)
        early = dying.scoped(2, coordinator.token)
        lease = await early.acquire_lease("early", 60)
        await early.enqueue(lease, whole)
        with pytest.raises(Crash):
            await early.replace_incident(lease, whole, 1, incident(7, "0001"))
        later, left = await coordinate(second, coordinator, 0)
        assert left == [2]
        worker = second.scoped(2, later.token)
        lease = await worker.acquire_lease("worker", 60)
        assert await worker.claim_outbox(lease) == ["c1"]
        await worker.record_outcomes(lease, whole, [outcome(one) for one in whole.incidents])
        assert set(await second.last_known(["0001"])) == {"0001"}
        known = (await second.last_known(["0001"]))["0001"]
        assert (known.newest_status, known.delivered_id) == (DeliveryStatus.DELIVERED, 1), "7 does not count"
        assert await second.open_scopes(later, 0) == []
        assert await waiting(second) == []


@pytest.mark.parametrize("place", OPEN)
@story
async def test_an_opening_that_was_cut_short_is_made_again(mongo_stores: MongoStores, place: str) -> None:
    async with mongo_stores() as first, interrupted(mongo_stores, Interruption("")) as dying:
        coordinator, _ = await coordinate(first, count=2)
        early = first.scoped(1, coordinator.token)
        await early.enqueue(await early.acquire_lease("early", 300), chunk(incident(1)))
        dying._checkpoint.place = place  # type: ignore[attr-defined]
        with pytest.raises(Crash):
            await coordinate(dying, coordinator, 4)
        state = await first.lease_state()
        assert state is not None
        last, left = await coordinate(first, Lease(operation="", holder="", token=state.token, seconds=1), 3)
        assert left == [1]
        for scope in range(4 if place not in OPEN[:1] else 3):
            worker = first.scoped(scope, last.token)
            found = await worker.claim_outbox(await worker.acquire_lease("worker", 60))
            assert found == (["c1"] if scope == 1 else [])


@pytest.mark.parametrize("place", OPEN)
@story
async def test_a_late_coordinator_shuts_no_worker_of_its_successor_out(mongo_stores: MongoStores, place: str) -> None:
    """It goes on in the middle of its opening, while chunks are already at work for the successor."""
    whole = chunk(incident(1), name="r2-1")
    async with mongo_stores() as second:
        workers: list[tuple[MongoStateStore, Lease]] = []
        tokens: list[int] = []

        async def overtake() -> None:
            later, left = await coordinate(second, coordinator, 4)
            assert left == []
            tokens.append(later.token)
            for scope in (1, 3):
                worker = second.scoped(scope, later.token)
                workers.append((worker, await worker.acquire_lease("worker", 300)))
                assert await worker.claim_outbox(workers[-1][1]) == []
            await workers[0][0].enqueue(workers[0][1], whole)
            # Another takes that chunk over, and has not claimed it yet.
            workers[0] = (workers[0][0], await workers[0][0].acquire_lease("other worker", 300))

        pause = Interruption("", overtake)
        async with interrupted(mongo_stores, pause) as late:
            coordinator, _ = await coordinate(late, count=2)
            pause.place = place
            with pytest.raises(LeaseLostError):
                await late.open_scopes(coordinator, 6)
            with pytest.raises(LeaseLostError):
                await late.scoped(1, coordinator.token).acquire_lease("its task", 60)
        worker, lease = workers[0]
        assert set(await second.last_known([whole.incidents[0].account])) == {whole.incidents[0].account}
        assert await worker.claim_outbox(lease) == ["r2-1"]
        await worker.record_outcomes(lease, whole, [outcome(one) for one in whole.incidents])
        await workers[1][0].renew_lease(workers[1][1])
        last, left = await coordinate(second, Lease(operation="", holder="", token=tokens[0], seconds=1), 6)
        assert left == []
        for scope in range(6):
            await second.scoped(scope, last.token).acquire_lease("worker", 60)


@story
async def test_entries_of_before_are_the_operations_own(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1)))
        for name in ("Incident_Outbox", "Incident_Delivery"):
            await database[name].update_many({}, {"$unset": {"Scope": ""}})
        assert await store.open_scopes(lease, 2) == []
        assert await store.claim_outbox(lease) == ["c1"]
        found = await store.load_chunk("c1")
        assert found == chunk(incident(1))
        await store.record_outcomes(
            lease, found, [msgspec.structs.replace(outcome(incident(1)), status=DeliveryStatus.DELIVERED)]
        )
        assert await store.claim_outbox(lease) == []
