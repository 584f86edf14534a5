"""Source and state, opened at their first use and then kept: one connection or pool each for all readers.

The dashboard also starts while a database is down: the page is where an operator looks then.
"""

import asyncio
from contextlib import AsyncExitStack

from incident_process.app.factory import make_source, make_store
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import LedgerReader


class Connections:
    """Opens each part once; after a failure, the next request tries again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._turn = asyncio.Lock()
        self._source: Source | None = None
        self._store: LedgerReader | None = None

    async def source(self) -> Source:
        """Return the source; raise DatabaseConnectionError or ConfigurationError when it cannot be opened."""
        async with self._turn:
            if self._source is None:
                self._source = await self._stack.enter_async_context(make_source(self._settings))
            return self._source

    async def store(self) -> LedgerReader:
        """Return the state store with its tables; raise DatabaseConnectionError or ConfigurationError as above."""
        async with self._turn:
            if self._store is None:
                async with AsyncExitStack() as opening:
                    store = await opening.enter_async_context(make_store(self._settings))
                    await store.require()
                    # Only now: a store that failed before is closed, and the next request opens a new one.
                    self._stack.push_async_exit(opening.pop_all())
                    self._store = store
            return self._store

    async def close(self) -> None:
        """Close both."""
        await self._stack.aclose()
