"""The behaviour of a state store, sentence by sentence of ``state/contract.py``, over every store that there is."""

import asyncio
import functools
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pymysql.cursors import DictCursor

from incident_process.app.runner import in_loop
from incident_process.core.errors import (
    ConfigurationError,
    DatabaseConnectionError,
    IncidentProcessError,
    LeaseHeldError,
    LeaseLostError,
)
from incident_process.core.models import (
    NEVER,
    Advance,
    Chunk,
    Counts,
    DeliveryStatus,
    Identity,
    Incident,
    LastDelivery,
    Lease,
    Operation,
    Outcome,
    RunKind,
    RunRecord,
    RunRequest,
    RunSearch,
    RunStatus,
    UnsendableAccount,
    Window,
)
from incident_process.database import session
from incident_process.state import codec
from incident_process.state.base import StateStore
from incident_process.state.sql import SqlStateStore, mysql
from incident_process.state.sql.ledger import newest_entries
from tests.support.stores import OPERATION, ServerStores, SqliteStores, SqlStores, StoreFactory

UTC_ZONE = ZoneInfo("UTC")
A_SECOND = timedelta(seconds=1)
T0 = datetime(2026, 3, 1, 8, 30, 15, 123456, tzinfo=UTC)


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, which is one as the commands have."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        in_loop(test(*args, **kwargs))

    return run


def incident(number: int, account: str | None = None, **changes: Any) -> Incident:
    made = Incident(
        incident_id=number,
        account=account or f"{number:010d}",
        digest=f"d{number}",
        key=f"k{number}",
        body=b'{"Incident_Id":%d}' % number,
    )
    return msgspec.structs.replace(made, **changes)


def chunk(
    *incidents: Incident, name: str = "c1", run_id: str = "r1", parked: Sequence[UnsendableAccount] = ()
) -> Chunk:
    return Chunk(chunk_id=name, run_id=run_id, incidents=incidents, parked=tuple(parked))


def outcome(
    of: Incident, status: DeliveryStatus = DeliveryStatus.DELIVERED, *, attempts: int = 1, **changes: Any
) -> Outcome:
    http_status = {DeliveryStatus.DELIVERED: 201, DeliveryStatus.DEAD: 422}.get(status)
    made = Outcome(
        incident_id=of.incident_id,
        account=of.account,
        status=status,
        attempts=attempts,
        runs=1,
        http_status=http_status,
        at=T0,
    )
    return msgspec.structs.replace(made, **changes)


def run_record(run_id: str = "r1", **changes: Any) -> RunRecord:
    made = RunRecord(
        run_id=run_id,
        operation=OPERATION,
        kind=RunKind.WINDOW,
        status=RunStatus.RUNNING,
        host="host-a",
        started_at=T0,
        window=Window(start=NEVER, end=T0),
    )
    return msgspec.structs.replace(made, **changes)


async def begin(store: StateStore, holder: str = "host-a:1", seconds: float = 30.0) -> Lease:
    await store.prepare()
    await store.create_operation(60)
    return await store.acquire_lease(holder, seconds)


async def operation_of(store: StateStore) -> Operation:
    return await store.read_operation() or Operation(name=OPERATION)


def step(before: Operation, watermark: datetime = T0, *, new_data: bool = True) -> Advance:
    return Advance(before=before, new_data=new_data, watermark=watermark, system_date=T0, ended_at=T0)


# -- set-up and lease -------------------------------------------------------------------------------------------------


@story
async def test_prepare_keeps_what_is_there(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1)))
        await store.prepare()
        assert await store.create_operation(5) is False
        assert await store.load_chunk("c1") == chunk(incident(1))


@story
async def test_what_is_known_of_an_operation_is_kept(stores: StoreFactory) -> None:
    async with stores() as store, stores("other") as other:
        lease = await begin(store)
        assert await store.identity() == Identity(operation=OPERATION, key_name=OPERATION)
        noted = Identity(operation=OPERATION, key_name="first", source="mysql://h:1/d", receiver="http://h:1/x")
        await store.write_identity(lease, noted)
        await store.create_operation(60)
        assert await store.identity() == noted
        assert await other.identity() is None
        assert await other.operations() == [noted]
        late = lease
        await store.acquire_lease("successor", 30, evict=lease.token)
        with pytest.raises(LeaseLostError):
            await store.write_identity(late, Identity(operation=OPERATION, key_name="late"))
        assert await store.identity() == noted


