"""Looks at source and state between runs, over connections of its own that are kept as long as they work."""

import asyncio
from contextlib import AsyncExitStack, suppress

from incident_process.app.factory import make_source, make_store
from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.process_identity import Runner
from incident_process.schedule.timing import Snapshot
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import StateStore

RUNS = 50
"""How many of the newest runs are read; enough to find the newest window run behind backfills and replays."""
LOOK_SECONDS = 60
"""After so long a database that does not answer counts as out of reach."""
CLOSE_SECONDS = 5


class StatePoller:
    """Reads how things stand. ``close`` ends its connections; the next look makes new ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._open: tuple[Source, StateStore] | None = None

    async def poll(self) -> Snapshot:
        """Return how things stand.

        Raises:
            DatabaseConnectionError: Source or state cannot be reached.
            ConfigurationError: What they hold, or how they are named, is not right.
        """
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._look()
        except TimeoutError as exc:
            await self.close()
            raise DatabaseConnectionError(f"source or state did not answer within {LOOK_SECONDS} s") from exc
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the connections; one that is stuck is left to itself."""
        stack, self._stack, self._open = self._stack, AsyncExitStack(), None
        with suppress(Exception):  # of connections that are given up
            async with asyncio.timeout(CLOSE_SECONDS):
                await stack.aclose()

    async def _look(self) -> Snapshot:
        source, store = self._open or await self._connect()
        lease = await store.lease_state()
        busy = lease is not None and lease.active
        if lease is not None and busy:
            holder = Runner.parse(lease.holder)
            busy = holder is None or not holder.is_gone()
        # The runs after the lease: one that ended in between is then among them.
        return Snapshot(
            operation=await store.read_operation(), runs=await store.runs(limit=RUNS), busy=busy, now=await source.now()
        )

    async def _connect(self) -> tuple[Source, StateStore]:
        source = await self._stack.enter_async_context(make_source(self._settings))
        store = await self._stack.enter_async_context(make_store(self._settings))
        await store.require()
        self._open = source, store
        return self._open
