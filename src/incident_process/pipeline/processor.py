"""Those who deliver: sender, deliverer and enqueuer of one run, working side by side (SPEC 6).

Every kind of run sends through here, in the same two steps: empty the outbox that earlier runs left, then go over
lists of accounts, one being read and built while others are on their way.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Self

import msgspec

from incident_process.core import logs
from incident_process.core.aio import prefetch, run_all_or_cancel, until_set
from incident_process.core.crash_points import CrashPoint
from incident_process.core.errors import LeaseLostError
from incident_process.core.events import NOBODY, AccountsDone, SendingStarted
from incident_process.core.gc_tuning import rare_collections
from incident_process.core.models import Chunk, DeliveryStatus, Sending
from incident_process.delivery.failure_text import common_form, has_words, secrets_of
from incident_process.delivery.http.file_handles import most_connections
from incident_process.delivery.policy import Evidence, ResponseClass
from incident_process.delivery.response_rules import ResponseRules
from incident_process.delivery.sender import Sender, SendLimits, broken
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.deliver import REFUSALS, ChunkDeliverer, ExhaustedIncident, ExhaustedIncidents
from incident_process.pipeline.empty_payload import ask_empty
from incident_process.pipeline.enqueue import Enqueuer
from incident_process.pipeline.lease import LeaseHeartbeat, hold_lease
from incident_process.pipeline.transform import BuildRequest, BuildResult
from incident_process.settings import Api
from incident_process.source.base import SelectedAccount

log = logs.get_logger()

CHUNKS_UNDER_WAY = 2
"""While the tail of one chunk is being answered and recorded, the next one keeps the connections busy."""
CHUNKS_AHEAD = 1
"""How many chunks lie ready beyond those; memory is bounded by these two figures and the size of a chunk."""


class ChunkProcessor:
    """An asynchronous context manager for the time in which a run sends."""

    def __init__(
        self, context: RunContext, heartbeat: LeaseHeartbeat, counters: RunCounters, allowed: SendLimits | None = None
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._events = context.parts.events
        self._heartbeat = heartbeat
        self._counters = counters
        self._announced = context.scope is not None  # a chunk's part of a run is said by the run
        self._collections = rare_collections()
        self._enough: str | None = None
        self._ending = asyncio.Event()
        self._cut_short: str | None = None
        self._of_scopes: dict[int, ExhaustedIncidents] = {}
        """By scope, the incidents there that were not taken."""
        api = self._parts.settings.api
        secrets = secrets_of(api.request_headers, api.api_url)
        self._rules = ResponseRules.of(api)
        allowed = allowed or limits(api)
        allowed = msgspec.structs.replace(allowed, max_connections=most_connections(allowed.max_connections))
        sender = Sender(self._parts.transport, allowed, heartbeat.is_valid, self._events, secrets, self._rules)
        if self._parts.gate is not None:
            sender.share(self._parts.gate)
        self._events.emit(SendingStarted, lambda: sender.circuit, lambda: sender.sending)
        self.sender = sender
        self._deliverer = ChunkDeliverer(context, self.sender, counters)

    async def __aenter__(self) -> Self:
        """Start the sender."""
        self._collections.__enter__()
        await self.sender.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End the sender."""
        try:
            await self.sender.__aexit__(*exc_info)
        finally:
            self._collections.__exit__(None, None, None)

    def stop(self, reason: str) -> None:
        """Send nothing more; what is under way is recorded, the rest stays pending."""
        self._ending.set()
        self.sender.stop(reason)

    @property
    def is_stopped(self) -> bool:
        """True when nothing more is sent in this run."""
        return self.sender.stopped is not None

    def finish(self, reason: str) -> None:
        """Begin no further chunk; those that are being sent are sent to their end."""
        self._enough = reason
        self._ending.set()

    async def drain_outboxes(self) -> None:
        """Send what earlier runs left, in the outbox of the run and in those of chunks that a cluster worked on.

        All who may still be at work for an earlier run are fenced before anything is read.
        """
        left = await self._events.timed(self._parts.store.open_scopes, self._context.lease, 0)
        await self.drain_own_outbox()
        for scope in left:
            async with _in_chunk_slot(self._context, scope) as context:
                deliverer = ChunkDeliverer(context, self.sender, self._counters)
                await self._drain_outbox(context, deliverer)
                self._keep(scope, deliverer.hand_over())

    async def claim_outboxes(self) -> None:
        """Fence all who may still be at work for an earlier run, and send nothing of what they left.

        Each outbox is claimed, which ends what was cut off: what the ledger says decided must not be sent later on.
        """
        left = await self._events.timed(self._parts.store.open_scopes, self._context.lease, 0)
        await _claim_outbox(self._context)
        for scope in left:
            async with _in_chunk_slot(self._context, scope) as context:
                await _claim_outbox(context)

    def _keep(self, scope: int, exhausted: ExhaustedIncidents) -> None:
        if len(exhausted):
            self._of_scopes[scope] = exhausted
        else:
            self._of_scopes.pop(scope, None)

    async def drain_own_outbox(self) -> None:
        """Send what the outbox of this lease holds: claimed by a fenced write before anything is posted."""
        await self._drain_outbox(self._context, self._deliverer)

    async def _drain_outbox(self, context: RunContext, deliverer: ChunkDeliverer) -> None:
        """Send what an outbox holds, first those that earlier runs saw fail while others were taken.

        Of these each is tried once, and again at the end: what is taken meanwhile shows that the service is at work.
        """
        chunk_ids = await _claim_outbox(context)
        self._parts.faults.reach(CrashPoint.CLAIMED)
        if chunk_ids:
            log.info(
                "Resuming: the outbox holds %d chunk(s) without an outcome.",
                len(chunk_ids),
                extra=logs.event("outbox_resumed", chunks=len(chunk_ids)),
            )
            self._announce()
        for counted in (True, False):
            for chunk_id in chunk_ids:
                if self._is_enough():
                    return
                chunk = await deliverer.load(chunk_id)
                if chunk is not None:
                    await self._resume(chunk, deliverer, counted=counted)

    async def _resume(self, chunk: Chunk, deliverer: ChunkDeliverer, *, counted: bool) -> None:
        """Send what of a chunk earlier runs have left, either those against which a run counts or the others."""
        part = tuple(incident for incident in chunk.incidents if (incident.runs > 0) is counted)
        if not part:
            return
        chunk = msgspec.structs.replace(chunk, incidents=part, parked=())
        self._counters.resumed += len(part)
        if self._parts.settings.process.in_doubt == "park":
            chunk = await deliverer.park_doubtful(chunk)
        else:
            await deliverer.note_in_doubt(chunk)
        await deliverer.deliver(chunk, resumed=True, once=counted)

    async def process(
        self, lists: AsyncIterator[list[SelectedAccount]], as_of: datetime, resend: ResendPolicy = ResendPolicy.CHANGED
    ) -> None:
        """Prepare list after list of accounts and send what they need, until the lists or the sender end.

        Once asked to finish, it neither waits for rows nor begins to send another chunk. What then lies in the outbox
        is recorded as not sent, so the next run does not take it for in doubt.
        """
        not_begun: list[Chunk] = []
        ready: asyncio.Queue[tuple[Chunk | None, int] | None] = asyncio.Queue(maxsize=CHUNKS_AHEAD)

        async def prepare_all() -> None:
            async with aclosing(self._prepared(lists, as_of, Enqueuer(self._context, resend))) as chunks:
                async for chunk, accounts in chunks:
                    await ready.put((chunk, accounts))
            await ready.put(None)

        async def send_all() -> None:
            while (item := await ready.get()) is not None:
                chunk, accounts = item
                if chunk is not None and self._is_enough():
                    not_begun.append(chunk)
                    continue
                if chunk is not None:
                    await self._deliverer.deliver(chunk, resumed=False)
                if self.sender.stopped is None:  # otherwise not all of them were sent
                    self._events.emit(AccountsDone, accounts)
            await ready.put(None)  # for the next of the senders

        await run_all_or_cancel(prepare_all, *[send_all] * CHUNKS_UNDER_WAY)
        if not_begun and self._enough is not None:
            self.sender.stop(self._enough)
            for chunk in not_begun:
                await self._deliverer.deliver(chunk, resumed=False)

    async def _prepared(
        self, lists: AsyncIterator[list[SelectedAccount]], as_of: datetime, enqueuer: Enqueuer
    ) -> AsyncGenerator[tuple[Chunk | None, int], None]:
        """Yield what was enqueued of each list, with its number of accounts; None where it needed nothing."""

        async def wanted() -> AsyncIterator[list[SelectedAccount]]:
            async for touched in lists:
                if self.sender.stopped is not None or self._is_enough():
                    break
                yield touched

        async def build(touched: list[SelectedAccount]) -> tuple[BuildRequest, BuildResult]:
            return await enqueuer.build(touched, as_of)

        async with aclosing(prefetch(wanted(), build, lambda: self._parts.builder.prefetch_limit)) as works:
            async for touched, (task, built) in until_set(self._ending, works):
                if self.sender.stopped is not None:
                    break
                chunk = await enqueuer.enqueue(task, built)
                self._counters.built(built)
                if chunk is not None and chunk.incidents:
                    self._announce()
                yield chunk, len(touched)
        if self._ending.is_set():
            self._is_enough()

    async def resolve_exhausted(self) -> None:
        """Decide on the incidents that were not taken.

        Before it is held against a record that it was not taken, find out whether the service takes anything at all.
        """
        if self.sender.stopped is not None:
            return
        await self._deliverer.try_again()
        for scope, left in list(self._of_scopes.items()):
            async with self._deliverer_of(scope, left) as deliverer:
                await deliverer.try_again()
                self._keep(scope, deliverer.hand_over())
        exhausted = [one for left in (self._deliverer.hand_over(), *self._of_scopes.values()) for one in left]
        if not exhausted or self.sender.stopped is not None:
            return
        # The receiver's words about an incident that it rejects while it takes others concern records, not the service.
        refusals = {one.words for one in exhausted if one.alone and has_words(one.words)}
        evidence = await self._evidence(exhausted, refusals)
        await self._deliverer.decide(evidence, refusals)
        for scope, left in self._of_scopes.items():
            async with self._deliverer_of(scope, left) as deliverer:
                await deliverer.decide(evidence, refusals)

    @asynccontextmanager
    async def _deliverer_of(self, scope: int, left: ExhaustedIncidents) -> AsyncIterator[ChunkDeliverer]:
        """Have a deliverer for what was not taken in a scope, under the scope's lease."""
        async with _in_chunk_slot(self._context, scope) as context:
            await _claim_outbox(context)
            deliverer = ChunkDeliverer(context, self.sender, self._counters)
            deliverer.take_over(left)
            yield deliverer

    async def _evidence(self, exhausted: Sequence[ExhaustedIncident], refusals: Collection[str]) -> Evidence:
        """Return what the run has shown of the service; ask with an empty payload where that can tell more."""
        unclear = [one for one in exhausted if not one.is_alone and one.words not in refusals]
        evidence = Evidence(
            taken=self._delivered > 0,
            many=len(unclear) >= self._parts.settings.api.breaker_failures,
            only=len(exhausted) == 1,
            all_known=all(one.is_known for one in exhausted),
        )
        if not self._parts.settings.api.send_empty or not _can_tell(evidence, unclear):
            return evidence
        verdict, reason = await ask_empty(
            self._parts.transport, self._rules, self._events, self._heartbeat.is_valid, self.sender.reason_of
        )
        same_words = any(one.words == common_form(reason) for one in unclear)
        return msgspec.structs.replace(evidence, asked=verdict, same_words=same_words)

    @property
    def context(self) -> RunContext:
        """The run, or the chunk, that this processor works for."""
        return self._context

    @property
    def sending(self) -> Sending:
        """How requests go out just now."""
        sending = self.sender.sending
        return msgspec.structs.replace(sending, per_second=sending.per_second and round(sending.per_second, 1))

    @property
    def exhausted(self) -> ExhaustedIncidents:
        """What used up its attempts under this processor's own lease."""
        return self._deliverer.hand_over()

    def report_unfinished(self) -> str | None:
        """Log and return why the run is incomplete, None when everything that was looked at has its outcome.

        Raises LeaseLostError when another runner has taken over.
        """
        if self._heartbeat.lost:
            raise LeaseLostError("the lease was taken by another runner")
        dead = self._counters.by_status[DeliveryStatus.DEAD]
        if dead:
            log.warning(
                "New dead letters: %d. See 'incident-process dead-letters list'.",
                dead,
                extra=logs.event("dead_letters", dead=dead),
            )
        if self._counters.no_longer_in_source:
            log.warning(
                "Accounts with rows in the survey and none when the run read them: %d. They were deleted meanwhile, or "
                "their numbers are stored in a form that cannot be asked for.",
                self._counters.no_longer_in_source,
                extra=logs.event("accounts_vanished", accounts=self._counters.no_longer_in_source),
            )
        cut, left = self.sender.stopped or self._cut_short, self._counters.left
        reason = f"{cut}; without an outcome: {left}" if cut and left else cut or self._counters.unfinished
        if reason is not None and self.sender.stopped is None and not self._well:
            reason = f"{broken(self._failure)}; {reason}"
        if reason is not None:
            log.error(
                "Delivery is incomplete: %s. The next run resumes.",
                reason,
                extra=logs.event("delivery_incomplete", reason=reason),
            )
        elif self._counters.by_status[DeliveryStatus.DELIVERED]:
            log.info(logs.SENT, extra=logs.event("sent", delivered=self._counters.by_status[DeliveryStatus.DELIVERED]))
        return reason

    @property
    def _delivered(self) -> int:
        return self.sender.delivered

    @property
    def _well(self) -> bool:
        return self.sender.well

    @property
    def _failure(self) -> str | None:
        return self.sender.failure

    def _is_enough(self) -> bool:
        """Tell whether to begin no further chunk; asked before each, so a run whose last one is begun is whole."""
        self._cut_short = self._cut_short or self._enough
        return self._enough is not None

    def _announce(self) -> None:
        if not self._announced:
            log.info(logs.sending_message(self._parts.settings.api.api_url), extra=logs.event("sending"))
            self._announced = True


