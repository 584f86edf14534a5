"""Polls source and state between runs, over connections of its own that it keeps as long as they work."""

import asyncio
from contextlib import AsyncExitStack, suppress

from incident_process.app.factory import make_source, make_store
from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.models import NO_PRUNE
from incident_process.core.process_identity import is_held
from incident_process.schedule.timing import Snapshot
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import LedgerReader

RUNS = 50
"""Newest runs that a poll reads: enough to find the newest window run behind backfills and replays."""
POLL_SECONDS = 60
"""Seconds without an answer after which a database counts as out of reach."""
CLOSE_SECONDS = 5


class StatePoller:
    """Reads a snapshot of source and state. ``close`` ends its connections; the next poll opens new ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._open: tuple[Source, LedgerReader] | None = None

    async def poll(self) -> Snapshot:
        """Return a snapshot of source and state.

        Raises:
            DatabaseConnectionError: Source or state cannot be reached.
            ConfigurationError: Their content, or their name in the configuration, is wrong.
        """
        try:
            async with asyncio.timeout(POLL_SECONDS):
                return await self._look()
        except TimeoutError as exc:
            await self.close()
            raise DatabaseConnectionError(f"source or state did not answer within {POLL_SECONDS} s") from exc
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections, and abandon one that does not close in time."""
        stack, self._stack, self._open = self._stack, AsyncExitStack(), None
        with suppress(Exception):  # the connections are given up anyway
            async with asyncio.timeout(CLOSE_SECONDS):
                await stack.aclose()

    async def _look(self) -> Snapshot:
        source, store = self._open or await self._connect()
        lease = await store.lease_state()
        # The runs are read after the lease, so that they include one that ended in between.
        return Snapshot(
            operation=await store.read_operation(),
            runs=await store.runs(search=NO_PRUNE, limit=RUNS),
            busy=is_held(lease),
            now=await source.now(),
        )

    async def _connect(self) -> tuple[Source, LedgerReader]:
        source = await self._stack.enter_async_context(make_source(self._settings))
        store = await self._stack.enter_async_context(make_store(self._settings))
        await store.require()
        self._open = source, store
        return self._open
