"""The idea of ``protocol_model.py`` for chunks that run side by side, over the real stores.

Random histories: runs that come one after the other, chunks that run twice at once, workers and coordinators that are
killed between any two writes, or go on when their run is long over, requests that fail and answers that are lost. The
workers here are as small as can be; what they may rely on is the store. When the storm is over, the receiver's own log
says whether anything was missed or doubled (SPEC 10).
"""

import asyncio
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import DeliveryStatus, Lease
from incident_process.state.base import RunState, StateStore
from incident_process.state.mongo import MongoStateStore
from tests.integration.test_state import begin, chunk, incident, outcome, story
from tests.support.mongo_store import MongoStores
from tests.support.stores import OPERATION, StoreFactory

SCOPES = 3
RUNS = 5
ACCOUNTS = [f"{number:04d}" for number in range(2 * SCOPES)]


class KilledError(BaseException):
    """Stands for the end of a process."""


class World:
    """What the accounts' content is, and what the receiver has taken; faults strike until it is calm."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.calm = False
        self.content = dict.fromkeys(ACCOUNTS, 1)
        self.taken: dict[int, tuple[str, str]] = {}
        self.log: defaultdict[str, list[str]] = defaultdict(list)
        self.story: list[str] = []

    def digest(self, account: str) -> str:
        return f"{account} v{self.content[account]}"

    async def point(self, name: str) -> None:
        """A place where a process may end, or be overtaken."""
        if self.calm:
            return
        luck = self.rng.random()
        if luck < 0.03:
            self.story.append(f"killed at {name}")
            raise KilledError(name)
        await asyncio.sleep(0.4 if luck > 0.97 else self.rng.random() * 0.01)

    async def post(self, number: int, account: str, digest: str) -> int:
        """Return the status; 0: no answer."""
        await self.point("post")
        if not self.calm and self.rng.random() < 0.1:
            return 0
        status = 409
        if number not in self.taken:
            self.taken[number] = (account, digest)
            self.log[account].append(digest)
            self.story.append(f"took {number}: {digest}")
            status = 201
        assert self.taken[number] == (account, digest), "one id, two contents"
        await self.point("answer")
        return 0 if not self.calm and self.rng.random() < 0.1 else status


async def send(world: World, worker: RunState, lease: Lease, chunk_id: str, *, resumed: bool) -> bool:
    """Send what a chunk of the outbox holds; return whether all of it has its outcome."""
    held = await worker.load_chunk(chunk_id)
    if held is None:
        return True
    outcomes = []
    for one in held.incidents:
        status = 0
        for attempt in range(3):
            status = await world.post(one.incident_id, one.account, one.digest)
            if status == 409 and attempt == 0 and not resumed:
                # Somebody has claimed this chunk and sent it: a new id for it must not be had.
                with pytest.raises(LeaseLostError):
                    await worker.reserve_ids(lease, 1, 1)
                raise LeaseLostError("the id was sent by a later claim")
            if status:
                break
        outcomes.append(outcome(one, DeliveryStatus.DELIVERED if status else DeliveryStatus.PENDING))
    await world.point("sent")
    await worker.record_outcomes(lease, held, outcomes)
    return all(one.status is DeliveryStatus.DELIVERED for one in outcomes)


async def work(world: World, store: StateStore, epoch: int, scope: int, accounts: list[str]) -> bool:
    """Do what the task of one chunk does; return whether each of its accounts has an outcome."""
    worker = store.scoped(scope, epoch)
    lease = await worker.acquire_lease("worker", 60)
    await world.point("acquired")
    done = True
    for chunk_id in await worker.claim_outbox(lease):
        done = await send(world, worker, lease, chunk_id, resumed=True) and done
    known = await worker.last_known(accounts)
    await world.point("compared")
    fresh: list[tuple[str, str]] = []
    for account in accounts:
        last = known.get(account)
        if last is not None and last.newest_status is DeliveryStatus.PENDING:
            done = False
        elif last is None or last.delivered_digest != world.digest(account):
            fresh.append((account, world.digest(account)))
    if fresh:
        first = await worker.reserve_ids(lease, len(fresh), 1)
        incidents = [incident(first + n, account, digest=digest) for n, (account, digest) in enumerate(fresh)]
        mine = chunk(*incidents, name=f"r-{scope:06d}-{lease.token}")
        await worker.enqueue(lease, mine)
        await world.point("enqueued")
        done = await send(world, worker, lease, mine.chunk_id, resumed=False) and done
    await worker.release_lease(lease)
    return done


async def task(world: World, store: StateStore, epoch: int, scope: int, accounts: list[str]) -> bool:
    """One task: true when it came to its end with everything delivered."""
    try:
        return await work(world, store, epoch, scope, accounts)
    except (LeaseLostError, KilledError) as exc:
        world.story.append(f"task {scope} of {epoch}: {type(exc).__name__} {exc}")
        return False


async def run(world: World, stores: list[StateStore], zombies: list[asyncio.Task[bool]], *, tasks: int) -> bool:
    """One run: drain what is left, then a task or two for each chunk; tasks that are late are left to themselves."""
    store = world.rng.choice(stores)
    before = await store.lease_state()
    lease = await store.acquire_lease("coordinator", 60, evict=before.token if before else None)
    world.story.append(f"run {lease.token}")
    try:
        for scope in await store.open_scopes(lease, 0):
            worker = store.scoped(scope, lease.token)
            drained = await worker.acquire_lease("coordinator", 60)
            for chunk_id in await worker.claim_outbox(drained):
                await send(world, worker, drained, chunk_id, resumed=True)
        await store.open_scopes(lease, SCOPES)
    except (LeaseLostError, KilledError) as exc:
        world.story.append(f"coordinator {lease.token}: {type(exc).__name__} {exc}")
        return False
    # Other accounts in each chunk, as windows have them.
    shuffled = world.rng.sample(ACCOUNTS, len(ACCOUNTS))
    started = [
        asyncio.create_task(
            task(world, world.rng.choice(stores), lease.token, scope, shuffled[2 * scope : 2 * scope + 2]),
            name=str(scope),
        )
        for scope in range(SCOPES)
        for _ in range(tasks)
    ]
    finished, late = await asyncio.wait(started, timeout=None if world.calm else 0.5)
    zombies += late
    return {int(one.get_name()) for one in finished if one.result()} == set(range(SCOPES))


@pytest.mark.parametrize("seed", range(3))
@story
async def test_no_storm_over_scopes_misses_or_doubles(stores: StoreFactory, seed: int) -> None:
    world = World(seed)

    def another() -> StateStore:
        if isinstance(stores, MongoStores):
            return MongoStateStore(stores.url, stores.database, OPERATION, checkpoint=world.point)
        return stores()

    async with another() as one, another() as two, another() as three:
        each = [one, two, three]
        world.calm = True
        await one.release_lease(await begin(one))
        world.calm = False
        zombies: list[asyncio.Task[bool]] = []
        for _ in range(RUNS):
            for account in world.rng.sample(ACCOUNTS, 3):
                world.content[account] += 1
            await run(world, each, zombies, tasks=2)
        if seed % 2:
            world.calm = True
            await asyncio.gather(*zombies)
        # The last runs, while some of the zombies are still about.
        for account in ACCOUNTS[:3]:
            world.content[account] += 1
        world.calm = True
        assert any([await run(world, each, zombies, tasks=1) for _ in range(2)]), world.story
        await asyncio.gather(*zombies)
        assert await run(world, each, zombies, tasks=1), world.story
        assert await one.deliveries(status=DeliveryStatus.PENDING) == []
    for account in ACCOUNTS:
        accepted = world.log[account]
        assert accepted[-1:] == [world.digest(account)], (account, accepted, world.story)
        assert not any(first == second for first, second in pairwise(accepted)), (account, accepted, world.story)
