"""From a list of accounts to a chunk that lies in ledger and outbox, ready to be sent (SPEC 4, 6)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from incident_process.core import logs
from incident_process.core.crash_points import CrashPoint
from incident_process.core.errors import DataProcessingError
from incident_process.core.events import ChunkHeld
from incident_process.core.models import Chunk, DeliveryStatus, Incident, LastDelivery, UnsendableAccount
from incident_process.core.window import id_floor
from incident_process.delivery.idempotency import idempotency_key
from incident_process.document.assembly import render_body
from incident_process.pipeline.change_detection import AccountContent, ResendPolicy
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.transform import TURN_ACCOUNTS, BuildRequest, BuildResult
from incident_process.source.base import SelectedAccount

log = logs.get_logger()


class Enqueuer:
    """Has contents built, and enqueues those that call for an incident, one list of accounts at a time."""

    def __init__(self, context: RunContext, resend: ResendPolicy) -> None:
        self._resend = resend
        self._context = context
        self._builder = context.parts.builder
        self._store = context.parts.store
        self._events = context.parts.events
        self._created_by = context.parts.settings.process.created_by
        self._key_name = context.key_name or context.lease.operation
        self._chunks = 0

    async def build(self, touched: Sequence[SelectedAccount], as_of: datetime) -> tuple[BuildRequest, BuildResult]:
        """Find out what has changed among these accounts, as of the instant; nothing is written."""
        accounts = [item.account for item in touched]
        known = await self._store.last_known(accounts)
        task = BuildRequest(
            accounts=accounts, as_of=as_of, known=known, resend=self._resend, since_id=self._context.since_id
        )
        return task, await self._builder.build(task)

    async def enqueue(self, task: BuildRequest, built: BuildResult) -> Chunk | None:
        """Write down what is to be sent, before anything is; return it, None where there is nothing."""
        if not built.due:
            return None
        chunk = await self._chunk(built.due, task.known)
        self._events.emit(ChunkHeld, chunk, resumed=False)
        await self._events.timed(self._store.enqueue, self._context.lease, chunk)
        self._context.parts.faults.reach(CrashPoint.ENQUEUED)
        return chunk

    async def _chunk(self, due: Sequence[AccountContent], known: Mapping[str, LastDelivery]) -> Chunk:
        changed = [(c.account, c.digest) for c in due if (k := known.get(c.account)) and k.delivered_digest]
        returning = await self._store.delivered_before(changed) if changed else set()
        floor = id_floor(self._context.clock.now())
        first = await self._events.timed(self._store.reserve_ids, self._context.lease, len(due), floor)
        incidents: list[Incident] = []
        parked: list[UnsendableAccount] = []
        for number, content in enumerate(due):
            if number % TURN_ACCOUNTS == 0:
                await asyncio.sleep(0)
            incident_id = first + number
            entry = known.get(content.account)
            nonce = f"forced by {self._context.run_id}" if self._resend is ResendPolicy.ALL else ""
            if not nonce and entry is not None and (content.account, content.digest) in returning:
                # This very content was delivered, then another one, and now it is back: not a repetition.
                # Set apart by what came between, which an old copy of the state knows as well.
                nonce = f"after {entry.delivered_digest} of {entry.delivered_id}"
            made = self._entry(content, incident_id, nonce)
            if isinstance(made, Incident):
                incidents.append(made)
                if log.isEnabledFor(logging.DEBUG):  # the body is decoded and masked only where somebody reads it
                    log.debug(logs.payload_message(logs.mask_body(made.body)), extra=logs.event("payload"))
            else:
                parked.append(made)
        self._chunks += 1
        return Chunk(
            chunk_id=f"{self._context.chunk_prefix}-{self._chunks:06d}",
            run_id=self._context.run_id,
            incidents=tuple(incidents),
            parked=tuple(parked),
        )

    def _entry(self, content: AccountContent, incident_id: int, nonce: str) -> Incident | UnsendableAccount:
        error, status = content.error, content.status
        if content.document is not None:
            try:
                return Incident(
                    incident_id=incident_id,
                    account=content.account,
                    digest=content.digest,
                    key=idempotency_key(self._key_name, content.account, content.digest, nonce),
                    body=render_body(content.document, incident_id, self._context.started_at, self._created_by),
                    rows_digest=content.rows_digest,
                )
            except DataProcessingError as exc:
                error, status = str(exc), DeliveryStatus.DEAD
        return UnsendableAccount(
            incident_id=incident_id,
            account=content.account,
            digest=content.digest,
            status=status,
            error=error,
            rows_digest=content.rows_digest,
        )
