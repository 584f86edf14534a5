"""What is particular to the Mongo store: the tracking document, and steps that are cut short or overtaken half-way.

The behaviour that all stores share is in ``test_state.py``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import nan
from typing import Any

import msgspec
import pytest
from bson import Int64
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, LeaseLostError
from incident_process.core.models import (
    NEVER,
    DeliveryStatus,
    LastDelivery,
    Lease,
    Operation,
)
from incident_process.state.mongo import MongoStateStore, ledger, outbox
from incident_process.state.mongo.connection import FIRST_CONTACT_SECONDS, server_name
from incident_process.state.mongo.dates import read_date
from tests.integration.test_state import T0, begin, chunk, incident, operation_of, outcome, run_record, step, story
from tests.support.mongo_server import make_mongo_server
from tests.support.mongo_store import MongoStores
from tests.support.stores import OPERATION

LATER = T0 + timedelta(hours=1)
T0_IN_BSON = T0.replace(microsecond=123000)


class Crash(BaseException):
    """Stands for the end of the process between two writes."""


class Interruption:
    """A checkpoint that crashes at one place, or lets somebody else do something there first."""

    def __init__(self, place: str, meanwhile: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.place = place
        self.meanwhile = meanwhile
        self.reached = 0

    async def __call__(self, name: str) -> None:
        if name != self.place:
            return
        self.reached += 1
        if self.meanwhile is None:
            raise Crash(name)
        meanwhile, self.place = self.meanwhile, ""
        await meanwhile()


class Look:
    """The database as another program sees it."""

    def __init__(self, stores: MongoStores) -> None:
        self._stores = stores

    async def __aenter__(self) -> AsyncDatabase[dict[str, Any]]:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(self._stores.url, tz_aware=True, tzinfo=UTC)
        return self._client[self._stores.database]

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()


def interrupted(stores: MongoStores, interruption: Interruption, url: str | None = None) -> MongoStateStore:
    return MongoStateStore(url or stores.url, stores.database, OPERATION, checkpoint=interruption)


async def take_over(store: MongoStateStore, old: Lease) -> Lease:
    return await store.acquire_lease("successor", 60, evict=old.token)


# -- Process_Operation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ("2026-01-02T08:34:05+05:30", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ({"$date": "2026-01-02T03:04:05Z"}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"$date": "2026-01-02T03:04:05.000+00:00Z"}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"$date": 1767323045678}, datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ({"$date": 1767323045678.0}, datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ({"$date": {"$numberLong": "1767323045678"}}, datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ({"$date": {"$numberLong": "-2208988800000"}}, NEVER),
        (None, NEVER),
    ],
)
@story
async def test_every_form_of_date_is_read_and_moved_on(
    mongo_stores: MongoStores, value: object, expected: datetime
) -> None:
    by_another = {"Operation_name": OPERATION, "Process_Operation_Sequence": Int64(4), "Last_execution_dtm": value}
    async with mongo_stores() as store, Look(mongo_stores) as database:
        await database["Process_Operation"].insert_one({**by_another, "created_dtm": T0_IN_BSON})
        lease = await begin(store)
        before = await store.read_operation()
        assert before == Operation(name=OPERATION, sequence=4, last_execution=expected)
        assert (await store.advance(lease, step(before, LATER))).sequence == 5
        found = await database["Process_Operation"].find_one({}, {"_id": False})
        assert found == {
            "Operation_name": OPERATION,
            "Process_Operation_Sequence": 5,
            "created_dtm": T0_IN_BSON,
            "Last_execution_dtm": T0_IN_BSON + timedelta(hours=1),
            "end_dtm": T0_IN_BSON,
        }


@pytest.mark.parametrize(
    "value", ["yesterday", 17, True, {"$date": None}, {"date": "2026-01-01"}, {"$date": {}}, {"$date": nan}, []]
)
def test_what_is_no_date_is_answered_with_the_remedy(value: object) -> None:
    with pytest.raises(ConfigurationError, match="Last_execution_dtm that is no date: write it as a BSON date"):
        read_date(value, "Last_execution_dtm")


@story
async def test_a_document_that_cannot_be_read_leaves_the_lease_free(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, mongo_stores() as other, Look(mongo_stores) as database:
        await store.prepare()
        await database["Process_Operation"].insert_one({"Operation_name": OPERATION, "Last_execution_dtm": "yesterday"})
        for one in (store, other):
            with pytest.raises(ConfigurationError, match="no date"):
                await one.acquire_lease(f"host of {id(one)}", 60)
        state = await store.lease_state()
        assert state is not None
        assert not state.active


@story
async def test_the_document_has_five_fields_and_appears_with_the_first_new_data(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        lease = await begin(store)
        assert await store.read_operation() is None
        nothing_new = step(await operation_of(store), NEVER, new_data=False)
        assert await store.advance(lease, nothing_new) == Operation(name=OPERATION)
        assert await database["Process_Operation"].find_one() is None
        first = await store.advance(lease, step(await operation_of(store)))
        document = await database["Process_Operation"].find_one()
        assert document == {
            "_id": document and document["_id"],
            "Process_Operation_Sequence": 1,
            "created_dtm": T0_IN_BSON,
            "Operation_name": OPERATION,
            "Last_execution_dtm": T0_IN_BSON,
            "end_dtm": T0_IN_BSON,
        }
        ended_later = msgspec.structs.replace(step(first, LATER), ended_at=LATER + timedelta(seconds=9))
        await store.advance(lease, ended_later)
        assert await database["Process_Operation"].find_one() == {
            **document,
            "Process_Operation_Sequence": 2,
            "Last_execution_dtm": T0_IN_BSON + timedelta(hours=1),
            "end_dtm": T0_IN_BSON + timedelta(hours=1, seconds=9),
        }
        assert await database["Process_Operation"].count_documents({}) == 1


@story
async def test_a_document_that_was_deleted_by_hand_starts_again(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        lease = await begin(store)
        first = await store.advance(lease, step(await operation_of(store)))
        await database["Process_Operation"].delete_many({})
        assert await store.read_operation() is None
        with pytest.raises(LeaseLostError):
            await store.advance(lease, step(first, LATER))
        again = await store.advance(lease, step(Operation(name=OPERATION), LATER))
        assert (again.sequence, again.last_execution) == (1, LATER)
        assert await store.read_operation() == again


@story
async def test_a_lease_document_that_was_deleted_by_hand_leaves_the_outbox_claimable(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        old = await begin(store)
        await store.enqueue(old, chunk(incident(1)))
        await database["Process_Operation_Lease"].delete_many({})
        lease = await store.acquire_lease("next", 60)
        assert lease.token > old.token
        assert await store.claim_outbox(lease) == ["c1"]


@story
async def test_two_documents_of_one_operation_are_refused_with_the_remedy(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        await database["Process_Operation"].insert_many([{"Operation_name": OPERATION}, {"Operation_name": OPERATION}])
        with pytest.raises(
            ConfigurationError, match=r"several documents with the Operation_name .*: keep the right one"
        ):
            await store.prepare()


@pytest.mark.parametrize(
    "options",
    [{}, {"unique": True}, {"unique": True, "partialFilterExpression": {"Operation_name": {"$exists": True}}}],
    ids=["plain", "unique", "partial"],
)
@story
async def test_an_index_of_the_team_is_left_alone(mongo_stores: MongoStores, options: dict[str, Any]) -> None:
    async with mongo_stores() as store, Look(mongo_stores) as database:
        collection = database["Process_Operation"]
        await collection.create_index("Operation_name", **options)
        before = await collection.index_information()
        lease = await begin(store)
        assert (await store.advance(lease, step(await operation_of(store)))).sequence == 1
        assert await collection.index_information() == before


@pytest.mark.parametrize("before", [True, False])
@story
async def test_documents_of_other_programs_are_their_own_business(mongo_stores: MongoStores, before: bool) -> None:
    theirs = [{"Operation_name": "another", "Process_Operation_Sequence": sequence} for sequence in (1, 2)]
    async with mongo_stores() as store, Look(mongo_stores) as database:
        collection = database["Process_Operation"]
        if before:
            await collection.insert_many(theirs)
        else:  # what earlier versions made goes
            condition = {"Operation_name": {"$gt": ""}}
            await collection.create_index([("Operation_name", 1)], unique=True, partialFilterExpression=condition)
        lease = await begin(store)
        assert (await store.advance(lease, step(await operation_of(store)))).sequence == 1
        if not before:
            await collection.insert_many(theirs)
        await store.prepare()
        assert await collection.count_documents({"Operation_name": "another"}) == 2
        assert list(await collection.index_information()) == ["_id_"]


# -- advance, cut short or overtaken ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first_time", [True, False])
@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("advance: before the intent", False),
        ("advance: intent written", True),
        ("advance: document moved", True),
    ],
)
@story
async def test_an_advance_that_was_cut_short_is_finished_or_did_not_happen(
    mongo_stores: MongoStores, place: str, moved: bool, first_time: bool
) -> None:
    crash = Interruption("")
    async with interrupted(mongo_stores, crash) as dying, mongo_stores() as successor, Look(mongo_stores) as database:
        old = await begin(dying)
        before = await operation_of(dying)
        if not first_time:
            before = await dying.advance(old, step(before))
        crash.place = place
        with pytest.raises(Crash):
            await dying.advance(old, step(before, LATER))
        await take_over(successor, old)
        lease_document = await database["Process_Operation_Lease"].find_one()
        assert lease_document is not None
        assert "pending" not in lease_document
        document = await database["Process_Operation"].find_one()
        after = await operation_of(successor)
        expected = (before.sequence + 1, LATER) if moved else (before.sequence, before.last_execution)
        assert (after.sequence, after.last_execution) == expected
        assert (document or {}).get("Process_Operation_Sequence", 0) == after.sequence


@pytest.mark.parametrize(
    ("place", "sequence"),
    [("advance: before the intent", 2), ("advance: intent written", 3), ("advance: document moved", 3)],
)
@story
async def test_a_late_advance_changes_nothing(mongo_stores: MongoStores, place: str, sequence: int) -> None:
    async with mongo_stores() as successor:

        async def overtake() -> None:
            lease = await take_over(successor, old)
            await successor.advance(lease, step(await operation_of(successor), LATER + timedelta(hours=1)))

        pause = Interruption("", overtake)
        async with interrupted(mongo_stores, pause) as late:
            old = await begin(late)
            before = await late.advance(old, step(await operation_of(late)))
            pause.place = place
            if place == "advance: document moved":
                await late.advance(old, step(before, LATER))  # it was decided, and done, while the lease was held
            else:
                with pytest.raises(LeaseLostError):
                    await late.advance(old, step(before, LATER))
        after = await operation_of(successor)
        assert (after.sequence, after.last_execution) == (sequence, LATER + timedelta(hours=1))


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("place", ["advance: intent written", "advance: about to insert"])
@story
async def test_a_first_advance_that_is_overtaken_leaves_one_document(
    mongo_stores: MongoStores, place: str, goes_on: bool
) -> None:
    """Both see that there is none, and both finish the same intent; no index keeps the second document away."""
    async with mongo_stores() as successor, Look(mongo_stores) as database:

        async def overtake() -> None:
            lease = await take_over(successor, old)
            if goes_on:
                await successor.advance(lease, step(await operation_of(successor), LATER))

        pause = Interruption(place, overtake)
        async with interrupted(mongo_stores, pause) as late:
            old = await begin(late)
            first = step(await operation_of(late))
            if goes_on:
                with pytest.raises(LeaseLostError):
                    await late.advance(old, first)
            else:
                assert (await late.advance(old, first)).sequence == 1  # it was decided, and done by the other
        assert pause.reached == 1
        assert (await operation_of(successor)).sequence == (2 if goes_on else 1)
        assert await database["Process_Operation"].count_documents({}) == 1


@story
async def test_an_edit_by_hand_wins_over_an_intent(mongo_stores: MongoStores) -> None:
    by_hand = datetime(2026, 2, 1, tzinfo=UTC)
    crash = Interruption("")
    async with interrupted(mongo_stores, crash) as dying, mongo_stores() as successor:
        old = await begin(dying)
        before = await dying.advance(old, step(await operation_of(dying)))
        crash.place = "advance: intent written"
        with pytest.raises(Crash):
            await dying.advance(old, step(before, LATER))
        mongo_stores.set_last_execution(OPERATION, by_hand)
        lease = await take_over(successor, old)
        edited = await operation_of(successor)
        assert (edited.sequence, edited.last_execution) == (1, by_hand)
        assert (await successor.advance(lease, step(edited, LATER))).sequence == 2


# -- enqueue, cut short or overtaken ----------------------------------------------------------------------------------

ENQUEUE = ["enqueue: fenced", "enqueue: outbox written", "enqueue: ledger written"]


@pytest.mark.parametrize(("place", "found"), list(zip(ENQUEUE, [[], ["c1"], ["c1"]], strict=True)))
@story
async def test_an_enqueue_that_was_cut_short_is_whole_or_absent(
    mongo_stores: MongoStores, place: str, found: list[str]
) -> None:
    written = chunk(incident(1), incident(2))
    async with interrupted(mongo_stores, Interruption(place)) as dying, mongo_stores() as successor:
        old = await begin(dying)
        with pytest.raises(Crash):
            await dying.enqueue(old, written)
        lease = await take_over(successor, old)
        assert await successor.claim_outbox(lease) == found
        ids = [2, 1] if found else []
        assert [entry.incident_id for entry in await successor.deliveries(status=DeliveryStatus.PENDING)] == ids
        assert await successor.load_chunk("c1") == (written if found else None)
        await successor.record_outcomes(lease, written, [outcome(one) for one in written.incidents])
        counts = {DeliveryStatus.DELIVERED: 2} if found else {}
        assert {status: count for status, count in (await successor.delivery_counts()).items() if count} == counts


@pytest.mark.parametrize("place", ENQUEUE)
@story
async def test_a_late_enqueue_takes_back_what_nobody_claimed(mongo_stores: MongoStores, place: str) -> None:
    claimed: list[str] = []
    async with mongo_stores() as successor, Look(mongo_stores) as database:

        async def overtake() -> None:
            lease = await take_over(successor, old)
            claimed.extend(await successor.claim_outbox(lease))

        async with interrupted(mongo_stores, Interruption(place, overtake)) as late:
            old = await begin(late)
            with pytest.raises(LeaseLostError):
                await late.enqueue(old, chunk(incident(1)))
        # What the successor had claimed before the late holder noticed is the successor's, ledger entry and all.
        assert claimed == ([] if place == "enqueue: fenced" else ["c1"])
        assert (await successor.load_chunk("c1") is not None) is bool(claimed)
        assert await database["Incident_Outbox"].count_documents({}) == len(claimed)
        assert await database["Incident_Delivery"].count_documents({}) == len(claimed)


@pytest.mark.parametrize("place", ["enqueue: outbox written", "enqueue: ledger written"])
@story
async def test_an_orphan_of_a_late_holder_that_died_is_never_sent(mongo_stores: MongoStores, place: str) -> None:
    """The late holder writes after its successor's claim and dies before it can take that back."""
    async with mongo_stores() as successor, mongo_stores() as third, Look(mongo_stores) as database:
        second: list[Lease] = []

        async def overtake_then_let_it_die() -> None:
            second.append(await take_over(successor, old))
            assert await successor.claim_outbox(second[0]) == []
            late_checkpoint.place, late_checkpoint.meanwhile = place, None

        late_checkpoint = Interruption("enqueue: fenced", overtake_then_let_it_die)
        async with interrupted(mongo_stores, late_checkpoint) as late:
            old = await begin(late)
            with pytest.raises(Crash):
                await late.enqueue(old, chunk(incident(1, "0001", digest="stale")))
        assert await database["Incident_Outbox"].count_documents({}) == 1
        assert await successor.last_known(["0001"]) == {}
        sent = incident(2, "0001", digest="fresh")
        await successor.enqueue(second[0], chunk(sent, name="c2"))
        await successor.record_outcomes(second[0], chunk(sent, name="c2"), [outcome(sent)])
        lease = await take_over(third, second[0])
        assert await third.claim_outbox(lease) == []
        assert [entry.incident_id for entry in await third.deliveries()] == [2]
        assert await database["Incident_Outbox"].count_documents({}) == 0
        assert await third.last_known(["0001"]) == {
            "0001": LastDelivery(
                delivered_digest="fresh", delivered_id=2, newest_digest="fresh", newest_status=DeliveryStatus.DELIVERED
            )
        }