@asynccontextmanager
async def _in_chunk_slot(context: RunContext, scope: int) -> AsyncIterator[RunContext]:
    """Hold the lease of one chunk's scope while the block runs, as who holds the operation's; yield its context.

    Raises LeaseLostError when a later run has begun.
    """
    scoped = context.parts.store.scoped(scope, context.lease.token)
    parts = msgspec.structs.replace(context.parts, store=scoped, events=NOBODY)  # observers are told of the run's own
    async with hold_lease(scoped, parts.settings.process.lease_seconds) as heartbeat:
        yield msgspec.structs.replace(context, parts=parts, lease=heartbeat.lease, scope=scope)


async def _claim_outbox(context: RunContext) -> list[str]:
    return await context.parts.events.timed(context.parts.store.claim_outbox, context.lease)


def _can_tell(evidence: Evidence, unclear: Sequence[ExhaustedIncident]) -> bool:
    """Tell whether the answer to an empty payload would decide on one of these (``policy.dead_letter_decision``)."""
    if evidence.taken:
        return not evidence.many and any(one.verdict in REFUSALS for one in unclear)
    if evidence.only or evidence.all_known:
        return True
    return not evidence.many and any(one.verdict is ResponseClass.REFUSED for one in unclear)


def limits(api: Api) -> SendLimits:
    """Return how hard to try, as the settings say."""
    return msgspec.convert(api, SendLimits, from_attributes=True)
