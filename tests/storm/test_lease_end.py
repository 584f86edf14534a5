"""A run that is over lets go of its lease: however its heartbeat stood in that moment, it ends with the run.

``asyncio.wait_for`` of Python 3.11, which the MongoDB driver uses, loses a cancellation that meets a finished wait.
A heartbeat that goes on after its run would keep the process alive and everybody else out, for good.
"""

import asyncio
import random

from incident_process.core.clock import uptime
from incident_process.core.event_loop import Loop
from incident_process.core.models import Lease
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.state.mongo import MongoStateStore

TIMES = 80
BEAT_SECONDS = 0.01
"""So often that the end of the run meets a heartbeat under way nearly every time."""

LONGEST_END_SECONDS = 2.0


def test_a_heartbeat_ends_with_its_run(mongo_url: str, mongo_database: str) -> None:
    async def run_often() -> int:
        rng = random.Random(1)
        endless = 0
        async with MongoStateStore(mongo_url, mongo_database, "operation") as store:
            await store.prepare()
            taken = await store.acquire_lease("host/1/machine/1", 60)
            lease = Lease(operation=taken.operation, holder=taken.holder, token=taken.token, seconds=BEAT_SECONDS * 3)

            async def run() -> None:
                async with LeaseHeartbeat(store, lease, uptime()):
                    await asyncio.sleep(rng.uniform(0.02, 0.05))

            for _ in range(TIMES):
                running = asyncio.create_task(run())
                await asyncio.wait([running], timeout=LONGEST_END_SECONDS)
                endless += not running.done()
                while not running.done():  # its heartbeat is asked again, until the request is not lost
                    for task in asyncio.all_tasks() - {asyncio.current_task()}:
                        if "_renew" in repr(task.get_coro()):
                            task.cancel()
                    await asyncio.sleep(BEAT_SECONDS / 3)
        return endless

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(run_often()) == 0