@story
async def test_an_orphan_that_arrives_in_the_middle_of_a_claim_is_not_taken_over(mongo_stores: MongoStores) -> None:
    """Its content is older than what was sent since, so posting it would put the receiver back."""
    go_on = asyncio.Event()

    async def late_checkpoint(name: str) -> None:
        if name == "enqueue: fenced":
            await go_on.wait()
        if name == "enqueue: ledger written":
            raise Crash(name)

    async def wake_the_late_one() -> None:
        go_on.set()
        await asyncio.wait([writing])

    third = interrupted(mongo_stores, Interruption("claim: swept", wake_the_late_one))
    late = MongoStateStore(mongo_stores.url, mongo_stores.database, OPERATION, checkpoint=late_checkpoint)
    async with late, mongo_stores() as second, third, Look(mongo_stores) as database:
        old = await begin(late)
        writing = asyncio.create_task(late.enqueue(old, chunk(incident(1))))
        await asyncio.sleep(0.2)
        between = await take_over(second, old)
        assert await second.claim_outbox(between) == []
        lease = await take_over(third, between)
        assert await third.claim_outbox(lease) == []
        assert isinstance(writing.exception(), Crash)
        assert await database["Incident_Outbox"].count_documents({}) == 1
        assert await third.claim_outbox(lease) == []
        assert await database["Incident_Outbox"].count_documents({}) == 0
        assert await third.deliveries() == []