@story
async def test_a_renamed_operation_keeps_all_that_the_state_holds_of_it(
    stores: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incident_process.state.sql.identity.PART", 2)
    monkeypatch.setattr("incident_process.state.mongo.identity.PART", 2)
    incidents = [incident(number) for number in range(1, 8)]
    async with stores() as store, stores("new") as renamed, stores("third") as third:
        third_lease = await begin(third)
        await third.enqueue(third_lease, chunk(incident(100), name="of-third", run_id="r3"))
        lease = await begin(store)
        await store.open_run(lease, run_record())
        await store.enqueue(lease, chunk(*incidents))
        await store.record_outcomes(lease, chunk(*incidents), [outcome(one) for one in incidents[:5]])
        await store.open_scopes(lease, 2)
        await store.advance(lease, step(await operation_of(store)))
        as_of = await store.raise_as_of(lease, T0)
        operation, known = await store.read_operation(), await store.last_known([one.account for one in incidents])
        await store.rename(lease, "new")

        assert await store.identity() is None
        assert await store.read_operation() is None
        assert await store.deliveries() == []
        assert await store.runs() == []
        assert await renamed.identity() == Identity(operation="new", key_name=OPERATION)
        moved = await renamed.read_operation()
        assert operation is not None
        assert moved == msgspec.structs.replace(operation, name="new")
        assert await renamed.last_known([one.account for one in incidents]) == known
        taken = await renamed.acquire_lease("next", 30)
        assert taken.token > lease.token, "whoever held the lease before stays fenced"
        assert await renamed.raise_as_of(taken, NEVER) == as_of
        assert await renamed.open_scopes(taken, 2) == []
        assert await renamed.claim_outbox(taken) == ["c1"]
        assert [run.run_id for run in await renamed.runs()] == ["r1"]
        assert len(await third.deliveries()) == 1, "others stay as they are"
        with pytest.raises(LeaseLostError):
            await store.renew_lease(lease)
        with pytest.raises(ConfigurationError, match="'third'"):
            await renamed.rename(taken, "third")


@story
async def test_trying_its_writes_changes_nothing(stores: StoreFactory) -> None:
    async def seen(store: StateStore) -> list[object]:
        return [
            await store.read_operation(),
            await store.runs(),
            await store.deliveries(),
            await store.lease_state(),
            await store.load_chunk("c1"),
        ]

    async with stores() as store:
        lease = await begin(store)
        await store.open_run(lease, run_record())
        await store.enqueue(lease, chunk(incident(1)))
        await store.advance(lease, step(await operation_of(store)))
        before = await seen(store)
        await store.try_writes()
        assert await seen(store) == before
        assert all(before)


@story
async def test_two_may_prepare_and_take_the_first_lease_at_once(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two:
        await asyncio.gather(one.prepare(), two.prepare())
        taken = await asyncio.gather(one.acquire_lease("one", 30), two.acquire_lease("two", 30), return_exceptions=True)
        assert sorted(type(result).__name__ for result in taken) == ["Lease", "LeaseHeldError"]


@story
async def test_one_holds_the_lease_until_it_is_given_back(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two, stores("another operation") as other:
        first = await begin(one, "one")
        with pytest.raises(LeaseHeldError, match="one") as held:
            await two.acquire_lease("two", 30)
        assert held.value.token == first.token
        with pytest.raises(LeaseHeldError):
            await one.acquire_lease("one", 30)
        await other.acquire_lease("other", 30)
        await one.release_lease(first)
        second = await two.acquire_lease("two", 30)
        assert second.token > first.token
        await one.release_lease(first)  # a lease that was lost already is left alone
        state = await one.lease_state()
        assert state is not None
        assert (state.holder, state.token, state.active) == ("two", second.token, True)


@story
async def test_an_expired_lease_is_taken_over_and_a_renewed_one_is_not(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two:
        first = await begin(one, "one", 1.0)
        for _ in range(3):
            await asyncio.sleep(0.5)
            await one.renew_lease(first)
        with pytest.raises(LeaseHeldError):
            await two.acquire_lease("two", 30)
        await asyncio.sleep(1.2)
        state = await two.lease_state()
        assert state is not None
        assert (state.holder, state.active) == ("one", False)
        second = await two.acquire_lease("two", 30)
        assert second.token > first.token
        with pytest.raises(LeaseLostError):
            await one.renew_lease(first)


@story
async def test_every_write_extends_the_lease(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store, seconds=30)
        before = await store.lease_state()
        await asyncio.sleep(0.05)
        await store.open_run(lease, run_record())
        after = await store.lease_state()
        assert before is not None
        assert after is not None
        assert after.expires_at > before.expires_at


@story
async def test_the_lease_of_a_dead_holder_is_taken_by_its_token_only(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two:
        dead = await begin(one, "one")
        with pytest.raises(LeaseHeldError):
            await two.acquire_lease("two", 30, evict=dead.token + 1)
        taken = await two.acquire_lease("two", 30, evict=dead.token)
        assert taken.token > dead.token
        with pytest.raises(LeaseHeldError):
            await one.acquire_lease("one", 30, evict=dead.token)


@story
async def test_a_lease_never_taken_has_no_state(stores: StoreFactory) -> None:
    async with stores() as store:
        await store.prepare()
        await store.create_operation(60)
        assert await store.lease_state() is None


# -- fencing ----------------------------------------------------------------------------------------------------------


async def _advance(store: StateStore, lease: Lease) -> None:
    await store.advance(lease, step(await operation_of(store)))


FENCED: dict[str, Callable[[StateStore, Lease], Awaitable[Any]]] = {
    "renew_lease": lambda store, lease: store.renew_lease(lease),
    "advance": _advance,
    "open_run": lambda store, lease: store.open_run(lease, run_record("r2")),
    "write_run": lambda store, lease: store.write_run(lease, run_record(status=RunStatus.COMPLETED)),
    "reserve_ids": lambda store, lease: store.reserve_ids(lease, 10, 1),
    "enqueue": lambda store, lease: store.enqueue(lease, chunk(incident(9), name="c9")),
    "claim_outbox": lambda store, lease: store.claim_outbox(lease),
    "record_outcomes": lambda store, lease: store.record_outcomes(lease, chunk(incident(1)), [outcome(incident(1))]),
    "replace_incident": lambda store, lease: store.replace_incident(
        lease, chunk(incident(1)), 1, incident(8, incident(1).account)
    ),
    "purge_bodies": lambda store, lease: store.purge_bodies(lease, T0 + timedelta(days=9999)),
}


async def everything(store: StateStore) -> tuple[Any, ...]:
    return (
        await store.read_operation(),
        await store.runs(),
        await store.deliveries(),
        await store.load_chunk("c1"),
        await store.load_chunk("c9"),
    )


@pytest.mark.parametrize("write", sorted(FENCED))
@story
async def test_a_holder_that_wakes_up_late_can_change_nothing(stores: StoreFactory, write: str) -> None:
    async with stores() as late, stores() as successor:
        old = await begin(late, "late", 0.05)
        await late.open_run(old, run_record())
        await late.enqueue(old, chunk(incident(1)))
        new = await successor.acquire_lease("successor", 30, evict=old.token)
        assert await successor.claim_outbox(new) == ["c1"]
        first = await successor.reserve_ids(new, 1, 100)
        before = await everything(successor)
        with pytest.raises(LeaseLostError):
            await FENCED[write](late, old)
        assert await everything(successor) == before
        assert await successor.reserve_ids(new, 1, 1) == first + 1


@story
async def test_a_lease_given_back_writes_nothing_more(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        await store.release_lease(lease)
        with pytest.raises(LeaseLostError):
            await store.renew_lease(lease)
        await store.acquire_lease("next", 30)


# -- tracking ---------------------------------------------------------------------------------------------------------


@story
async def test_the_watermark_is_exact_to_the_microsecond_and_sequence_counts_new_data(stores: StoreFactory) -> None:
    async with stores() as store, stores() as reader:
        lease = await begin(store)
        first = await store.advance(lease, step(await operation_of(store)))
        assert (first.sequence, first.last_execution) == (1, T0)
        assert await reader.read_operation() == first
        unchanged = await store.advance(lease, step(first, new_data=False))
        assert (unchanged.sequence, unchanged.last_execution) == (1, T0)
        later = T0 + timedelta(microseconds=1)
        second = await store.advance(lease, step(unchanged, later))
        assert (second.sequence, second.last_execution) == (2, later)
        assert await reader.read_operation() == second


@story
async def test_advance_is_a_compare_and_set(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        stale = await operation_of(store)
        first = await store.advance(lease, step(stale))
        wrong = [
            msgspec.structs.replace(first, sequence=7),
            msgspec.structs.replace(first, last_execution=T0 - timedelta(seconds=5)),
            stale,
        ]
        for before in wrong:
            with pytest.raises(LeaseLostError):
                await store.advance(lease, step(before, T0 + timedelta(hours=1)))
            assert await store.read_operation() == first


@story
async def test_advance_again_after_a_lost_answer_applies_once(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        once = step(await operation_of(store))
        first = await store.advance(lease, once)
        assert await store.advance(lease, once) == first


@story
async def test_a_watermark_set_by_hand_is_honoured(stores: StoreFactory) -> None:
    by_hand = datetime(2026, 2, 1, 6, 0, 0, tzinfo=UTC)
    async with stores() as store:
        lease = await begin(store)
        first = await store.advance(lease, step(await operation_of(store)))
        stores.set_last_execution(OPERATION, by_hand)
        edited = await store.read_operation()
        assert edited is not None
        assert (edited.sequence, edited.last_execution) == (1, by_hand)
        with pytest.raises(LeaseLostError):
            await store.advance(lease, step(first, T0 + timedelta(hours=1)))
        second = await store.advance(lease, step(edited, T0 + timedelta(hours=1)))
        assert (second.sequence, second.last_execution) == (2, T0 + timedelta(hours=1))


# -- runs -------------------------------------------------------------------------------------------------------------


@story
async def test_a_run_is_written_as_running_and_then_as_it_ended(stores: StoreFactory) -> None:
    counts = Counts(rows={"debt_cust_detail": 3, "debt_payment": 2}, accounts=2, delivered=2, unprocessable=1)
    async with stores() as store:
        lease = await begin(store)
        await store.open_run(lease, run_record())
        await store.open_run(lease, run_record())
        assert await store.runs() == [run_record()]
        ended = run_record(
            status=RunStatus.COMPLETED,
            counts=counts,
            ended_at=T0 + timedelta(seconds=2),
            error="néant 🚫",
            request=RunRequest(requested_by="nimal", why='ticket 4711: "corrected"'),
        )
        await store.write_run(lease, ended)
        assert await store.runs() == [ended]
        assert await store.runs(run_id="r1") == [ended]
        assert await store.runs(run_id="r0") == []


@story
async def test_a_run_left_running_is_closed_as_failed_by_the_next(stores: StoreFactory) -> None:
    async with stores() as store, stores("another operation") as other:
        lease = await begin(store)
        elsewhere = await begin(other)
        await other.open_run(elsewhere, run_record("x1", operation="another operation"))
        await store.open_run(lease, run_record("r1"))
        await store.open_run(lease, run_record("r2", started_at=T0 + timedelta(hours=1)))
        newest, dangling = await store.runs()
        later = T0 + timedelta(hours=1)
        assert await store.runs(search=RunSearch(since=later - A_SECOND, before=later + A_SECOND)) == [newest]
        assert await store.runs(search=RunSearch(before=later, text="(KILLED or")) == [dangling]
        assert (
            await store.runs(search=RunSearch(text="killed_or")) == await store.runs(search=RunSearch(text="x1")) == []
        )
        assert await store.runs(search=RunSearch(text="HOST-A")) == [newest, dangling]
        assert (newest.run_id, newest.status) == ("r2", RunStatus.RUNNING)
        assert (dangling.run_id, dangling.status) == ("r1", RunStatus.FAILED)
        assert dangling.ended_at is not None
        assert dangling.error == "ended without a word (killed or cut off); found by run r2"
        assert [run.run_id for run in await store.runs(limit=1)] == ["r2"]
        assert [run.status for run in await other.runs()] == [RunStatus.RUNNING]


@story
async def test_runs_are_chosen_by_kind_and_status_and_paged(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        made = []
        for number, kind in enumerate([RunKind.WINDOW, RunKind.REPLAY, RunKind.WINDOW, RunKind.WINDOW]):
            status = RunStatus.INCOMPLETE if number == 2 else RunStatus.COMPLETED
            made.append(run_record(f"r{number}", kind=kind, started_at=T0 + timedelta(hours=number)))
            await store.open_run(lease, made[-1])
            await store.write_run(lease, msgspec.structs.replace(made[-1], status=status))

        async def found(**wanted: Any) -> list[str]:
            return [run.run_id for run in await store.runs(**wanted)]

        assert await found(kind=RunKind.WINDOW) == ["r3", "r2", "r0"]
        assert await found(status=RunStatus.COMPLETED) == ["r3", "r1", "r0"]
        assert await found(kind=RunKind.WINDOW, status=RunStatus.COMPLETED, skip=1) == ["r0"]
        assert await found(skip=1, limit=2) == ["r2", "r1"]
        assert await found(kind=RunKind.BACKFILL) == await found(skip=4) == []


# -- ids --------------------------------------------------------------------------------------------------------------


@story
async def test_ids_are_unique_over_all_operations_and_never_below_the_floor(stores: StoreFactory) -> None:
    async with stores() as one, stores("another operation") as two:
        leases = [await begin(one), await begin(two)]
        firsts = await asyncio.gather(
            *(store.reserve_ids(lease, 10, 1000) for store, lease in zip([one, two] * 5, leases * 5, strict=True))
        )
        ids = [first + offset for first in firsts for offset in range(10)]
        assert len(set(ids)) == 100
        assert min(ids) == 1000
        assert max(ids) < 1200
        assert await one.reserve_ids(leases[0], 1, 2**52) == 2**52
        assert await two.reserve_ids(leases[1], 1, 5) > 2**52


# -- ledger -----------------------------------------------------------------------------------------------------------


@story
async def test_enqueue_writes_ledger_and_outbox_once(stores: StoreFactory) -> None:
    parked = UnsendableAccount(
        incident_id=3, account="0003", digest="d3", status=DeliveryStatus.SKIPPED, error="no customer row yet"
    )
    whole = chunk(incident(1, body=bytes(range(256))), incident(2), parked=[parked])
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        await store.enqueue(lease, whole)
        skipped, second, first = await store.deliveries()
        assert (first.incident_id, first.status, first.key, first.run_id) == (1, DeliveryStatus.PENDING, "k1", "r1")
        assert (second.incident_id, second.account, second.digest) == (2, "0000000002", "d2")
        assert (skipped.status, skipped.error) == (DeliveryStatus.SKIPPED, "no customer row yet")
        loaded = await store.load_chunk("c1")
        assert loaded == chunk(*whole.incidents)
        assert await store.claim_outbox(lease) == ["c1"]
        assert await store.delivery_counts() == {
            DeliveryStatus.PENDING: 2,
            DeliveryStatus.DELIVERED: 0,
            DeliveryStatus.DEAD: 0,
            DeliveryStatus.SKIPPED: 1,
        }


@story
async def test_a_chunk_of_parked_accounts_leaves_no_outbox_entry(stores: StoreFactory) -> None:
    parked = UnsendableAccount(
        incident_id=3, account="0003", digest="d3", status=DeliveryStatus.DEAD, error="no body fits"
    )
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(parked=[parked]))
        await store.enqueue(lease, chunk(parked=[parked]))
        assert await store.claim_outbox(lease) == []
        assert await store.load_chunk("c1") is None
        known = await store.last_known(["0003"])
        assert known == {
            "0003": LastDelivery(delivered_digest=None, newest_digest="d3", newest_status=DeliveryStatus.DEAD)
        }


@story
async def test_the_digest_of_the_rows_is_that_of_the_newest_entry(stores: StoreFactory) -> None:
    parked = UnsendableAccount(
        incident_id=4, account="B", digest="d4", status=DeliveryStatus.SKIPPED, error="no row", rows_digest="r4"
    )
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1, "A", rows_digest="r1"), incident(2, "C", rows_digest="r2")))
        tried = incident(3, "A", rows_digest="r3", attempts=1)
        await store.enqueue(lease, chunk(tried, name="c2", parked=[parked]))
        known = await store.last_known(["A", "B", "C"])
        assert {account: last.newest_rows for account, last in known.items()} == {"A": "r3", "B": "r4", "C": "r2"}
        moved = msgspec.structs.replace(tried, incident_id=9)
        await store.replace_incident(lease, chunk(tried, name="c2", parked=[parked]), 3, moved)
        assert (await store.last_known(["A"]))["A"].newest_rows == "r3"


EXACT = ["0001", "1", "a1", "A1", "á1", "x", "x ", "x  ", "🔥1", "🔥2", "q'\"\\%;--", "ß", "ss", "%s", "\\N", "x\t"]


@story
async def test_accounts_are_compared_exactly(stores: StoreFactory) -> None:
    incidents = [incident(number, account) for number, account in enumerate(EXACT, 1)]
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(*incidents))
        known = await store.last_known([*EXACT, "X", "Á1", "x\u00a0", "a1 "])
        assert {account: each.newest_digest for account, each in known.items()} == {
            each.account: each.digest for each in incidents
        }
        for each in incidents:
            assert [entry.incident_id for entry in await store.deliveries(account=each.account)] == [each.incident_id]
        await store.record_outcomes(lease, chunk(*incidents), [outcome(each) for each in incidents])
        pairs = {(each.account, each.digest) for each in incidents}
        strangers = {("A1", "d3"), ("x", "d7"), ("X", "d6")}
        assert await store.delivered_before(pairs | strangers) == pairs


@story
async def test_content_that_may_have_arrived_counts_once_other_content_was_delivered(stores: StoreFactory) -> None:
    """Under its first key a receiver would take it for a repetition, and keep what it got in between."""
    async with stores() as store:
        lease = await begin(store)
        for number, status, attempts in [
            (1, DeliveryStatus.DEAD, 5),
            (2, DeliveryStatus.DEAD, 0),  # never sent
            (3, DeliveryStatus.DELIVERED, 1),
            (4, DeliveryStatus.DEAD, 5),  # a replay of it may be a repetition, so it keeps its key
        ]:
            one = chunk(incident(number, "A"), name=f"c{number}")
            await store.enqueue(lease, one)
            await store.record_outcomes(lease, one, [outcome(one.incidents[0], status, attempts=attempts)])
        pairs = {("A", f"d{number}") for number in (1, 2, 3, 4)}
        assert await store.delivered_before(pairs | {("B", "d1")}) == {("A", "d1"), ("A", "d3")}


@story
async def test_last_known_tells_delivered_and_newest_apart(stores: StoreFactory) -> None:
    async with stores() as store, stores("another operation") as other:
        lease = await begin(store)
        for number, status in [
            (1, DeliveryStatus.DELIVERED),
            (2, DeliveryStatus.DELIVERED),
            (3, DeliveryStatus.DEAD),
        ]:
            one = chunk(incident(number, "A"), name=f"c{number}")
            await store.enqueue(lease, one)
            await store.record_outcomes(lease, one, [outcome(one.incidents[0], status)])
        await store.enqueue(lease, chunk(incident(4, "B"), name="c4"))
        assert await store.last_known(["A", "B", "C"]) == {
            "A": LastDelivery(
                delivered_digest="d2", delivered_id=2, newest_digest="d3", newest_status=DeliveryStatus.DEAD
            ),
            "B": LastDelivery(delivered_digest=None, newest_digest="d4", newest_status=DeliveryStatus.PENDING),
        }
        assert await store.last_known([]) == {}
        assert await store.delivered_before([("A", "d1"), ("A", "d3"), ("B", "d4"), ("B", "d1")]) == {("A", "d1")}
        assert await store.delivered_before([]) == set()
        await other.prepare()
        assert await other.last_known(["A"]) == {}


@story
async def test_what_is_in_doubt_stays_so_until_a_run_has_said_otherwise(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        whole = chunk(incident(1), incident(2), incident(3))
        await store.enqueue(lease, whole)
        first, second, _ = whole.incidents
        doubtful = msgspec.structs.replace(outcome(first, DeliveryStatus.PENDING), in_doubt=True)
        unsent = msgspec.structs.replace(outcome(second, DeliveryStatus.PENDING), attempts=2, unsent_attempts=2)
        await store.record_outcomes(lease, whole, [doubtful, unsent])
        left = await store.load_chunk(whole.chunk_id)
        assert left is not None
        assert [one.in_doubt for one in left.incidents] == [True, False, True]
        assert [one.may_have_arrived for one in left.incidents] == [True, False, True]


@story
async def test_documents_are_never_built_as_of_an_earlier_instant_again(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        exact = T0 + timedelta(microseconds=7)
        assert await store.raise_as_of(lease, exact) == exact
        assert await store.raise_as_of(lease, T0 - timedelta(hours=1)) == exact
        assert await store.raise_as_of(lease, T0 + timedelta(hours=1)) == T0 + timedelta(hours=1)
        await store.release_lease(lease)
    async with stores() as store:
        lease = await begin(store)
        assert await store.raise_as_of(lease, T0) == T0 + timedelta(hours=1)


@story
async def test_a_pending_entry_without_a_body_holds_its_account_up_no_longer_than_the_next_claim(
    sql_stores: SqlStores,
) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1, "lost"), name="c1"))
        await store.enqueue(lease, chunk(incident(2, "kept"), name="c2"))
        sql_stores.sql("DELETE FROM Incident_Outbox WHERE Chunk_Id = 'c1'")
        assert await store.claim_outbox(lease) == ["c2"]
        assert set(await store.last_known(["lost", "kept"])) == {"kept"}


@story
async def test_a_lease_whose_row_was_deleted_by_hand_can_be_taken_and_claims_the_outbox(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1), name="c1"))
        sql_stores.sql("DELETE FROM Process_Operation_Lease")
        successor = await store.acquire_lease("another", 60)
        assert successor.token > lease.token
        assert await store.claim_outbox(successor) == ["c1"]


@story
async def test_deliveries_are_chosen_and_newest_first(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        one = chunk(incident(1, "A"), incident(2, "B"))
        await store.enqueue(lease, one)
        await store.enqueue(lease, chunk(incident(3, "A"), name="c2", run_id="r2"))
        dead = outcome(one.incidents[0], DeliveryStatus.DEAD, attempts=3, error="422: no", at=T0)
        await store.record_outcomes(lease, one, [dead])
        assert [entry.incident_id for entry in await store.deliveries()] == [3, 2, 1]
        assert [entry.incident_id for entry in await store.deliveries(limit=2)] == [3, 2]
        assert [entry.incident_id for entry in await store.deliveries(account="A")] == [3, 1]
        assert [entry.incident_id for entry in await store.deliveries(run_id="r1")] == [2, 1]
        assert await store.deliveries(account="A", status=DeliveryStatus.SKIPPED) == []
        (entry,) = await store.deliveries(status=DeliveryStatus.DEAD)
        assert (entry.attempts, entry.runs, entry.http_status, entry.error) == (3, 1, 422, "422: no")
        # To the millisecond: BSON dates end there, and only the watermark has to be exact.
        assert abs(entry.updated_at - T0) < timedelta(milliseconds=1)
        assert entry.operation == OPERATION
        # The store's clock, which for a private server is this machine's.
        assert abs(entry.created_at - datetime.now(UTC)) < timedelta(minutes=1)


@story
async def test_deliveries_go_on_below_an_id(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        each = [incident(number, "A" if number % 2 else "B") for number in range(1, 6)]
        await store.enqueue(lease, chunk(*each))
        assert [entry.incident_id for entry in await store.deliveries(before=4, limit=2)] == [3, 2]
        assert [entry.incident_id for entry in await store.deliveries(account="A", before=5)] == [3, 1]
        assert await store.deliveries(before=1) == []


@story
async def test_a_dead_letter_stands_until_something_of_its_account_follows(stores: StoreFactory) -> None:
    """Of the same content or of another, whatever became of it; what other operations have says nothing."""
    one, other, skipped = ("a", "A", "c")
    async with stores() as store, stores("another") as another:
        lease = await begin(store)
        first = [incident(number, account) for number, account in enumerate((one, one, other, skipped, "d"), start=1)]
        await store.enqueue(lease, chunk(*first))
        await store.record_outcomes(lease, chunk(*first), [outcome(each, DeliveryStatus.DEAD) for each in first])
        elsewhere = await begin(another)
        await another.enqueue(elsewhere, chunk(incident(50, other), name="x1", run_id="r9"))

        async def open_ids(**wanted: Any) -> list[int]:
            return [entry.incident_id for entry in await store.dead_letters(**wanted)]

        assert await open_ids() == [5, 4, 3, 2], "of an account the newest only"
        assert await open_ids(limit=2) == [5, 4]
        assert await open_ids(before=4, limit=1) == [3]
        assert await open_ids(account=one) == [2]
        (found,) = await store.dead_letters(account=other)
        assert [found] == await store.deliveries(account=other)
        parked = UnsendableAccount(
            incident_id=7, account=skipped, digest="none", status=DeliveryStatus.SKIPPED, error="x"
        )
        await store.enqueue(lease, chunk(incident(6, "d"), name="c2", parked=[parked]))
        assert await open_ids() == [3, 2], "pending and skipped entries follow, too"
        await store.record_outcomes(lease, chunk(incident(6, "d"), name="c2"), [outcome(incident(6, "d"))])
        assert await open_ids() == [3, 2]
        assert await another.dead_letters() == []


@story
async def test_accounts_are_found_by_how_they_begin(stores: StoreFactory) -> None:
    async with stores() as store, stores("another") as other:
        lease = await begin(store)
        names = ["0010", "0011", "001\U0001f600", "0012", "002", "01", "x", "X_%"]
        await store.enqueue(lease, chunk(*(incident(number, name) for number, name in enumerate(names, 1))))
        await store.enqueue(lease, chunk(incident(20, "0010"), name="c2"))
        assert await store.accounts("001", 10) == ["0010", "0011", "0012", "001\U0001f600"]
        assert await store.accounts("001", 2) == ["0010", "0011"]
        assert await store.accounts("0010", 10) == ["0010"]
        assert await store.accounts("X", 10) == ["X_%"]
        assert await store.accounts("%", 10) == []
        assert await other.accounts("0", 10) == []


@story
async def test_a_delivered_body_is_found_as_long_as_it_is_kept(stores: StoreFactory) -> None:
    async with stores(keep_bodies_days=1) as store:
        lease = await begin(store)
        first, second, third = incident(1), incident(2), incident(3)
        await store.enqueue(lease, chunk(first, second, name="r1-000001"))
        await store.enqueue(lease, chunk(third, name="r1-000002"))
        assert await store.kept_body(1) is None, "it has no outcome yet"
        await store.record_outcomes(lease, chunk(first, second, name="r1-000001"), [outcome(first)])
        moved = await store.replace_incident(
            lease, chunk(first, second, name="r1-000001"), 2, incident(9, second.account)
        )
        await store.record_outcomes(lease, moved, [outcome(incident(9, second.account))])
        await store.record_outcomes(lease, chunk(third, name="r1-000002"), [outcome(third)])
        assert [await store.kept_body(number) for number in (1, 3)] == [first.body, third.body]
        assert await store.kept_body(9) == incident(9).body, "under the id that it was given later"
        assert await store.kept_body(2) is None
        await store.purge_bodies(lease, datetime.now(UTC) + timedelta(days=2))
        assert await store.kept_body(1) is None


@story
async def test_a_body_that_is_not_kept_is_not_found(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1)))
        await store.record_outcomes(lease, chunk(incident(1)), [outcome(incident(1))])
        assert await store.kept_body(1) is None


# -- outbox -----------------------------------------------------------------------------------------------------------


@story
async def test_the_outbox_is_claimed_oldest_first(stores: StoreFactory) -> None:
    async with stores() as one, stores() as two, stores("another operation") as other:
        lease = await begin(one)
        elsewhere = await begin(other)
        first = await one.reserve_ids(lease, 10, 100)
        for position, name in enumerate(["z", "a", "m"]):
            await one.enqueue(lease, chunk(incident(first + position), name=name))
        await other.enqueue(elsewhere, chunk(incident(first + 9), name="x"))
        # A rewritten entry keeps its place.
        await one.record_outcomes(
            lease, chunk(incident(first), name="z"), [outcome(incident(first), DeliveryStatus.PENDING)]
        )
        successor = await two.acquire_lease("successor", 30, evict=lease.token)
        assert await two.claim_outbox(successor) == ["z", "a", "m"]
        assert await two.claim_outbox(successor) == ["z", "a", "m"]


@story
async def test_outcomes_take_incidents_out_and_keep_the_pending(stores: StoreFactory) -> None:
    whole = chunk(*(incident(number) for number in range(1, 6)))
    one, two, three, four, five = whole.incidents
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        some = [
            outcome(one),
            outcome(two, DeliveryStatus.DEAD, error="422"),
            outcome(three, DeliveryStatus.PENDING, attempts=4, http_status=503, error="busy"),
        ]
        await store.record_outcomes(lease, whole, some)
        await store.record_outcomes(lease, whole, some)
        left = await store.load_chunk("c1")
        assert left == chunk(msgspec.structs.replace(three, attempts=4, runs=1, in_doubt=False), four, five)
        entries = {entry.incident_id: entry for entry in await store.deliveries()}
        assert entries[1].status is DeliveryStatus.DELIVERED
        assert entries[2].status is DeliveryStatus.DEAD
        assert (entries[3].status, entries[3].attempts, entries[3].http_status) == (DeliveryStatus.PENDING, 4, 503)
        assert entries[4].attempts == 0
        pending = {
            attempted: await store.deliveries(status=DeliveryStatus.PENDING, attempted=attempted)
            for attempted in (True, False)
        }
        assert [entry.incident_id for entry in pending[True]] == [3]
        assert [entry.incident_id for entry in pending[False]] == [5, 4]
        await store.record_outcomes(lease, whole, [outcome(three, DeliveryStatus.PENDING, attempts=4)])
        (untried,) = await store.deliveries(status=DeliveryStatus.PENDING, attempted=True)
        assert (untried.http_status, untried.error) == (503, "busy"), "why the last attempt failed stays"
        # The caller goes on with the chunk that it has, or with what it loads: both are right.
        await store.record_outcomes(lease, whole, [outcome(four)])
        assert left is not None
        await store.record_outcomes(lease, left, [outcome(three, attempts=5), outcome(four), outcome(five)])
        assert await store.load_chunk("c1") is None
        assert await store.claim_outbox(lease) == []
        assert (await store.delivery_counts())[DeliveryStatus.DELIVERED] == 4


@story
async def test_outcomes_of_many_consecutive_incidents_touch_no_other(stores: StoreFactory) -> None:
    """They are written by ranges of ids: a gap, a neighbour and another chunk stay as they are."""
    whole = chunk(*(incident(number) for number in range(101, 151)))
    other = chunk(*(incident(number) for number in (100, 151)), name="c2")
    gaps = {120, 133}
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        await store.enqueue(lease, other)
        done = [outcome(each, attempts=2) for each in whole.incidents if each.incident_id not in gaps]
        await store.record_outcomes(lease, whole, list(reversed(done)))
        delivered = await store.deliveries(status=DeliveryStatus.DELIVERED)
        assert [entry.incident_id for entry in delivered] == sorted(set(range(101, 151)) - gaps, reverse=True)
        assert {entry.attempts for entry in delivered} == {2}
        pending = await store.deliveries(status=DeliveryStatus.PENDING)
        assert {(entry.incident_id, entry.attempts) for entry in pending} == {(n, 0) for n in (100, 151, *gaps)}
        left = await store.load_chunk("c1")
        assert left is not None
        assert {each.incident_id for each in left.incidents} == gaps


@story
async def test_all_outcomes_at_once_empty_the_entry_and_may_come_again(stores: StoreFactory) -> None:
    whole = chunk(incident(1), incident(2))
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        done = [outcome(each, attempts=2) for each in whole.incidents]
        await store.record_outcomes(lease, whole, done)
        await store.record_outcomes(lease, whole, done)
        await store.record_outcomes(lease, whole, [])
        assert await store.load_chunk("c1") is None
        assert [(entry.status, entry.attempts) for entry in await store.deliveries()] == [
            (DeliveryStatus.DELIVERED, 2)
        ] * 2


@story
async def test_an_incident_gets_a_new_id_in_ledger_and_outbox(stores: StoreFactory) -> None:
    whole = chunk(incident(1), incident(2), incident(3))
    new = incident(50, whole.incidents[1].account, digest="d2", key="k2", attempts=1)
    async with stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        replaced = await store.replace_incident(lease, whole, 2, new)
        assert replaced == chunk(incident(1), new, incident(3))
        assert await store.replace_incident(lease, whole, 2, new) == replaced
        assert await store.load_chunk("c1") == replaced
        assert [entry.incident_id for entry in await store.deliveries()] == [50, 3, 1]
        (entry,) = await store.deliveries(account=new.account)
        assert (entry.status, entry.key, entry.digest) == (DeliveryStatus.PENDING, "k2", "d2")
        await store.record_outcomes(lease, replaced, [outcome(each) for each in replaced.incidents])
        assert await store.claim_outbox(lease) == []


@story
async def test_kept_bodies_are_not_sent_again_and_go_when_they_are_old(stores: StoreFactory) -> None:
    whole = chunk(incident(1), incident(2))
    async with stores(keep_bodies_days=7) as store:
        lease = await begin(store)
        await store.enqueue(lease, whole)
        await store.enqueue(lease, chunk(incident(3), name="c2"))
        await store.record_outcomes(lease, whole, [outcome(whole.incidents[0])])
        assert await store.load_chunk("c1") == chunk(incident(2))
        await store.record_outcomes(lease, whole, [outcome(whole.incidents[1])])
        assert await store.claim_outbox(lease) == ["c2"]
        assert await store.load_chunk("c1") is None
        assert await store.purge_bodies(lease, datetime.now(UTC) - timedelta(days=7)) == 0
        assert await store.purge_bodies(lease, datetime.now(UTC) + timedelta(minutes=1)) == 1
        assert await store.purge_bodies(lease, datetime.now(UTC) + timedelta(minutes=1)) == 0
        assert await store.load_chunk("c2") == chunk(incident(3), name="c2")


@story
async def test_a_chunk_of_twenty_megabytes_comes_back_byte_for_byte(stores: StoreFactory) -> None:
    # Bytes that no compression makes smaller: more than max_allowed_packet or a document lets through at once.
    size = stores.large_chunk
    whole = chunk(*(incident(number, body=os.urandom(20_000_000 // size)) for number in range(1, size + 1)))
    first, second = whole.incidents[: size // 2], whole.incidents[size // 2 :]
    async with stores() as store:
        lease = await begin(store, seconds=300)
        await store.enqueue(lease, whole)
        assert await store.load_chunk("c1") == whole
        await store.record_outcomes(lease, whole, [outcome(each) for each in first])
        assert await store.load_chunk("c1") == chunk(*second)
        assert len(await store.last_known([each.account for each in whole.incidents])) == size
        await store.record_outcomes(lease, whole, [outcome(each) for each in whole.incidents])
        assert await store.claim_outbox(lease) == []
        assert (await store.delivery_counts())[DeliveryStatus.DELIVERED] == size


@story
async def test_no_part_of_the_outbox_exceeds_what_a_server_takes(server_stores: ServerStores) -> None:
    server = server_stores.server
    (before,) = server.ask("SELECT @@GLOBAL.max_allowed_packet")
    whole = chunk(*(incident(number, body=os.urandom(30_000)) for number in range(1, 101)))
    server.ask("SET GLOBAL max_allowed_packet = 65536")
    try:
        async with server_stores() as store:
            lease = await begin(store, seconds=300)
            await store.enqueue(lease, whole)
            assert await store.load_chunk("c1") == whole
            await store.record_outcomes(lease, whole, [outcome(each) for each in whole.incidents])
            assert await store.claim_outbox(lease) == []
    finally:
        server.ask("SET GLOBAL max_allowed_packet = %s", before)


@story
async def test_a_server_that_was_killed_and_came_back_is_found_again(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store, seconds=120)
        await store.enqueue(lease, chunk(incident(1)))
        await asyncio.to_thread(stores.restart)
        await store.enqueue(lease, chunk(incident(2), name="c2"))
        assert await store.claim_outbox(lease) == ["c1", "c2"]
        assert [entry.incident_id for entry in await store.deliveries()] == [2, 1]


# -- what only the SQL stores have ------------------------------------------------------------------------------------


@story
async def test_process_operation_has_the_columns_of_the_team(server_stores: ServerStores) -> None:
    async with server_stores() as store:
        await begin(store)
    columns = server_stores.sql(
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_KEY FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'Process_Operation' ORDER BY ORDINAL_POSITION"
    )
    # The same columns, in each server's words.
    mysql = server_stores.server.product == "MySQL"
    number, now, no_default = (
        ("int", "CURRENT_TIMESTAMP", None) if mysql else ("int(11)", "current_timestamp()", "NULL")
    )
    assert columns == [
        ("Process_Operation_Sequence", number, "NO", None, ""),
        ("created_dtm", "datetime", "NO", now, ""),
        ("Operation_name", "varchar(255)", "NO", None, ""),
        ("execution_duration", number, "NO", None, ""),
        ("Next_execution_dtm", "datetime", "NO", None, ""),
        ("Last_execution_dtm", "datetime", "NO", None, ""),
        ("end_dtm", "datetime", "YES", no_default, ""),
    ]


@story
async def test_the_row_of_an_operation(sql_stores: SqlStores) -> None:
    read = "SELECT Process_Operation_Sequence, execution_duration, {}, {}, end_dtm, {} FROM Process_Operation".format(
        *(f"CAST({name} AS CHAR)" for name in ("Next_execution_dtm", "Last_execution_dtm", "created_dtm"))
    )
    async with sql_stores(zone="Asia/Colombo") as one, sql_stores(zone="Asia/Colombo") as two:
        await one.prepare()
        assert sorted(await asyncio.gather(one.create_operation(30), two.create_operation(30))) == [False, True]
        ((*row, created),) = sql_stores.sql(read)
        assert row == [0, 30, "1900-01-01 00:00:00", "1900-01-01 00:00:00", None]
        before = await one.read_operation()
        assert before == Operation(
            name=OPERATION, last_execution=NEVER, next_execution=NEVER, execution_minutes=30, end=None
        )
        lease = await one.acquire_lease("one", 30)
        assert await one.advance(lease, step(before)) == await two.read_operation()
        # 08:30:15 UTC is 14:00:15 in Colombo; the fraction is cut, and the next run is due half an hour later.
        assert sql_stores.sql(read) == [(1, 30, "2026-03-01 14:30:15", "2026-03-01 14:00:15", None, created)]
        after = await one.read_operation()
        assert after is not None
        sql_stores.sql("UPDATE Process_Operation SET end_dtm = '9999-12-31 23:59:59'")
        await one.advance(lease, step(after, new_data=False))
        assert sql_stores.sql(read.replace("end_dtm", "0")) == [
            (1, 30, "2026-03-01 14:30:15", "2026-03-01 14:00:15", 0, created)
        ]
        ended = await one.read_operation()
        assert ended is not None
        assert ended.end is not None
        assert ended.end.year == 9999


@story
async def test_the_operation_that_was_used_last_is_meant(sql_stores: SqlStores) -> None:
    async with sql_stores() as store, sql_stores("INCIDENT EXTRACTION FROM DATA LAKE") as other:
        assert await store.read_operation() is None  # no table
        lease = await begin(store)
        sql_stores.sql("DELETE FROM Process_Operation")
        assert await store.read_operation() is None  # no row
        for name, sequence, last in [
            (OPERATION, 3, "2026-01-03"),
            (OPERATION, 12, "2026-01-12 00:00:00"),
            (OPERATION, 4, "2026-01-04"),
            (OPERATION.upper(), 99, "2026-02-01 00:00:00"),
        ]:
            sql_stores.sql(
                "INSERT INTO Process_Operation (Process_Operation_Sequence, Operation_name, execution_duration, "
                "Next_execution_dtm, Last_execution_dtm) VALUES (?, ?, 60, '2026-01-01', ?)",
                *(sequence, name, last),
            )
        found = await store.read_operation()
        assert found is not None
        assert (found.sequence, found.last_execution) == (12, datetime(2026, 1, 12, tzinfo=UTC))
        await store.advance(lease, step(found))
        written = sql_stores.sql("SELECT Process_Operation_Sequence FROM Process_Operation ORDER BY 1")
        assert [row[0] for row in written] == [3, 4, 13, 99]
        another = await other.read_operation()
        assert another is not None
        assert another.sequence == 99


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-12 06:07:08", datetime(2026, 1, 12, 6, 7, 8, tzinfo=UTC)),
        ("2026-01-12 06:07:08.25", datetime(2026, 1, 12, 6, 7, 8, 250000, tzinfo=UTC)),
        ("2026-01-12T06:07:08", datetime(2026, 1, 12, 6, 7, 8, tzinfo=UTC)),
        ("2026-01-12", datetime(2026, 1, 12, tzinfo=UTC)),
        ("0000-00-00 00:00:00", NEVER),
        ("soon", NEVER),
    ],
)
@story
async def test_sqlite_dates_of_other_programs_are_read(
    sqlite_stores: SqliteStores, text: str, expected: datetime
) -> None:
    async with sqlite_stores() as store:
        lease = await begin(store)
        sqlite_stores.sql("UPDATE Process_Operation SET Last_execution_dtm = ?", text)
        before = await store.read_operation()
        assert before is not None
        assert before.last_execution == expected
        await store.advance(lease, step(before))
        assert sqlite_stores.sql("SELECT Last_execution_dtm, Next_execution_dtm FROM Process_Operation") == [
            ("2026-03-01 08:30:15", "2026-03-01 09:30:15")
        ]


@story
async def test_an_hour_that_comes_twice_is_read_as_the_first_and_kept_exactly(sql_stores: SqlStores) -> None:
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))  # both 02:30 in Berlin
    async with sql_stores(zone="Europe/Berlin") as store:
        lease = await begin(store)
        await store.advance(lease, step(await operation_of(store), second))
        assert (await operation_of(store)).last_execution == second
        sql_stores.sql("UPDATE Process_Operation_Lease SET Watermark_Dtm = NULL")
        assert (await operation_of(store)).last_execution == first
        sql_stores.sql("UPDATE Process_Operation SET Last_execution_dtm = '2026-03-29 02:30:00'")  # there is no such
        assert (await operation_of(store)).last_execution == datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


def refuse(stores: SqlStores, event: str, table: str) -> None:
    """Make the database itself refuse a statement, as a full disk or a site's own trigger would."""
    said = "SELECT RAISE(ABORT, 'no')" if isinstance(stores, SqliteStores) else "SIGNAL SQLSTATE '45000'"
    body = f"BEGIN {said}; END" if isinstance(stores, SqliteStores) else f"FOR EACH ROW {said}"
    stores.sql(f"CREATE TRIGGER refuse BEFORE {event} ON {table} {body}")


@story
async def test_a_step_that_fails_is_rolled_back(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        first = await store.advance(lease, step(await operation_of(store)))
        refuse(sql_stores, "UPDATE", "Process_Operation")
        watermark = "SELECT CAST(Watermark_Dtm AS CHAR) FROM Process_Operation_Lease"
        before = sql_stores.sql(watermark)
        with pytest.raises(IncidentProcessError):
            await store.advance(lease, step(first, T0 + timedelta(hours=1)))
        assert await store.read_operation() == first
        assert sql_stores.sql(watermark) == before


@story
async def test_ledger_and_outbox_are_written_together_or_not_at_all(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        refuse(sql_stores, "INSERT", "Incident_Outbox")
        with pytest.raises(IncidentProcessError):
            await store.enqueue(lease, chunk(incident(1)))
        assert await store.deliveries() == []


@story
async def test_an_id_of_another_incident_is_not_taken_for_a_repetition(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1), incident(2)))
        for stranger in (incident(1, "other"), incident(2, "other")):
            fresh = chunk(incident(7), stranger) if stranger.incident_id == 2 else chunk(stranger)
            with pytest.raises(IncidentProcessError) as refused:
                await store.enqueue(lease, msgspec.structs.replace(fresh, chunk_id="c2"))
            assert "other" not in str(refused.value).replace("another", "")
        assert [entry.incident_id for entry in await store.deliveries()] == [2, 1]


@story
async def test_a_damaged_body_is_an_error_and_never_a_wrong_document(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        await store.enqueue(lease, chunk(incident(1)))
        ((body,),) = sql_stores.sql("SELECT Body FROM Incident_Outbox")
        sql_stores.sql("UPDATE Incident_Outbox SET Body = ?", body[:-1] + bytes([body[-1] ^ 1]))
        with pytest.raises(IncidentProcessError, match="damaged"):
            await store.load_chunk("c1")


def test_parts_are_no_larger_than_asked() -> None:
    entry = codec.OutboxEntry(incidents=tuple(incident(number, body=os.urandom(50)) for number in range(40)))
    parts = codec.encode(entry, part_bytes=100)
    assert max(map(len, parts)) == 100
    assert codec.decode(parts) == entry
    with pytest.raises(IncidentProcessError):
        codec.decode(parts[:-1])


@story
async def test_last_known_goes_by_the_index(server_stores: ServerStores) -> None:
    async with server_stores() as store:
        lease = await begin(store)
        for day in range(30):
            of_day = [incident(day * 100 + number, f"{number:05d}") for number in range(1, 101)]
            await store.enqueue(lease, chunk(*of_day, name=f"c{day}"))
    server_stores.sql("ANALYZE TABLE Incident_Delivery")
    server = server_stores.server
    with closing(server.connect(server_stores.database)) as connection, connection.cursor(DictCursor) as cursor:
        cursor.execute(
            f"{server.explain} {newest_entries(3)}".replace("?", "%s"), (OPERATION, "00001", "00002", "00003")
        )
        steps = {step["select_type"]: step for step in cursor.fetchall() if step["table"] != "<derived2>"}
    assert steps["DERIVED"]["key"] == "Delivery_By_Account"
    assert "Using index for group-by" in steps["DERIVED"]["Extra"]
    assert (steps["PRIMARY"]["type"], steps["PRIMARY"]["key"]) == ("eq_ref", "PRIMARY")


@pytest.mark.parametrize("trusted", [1.0, 3600.0], ids=["asked", "trusted"])
@story
async def test_a_connection_that_the_server_closed_for_being_idle_is_opened_again(
    server_stores: ServerStores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trusted: float
) -> None:
    """A schedule and a dashboard idle for longer than the state's sessions live; so does a machine that slept."""
    monkeypatch.setattr(session, "_LEAST_IDLE_SECONDS", 1)
    monkeypatch.setattr(session, "_MOST_IDLE_SECONDS", 1)
    monkeypatch.setattr(mysql, "TRUSTED_SECONDS", trusted)  # a sleeping machine's clock stands still
    async with server_stores() as store:
        await store.prepare()
        lease = await store.acquire_lease("one", 60)
        for _ in range(2):
            await asyncio.sleep(2.2)
            await store.renew_lease(lease)
            assert (await store.lease_state()) is not None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@story
async def test_a_connection_that_is_cut_in_the_middle_of_a_write_costs_nothing(server_stores: ServerStores) -> None:
    server = server_stores.server
    async with server_stores() as store:
        lease = await begin(store)
        with server.connect(server_stores.database) as blocker, blocker.cursor() as cursor:
            blocker.begin()
            cursor.execute("SELECT * FROM Process_Operation_Lease FOR UPDATE")
            writing = asyncio.create_task(store.enqueue(lease, chunk(incident(1))))
            await asyncio.sleep(0.3)
            cursor.execute(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()"
            )
            victims = cursor.fetchall()
            assert victims
            for (victim,) in victims:
                cursor.execute(f"KILL CONNECTION {victim}")
            blocker.rollback()
        await writing
        assert await store.load_chunk("c1") == chunk(incident(1))
        assert len(await store.deliveries()) == 1


@story
async def test_waiting_transactions_that_are_cancelled_leave_the_store_in_order(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        for delay in (0.0, 0.001, 0.003, 0.006, 0.01):
            tasks = [
                asyncio.create_task(store.enqueue(lease, chunk(incident(number), name=f"c{number}")))
                for number in range(1, 6)
            ]
            await asyncio.sleep(delay)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for number in range(1, 6):
            await store.enqueue(lease, chunk(incident(number), name=f"c{number}"))
        assert await store.claim_outbox(lease) == [f"c{number}" for number in range(1, 6)]
        assert len(await store.deliveries()) == 5


@story
async def test_a_write_that_is_cancelled_while_it_waits_for_the_lock_of_the_file(sqlite_stores: SqliteStores) -> None:
    other = sqlite3.connect(sqlite_stores.file, isolation_level=None)
    async with sqlite_stores() as store:
        lease = await begin(store)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.enqueue(lease, chunk(incident(1))))
        await asyncio.sleep(0.2)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(writing, 5)
        assert (await store.lease_state()) is not None  # reading goes on meanwhile
        other.execute("ROLLBACK")
        await store.enqueue(lease, chunk(incident(2), name="c2"))
        assert await store.claim_outbox(lease) == ["c2"]
        other.execute("BEGIN IMMEDIATE")  # nobody has kept the lock
        other.close()


@story
async def test_many_read_and_write_at_once(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        lease = await begin(store)
        chunks = [chunk(incident(number), name=f"c{number}") for number in range(1, 21)]
        for _ in range(2):
            await asyncio.gather(
                *(store.enqueue(lease, one) for one in chunks), *(store.deliveries() for _ in range(40))
            )
        assert await asyncio.gather(*(store.load_chunk(one.chunk_id) for one in chunks)) == chunks


# -- errors -----------------------------------------------------------------------------------------------------------


@story
async def test_missing_tables_are_answered_by_the_command_that_makes_them(sql_stores: SqlStores) -> None:
    async with sql_stores() as store:
        for call in (store.acquire_lease("one", 30), store.deliveries(), store.runs()):
            with pytest.raises(DatabaseConnectionError, match="incident-process init"):
                await call


@story
async def test_what_keeps_mysql_away_is_said_without_the_password(server_stores: ServerStores) -> None:
    server = server_stores.server
    wrong = {
        server_stores.url.replace(server.password, "not-the-password"): "access denied",
        server.url("no_such_database"): "no such database",
        f"mysql://{server.user}:{server.password}@127.0.0.1:1/x": "cannot be reached",
    }
    for url, said in wrong.items():
        started = time.monotonic()
        with pytest.raises(DatabaseConnectionError, match=said) as refused:
            async with SqlStateStore(url, OPERATION, UTC_ZONE):
                pass
        assert time.monotonic() - started < 5
        assert "127.0.0.1" in str(refused.value)
        assert "password" not in str(refused.value).replace("Check user and password", "")
        assert server.password not in f"{refused.value}{SqlStateStore(url, OPERATION, UTC_ZONE)!r}"


@story
async def test_sqlite_needs_its_folder_and_a_file_of_its_own(sqlite_stores: SqliteStores) -> None:
    missing = f"sqlite:///{sqlite_stores.file.parent / 'missing' / 'state.db'}"
    with pytest.raises(DatabaseConnectionError, match="does not exist"):
        async with SqlStateStore(missing, OPERATION, UTC_ZONE):
            pass
    sqlite_stores.file.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseConnectionError, match="not a SQLite database"):
        async with sqlite_stores():
            pass


@story
async def test_a_sqlite_file_is_for_its_owner_and_one_that_is_there_stays_as_it_is(sqlite_stores: SqliteStores) -> None:
    async with sqlite_stores() as store:
        await store.prepare()
        files = sorted(sqlite_stores.file.parent.glob(f"{sqlite_stores.file.name}*"))
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}, "unsent bodies are personal data"
    sqlite_stores.file.chmod(0o660)
    async with sqlite_stores():
        assert stat.S_IMODE(sqlite_stores.file.stat().st_mode) == 0o660


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d", "secret", "sqlite://", "mysql://u:secret@h"])
def test_an_address_that_cannot_be_a_state_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SqlStateStore(url, OPERATION, UTC_ZONE)
    assert "secret" not in str(refused.value)
