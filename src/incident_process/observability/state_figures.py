"""Figures of the state itself, read when the metrics are: open dead letters, pending incidents, the ledger's size.

What a run counts says nothing of what other processes and earlier runs left. A reading costs the state a second or two
at millions of deliveries, so it is repeated only now and then, however often the metrics are scraped.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from math import nan

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import DeliveryStatus
from incident_process.observability.metrics import MOST_DEAD, Instruments
from incident_process.state.base import LedgerReader

READ_SECONDS = 4.0
"""Seconds that one reading may take; a scrape waits for it, and Prometheus waits ten for the scrape."""
FRESH_SECONDS = 15.0
"""Seconds for which a reading serves every scrape."""
SHARE = 0.02
"""Part of the time, at most, in which the state is being read: a long reading serves for longer."""


class StateFigures:
    """The gauges of the state. Where it cannot be read they are absent: an old figure would look like a present one."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._fresh_until = float("-inf")
        self._reading = asyncio.Lock()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    async def scraped(self, opened: Callable[[], AbstractAsyncContextManager[LedgerReader]]) -> bytes:
        """Return the text of ``/metrics``, with the state's figures and the process's own, which every program has."""
        loop = asyncio.get_running_loop()
        async with self._reading:  # scrapes at once share a reading
            if loop.time() >= self._fresh_until:
                began = loop.time()
                await self._read(opened())
                took = loop.time() - began
                self._fresh_until = loop.time() + max(FRESH_SECONDS, took / SHARE)
        return self._instruments.text() + generate_latest(self._process)

    async def refresh(self, store: LedgerReader | None) -> None:
        """Read the figures from an open state; None: it could not be opened."""
        if store is None:
            self._forget()
        else:
            await self._read(nullcontext(store))

    async def _read(self, opened: AbstractAsyncContextManager[LedgerReader]) -> None:
        shown = self._instruments
        try:
            async with asyncio.timeout(READ_SECONDS), opened as store:
                counts = await store.delivery_counts()
                dead = len(await store.dead_letters(limit=MOST_DEAD)) if counts[DeliveryStatus.DEAD] else 0
                size = await store.stored_bytes()
        except (TimeoutError, IncidentProcessError):
            self._forget()
            return
        for status, count in counts.items():
            shown.ledger.labels(status.value).set(count)
        shown.pending.set(counts[DeliveryStatus.PENDING])
        shown.dead_letters.set(dead)
        shown.state_bytes.set(nan if size is None else size)

    def _forget(self) -> None:
        self._instruments.ledger.clear()
        self._instruments.pending.set(nan)
        self._instruments.dead_letters.set(nan)
        self._instruments.state_bytes.set(nan)