@pytest.mark.parametrize("place", ["claim: swept", "claim: outbox taken", "claim: ledger taken"])
@story
async def test_a_claim_that_was_cut_short_is_made_again(mongo_stores: MongoStores, place: str) -> None:
    whole = chunk(incident(1), incident(2))
    async with mongo_stores() as first, interrupted(mongo_stores, Interruption(place)) as dying:
        old = await begin(first)
        await first.enqueue(old, whole)
        second = await take_over(dying, old)
        with pytest.raises(Crash):
            await dying.claim_outbox(second)
        async with mongo_stores() as third:
            lease = await take_over(third, second)
            assert await third.claim_outbox(lease) == ["c1"]
            assert await third.claim_outbox(lease) == ["c1"]
            await third.record_outcomes(lease, whole, [outcome(one) for one in whole.incidents])
            assert (await third.delivery_counts())[DeliveryStatus.DELIVERED] == 2


# -- outcomes, cut short or overtaken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "left"),
    [("record: fenced", [1, 2, 3]), ("record: ledger written", [3]), ("record: outbox written", [3])],
)
@pytest.mark.parametrize("survives", [True, False])
@story
async def test_outcomes_cut_short_or_late(
    mongo_stores: MongoStores, place: str, left: list[int], survives: bool
) -> None:
    """What was recorded is true and stays; what was not is sent again, and nothing else is."""
    whole = chunk(incident(1), incident(2), incident(3))
    late_outcomes = [outcome(incident(1)), outcome(incident(2), DeliveryStatus.DEAD, error="no such field")]
    async with mongo_stores() as successor:

        async def overtake() -> None:
            lease = await take_over(successor, old)
            assert await successor.claim_outbox(lease) == ["c1"]

        interruption = Interruption(place, overtake if survives else None)
        async with interrupted(mongo_stores, interruption) as late:
            old = await begin(late)
            await late.enqueue(old, whole)
            with pytest.raises(LeaseLostError if survives else Crash):
                await late.record_outcomes(old, whole, late_outcomes)
            if not survives:
                await overtake()
        found = await successor.load_chunk("c1")
        assert found is not None
        assert [one.incident_id for one in found.incidents] == left
        pending = await successor.deliveries(status=DeliveryStatus.PENDING)
        assert sorted(entry.incident_id for entry in pending) == left


@pytest.mark.parametrize("place", ["replace: ledger written", "replace: outbox written"])
@story
async def test_a_new_id_cut_short_leaves_one_of_the_two(mongo_stores: MongoStores, place: str) -> None:
    whole = chunk(incident(1, "0001"), incident(2))
    async with interrupted(mongo_stores, Interruption(place)) as dying, mongo_stores() as second:
        old = await begin(dying)
        await dying.enqueue(old, whole)
        with pytest.raises(Crash):
            await dying.replace_incident(old, whole, 1, incident(7, "0001"))
        lease = await take_over(second, old)
        assert await second.claim_outbox(lease) == ["c1"]
        found = await second.load_chunk("c1")
        assert found is not None
        expected = 1 if place == "replace: ledger written" else 7
        assert [one.incident_id for one in found.incidents] == [expected, 2]
        async with mongo_stores() as third:
            await third.claim_outbox(await take_over(third, lease))
            assert [entry.incident_id for entry in await third.deliveries(account="0001")] == [expected]


@story
async def test_a_chunk_of_several_parts(mongo_stores: MongoStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part without pending incidents stays until the last one goes; a chunk with a part missing was never sent."""
    monkeypatch.setattr(outbox, "PART_BYTES", 30)
    parts = [incident(number) for number in (1, 2, 3)]
    whole = chunk(*parts)
    async with mongo_stores() as store, Look(mongo_stores) as database:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        assert await database["Incident_Outbox"].count_documents({"Parts": 3}) == 3
        await store.record_outcomes(lease, whole, [outcome(parts[0]), outcome(parts[2], DeliveryStatus.PENDING)])
        assert await store.claim_outbox(lease) == ["c1"]
        left = await store.load_chunk("c1")
        assert left == chunk(parts[1], msgspec.structs.replace(parts[2], attempts=1, runs=1, in_doubt=False))
        await store.record_outcomes(lease, whole, [outcome(one) for one in parts])
        assert await database["Incident_Outbox"].count_documents({}) == 0
        await store.enqueue(lease, chunk(incident(4), incident(5), name="c2"))
        await database["Incident_Outbox"].delete_one({"_id": "c2:1"})
        assert await store.load_chunk("c2") is None
        assert await store.claim_outbox(lease) == []
        assert [entry.incident_id for entry in await store.deliveries()] == [3, 2, 1]


@story
async def test_delivered_accounts_come_once_each_over_many_pages(
    mongo_stores: MongoStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_BATCH", 100)
    accounts = ["b", "a", "B", "0001", "ä", "b ", "\N{GRINNING FACE}", "a"] * 30
    whole = chunk(*(incident(number, account) for number, account in enumerate(accounts, 1)), incident(999, "dead"))
    async with mongo_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        done = [outcome(one) for one in whole.incidents[:-1]]
        await store.record_outcomes(lease, whole, [*done, outcome(whole.incidents[-1], DeliveryStatus.DEAD)])
        assert [account async for account in store.delivered_accounts()] == sorted(set(accounts))


# -- the server -------------------------------------------------------------------------------------------------------


@story
async def test_an_answer_that_was_lost_does_not_lock_the_store_out(mongo_stores: MongoStores) -> None:
    async with mongo_stores() as store, mongo_stores() as other:
        await store.prepare()
        # The state that a lost answer leaves: the lease is taken, and its taker was told of an error instead.
        first = await store._lease.acquire("host-a:1", 60, None)
        with pytest.raises(Exception, match="host-a:1"):
            await other.acquire_lease("other", 60)
        assert (await store.acquire_lease("host-a:1", 60)).token > first.token


@story
async def test_a_whole_run_with_retryable_writes(mongo_stores: MongoStores) -> None:
    url = mongo_stores.url.replace("retryWrites=false", "retryWrites=true")
    whole = chunk(*(incident(number) for number in range(1, 21)))
    async with MongoStateStore(url, mongo_stores.database, OPERATION) as store:
        lease = await begin(store)
        assert await store.claim_outbox(lease) == []
        await store.open_run(lease, run_record())
        await store.enqueue(lease, whole)
        await store.record_outcomes(lease, whole, [outcome(one) for one in whole.incidents])
        assert (await store.advance(lease, step(await operation_of(store)))).sequence == 1
        await store.release_lease(lease)
        assert (await store.delivery_counts())[DeliveryStatus.DELIVERED] == 20


def test_every_acknowledged_step_outlives_a_kill_of_the_server() -> None:
    server = make_mongo_server()

    @story
    async def run() -> None:
        whole = chunk(incident(1), incident(2))
        async with MongoStateStore(server.url, "killed", OPERATION) as store:
            lease = await begin(store, seconds=120)
            first = await store.reserve_ids(lease, 5, 100)
            await store.open_run(lease, run_record())
            await asyncio.to_thread(server.restart)
            assert await store.reserve_ids(lease, 1, 1) == first + 5
            await store.enqueue(lease, whole)
            await asyncio.to_thread(server.restart)
            await store.record_outcomes(lease, whole, [outcome(incident(1))])
            await asyncio.to_thread(server.restart)
            assert await store.load_chunk("c1") == chunk(incident(2))
            advanced = await store.advance(lease, step(await operation_of(store)))
            server.kill()
            with pytest.raises(DatabaseConnectionError, match="does not answer"):
                await store.renew_lease(lease)
            await asyncio.to_thread(server.start)
            assert await store.read_operation() == advanced
            assert await store.claim_outbox(lease) == ["c1"]

    try:
        server.start()
        run()
    finally:
        server.stop()


def test_a_server_that_is_away_for_as_long_as_an_election_takes_is_waited_for() -> None:
    server = make_mongo_server()

    @story
    async def run() -> None:
        async with MongoStateStore(server.url, "elected", OPERATION) as store:
            lease = await begin(store, seconds=120)
            server.kill()
            await asyncio.sleep(1)  # the driver notices; what was under way then is its own affair (retryWrites)
            renewing = asyncio.create_task(store.renew_lease(lease))
            await asyncio.sleep(FIRST_CONTACT_SECONDS + 1)
            assert not renewing.done()
            await asyncio.to_thread(server.start)
            await renewing
            await store.release_lease(lease)

    try:
        server.start()
        run()
    finally:
        server.stop()


@story
async def test_a_server_that_was_never_there_is_not_waited_for_as_long() -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseConnectionError, match="does not answer"):
        async with MongoStateStore("mongodb://127.0.0.1:1", "d", OPERATION):
            pass
    assert time.monotonic() - began < FIRST_CONTACT_SECONDS + 3


@story
async def test_what_keeps_mongo_away_is_said_without_the_password() -> None:
    secret = "mongodb://user:s3cret@127.0.0.1:1/?serverSelectionTimeoutMS=200"
    with pytest.raises(DatabaseConnectionError, match=r"MongoDB at 127.0.0.1:1: .*does not answer") as refused:
        async with MongoStateStore(secret, "d", OPERATION):
            pass
    assert "s3cret" not in f"{refused.value}{MongoStateStore(secret, 'd', OPERATION)!r}"
    with pytest.raises(ConfigurationError, match="MONGO_URL") as invalid:
        async with MongoStateStore("mongodb://user:s3:cret@@h:x/", "d", OPERATION):
            pass
    assert "cret" not in str(invalid.value)
    for wrong in ("h:abc/", "h:99999/", "h/?tls=true&tlsCAFile=/nowhere"):
        with pytest.raises(ConfigurationError, match=r"MONGO_URL: .*(write|give) "):
            async with MongoStateStore(f"mongodb://{wrong}", "d", OPERATION):
                pass
    assert server_name("mongodb://u:p%40@a:1,b:2/db?replicaSet=r") == "a:1,b:2"
    assert server_name("mongodb+srv://cluster.example.org") == "cluster.example.org"
    assert server_name("mongodb://a:1/?tlsCertificateKeyFilePassword=s3@cret") == "a:1"


# -- another name -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "rename: begun",
        "rename: ledger moved",
        "rename: lease moved",
        "rename: document moved",
        "rename: old name forgotten",
    ],
)
@story
async def test_a_rename_that_was_cut_off_is_finished_by_the_next(mongo_stores: MongoStores, place: str) -> None:
    async with mongo_stores() as store:
        lease = await begin(store)
        await store.create_operation(60)
        await store.open_run(lease, run_record("r1"))
        await store.enqueue(lease, chunk(incident(1), incident(2)))
        await store.record_outcomes(lease, chunk(incident(1), incident(2)), [outcome(incident(1))])
        await store.advance(lease, step(await operation_of(store), LATER))
        before, latest = await store.deliveries(), await store.raise_as_of(lease, LATER)
        await store.release_lease(lease)
    async with interrupted(mongo_stores, Interruption(place)) as store:
        lease = await store.acquire_lease("renames", 30)
        with pytest.raises(Crash):
            await store.rename(lease, "New name")
        await store.release_lease(lease)
    async with mongo_stores("New name") as store:
        known = await store.identity()
        assert known is not None
        assert known.renaming == OPERATION, "a run sees that it has to wait"
    async with mongo_stores() as store:
        lease = await store.acquire_lease("renames", 30)
        await store.rename(lease, "New name")
        await store.release_lease(lease)
        assert await store.identity() is None
        assert await store.deliveries() == []
    async with mongo_stores("New name") as store:
        known = await store.identity()
        assert known is not None
        assert (known.renaming, known.key_name) == (None, OPERATION)
        assert [(entry.incident_id, entry.status) for entry in await store.deliveries()] == [
            (entry.incident_id, entry.status) for entry in before
        ]
        operation = await store.read_operation()
        assert operation is not None
        assert (operation.sequence, operation.last_execution) == (1, LATER)
        lease = await store.acquire_lease("next", 30)
        assert await store.raise_as_of(lease, NEVER) == latest
        assert await store.claim_outbox(lease) == ["c1"]
        assert len(await store.runs()) == 1
