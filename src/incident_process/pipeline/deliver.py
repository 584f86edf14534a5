"""From an enqueued chunk to its outcomes (SPEC 5, 6)."""

import asyncio
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from incident_process.core.aio import run_all_or_cancel
from incident_process.core.crash_points import CrashPoint
from incident_process.core.events import ChunkHeld, OutcomesRecorded
from incident_process.core.logs import event, get_logger
from incident_process.core.models import Chunk, DeliveryStatus, Incident, Outcome, Record
from incident_process.core.window import id_floor
from incident_process.delivery.failure_text import common_form
from incident_process.delivery.policy import Evidence, Failure, ResponseClass, dead_letter_decision
from incident_process.delivery.sender import EarlierTries, FailureOrder, Sender, SendResult
from incident_process.delivery.status_texts import with_fixed_texts
from incident_process.document.assembly import with_incident_id
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.counters import RunCounters

log = get_logger()

MAX_READDRESSED = 10
"""How often one incident gets a new id in a run; ids are clock-based, so even a second time would be strange."""

CHUNKS_AGAIN = 8
"""So many chunks at a time are loaded for what is tried once more at the end of a run; each may hold one incident."""
LOOK_FIRST = "see whether the receiver has this Incident_Id before you replay it, which sends it under a new one"
IN_DOUBT = f"in doubt: an earlier run may have sent it without an answer; {LOOK_FIRST}"
UNANSWERED = f"in doubt: an attempt before may have arrived without an answer; {LOOK_FIRST}"

REFUSALS = frozenset({ResponseClass.REFUSED, ResponseClass.SUSPECT})


class ExhaustedIncident(Record, frozen=True, kw_only=True):
    """An incident that was not taken: ``outcome`` is how its last attempt ended, and what has been recorded of it.

    ``attempts`` are those of this run; ``runs``, ``refused_as`` what earlier runs have found, as ``Incident`` has it.
    ``mark`` and ``alone``: as in ``SendResult``.
    """

    outcome: Outcome
    verdict: ResponseClass
    attempts: int
    runs: int
    refused_as: str
    mark: FailureOrder
    alone: bool

    def __repr__(self) -> str:
        """Leave the outcome out: it names the account."""
        return f"ExhaustedIncident({self.verdict}, {self.attempts} attempts)"

    @property
    def words(self) -> str:
        """What the receiver said last, as it says it of others."""
        return common_form(self.outcome.error or "")

    @property
    def is_alone(self) -> bool:
        """True where the receiver rejected it while it took others."""
        return self.alone or (self.verdict in REFUSALS and _was_alone(self.mark))

    @property
    def is_known(self) -> bool:
        """True where an earlier run has seen that, too, and the receiver says the same of it now."""
        return self.refused_as != "" and with_fixed_texts(self.refused_as) == with_fixed_texts(self.words)

    @property
    def tries_left(self) -> bool:
        """True where another attempt tells whether it fails alone."""
        return self.mark.overtaken and not self.is_alone


class ExhaustedIncidents(Record, frozen=True, kw_only=True):
    """Incidents that were not taken, and are not decided on yet, by chunk and Incident_Id; not their bodies."""

    incidents: dict[str, dict[int, ExhaustedIncident]]

    def __repr__(self) -> str:
        """Leave the outcomes out: they name accounts."""
        return f"ExhaustedIncidents({len(self)} incidents)"

    def __len__(self) -> int:
        return sum(map(len, self.incidents.values()))

    def __iter__(self) -> Iterator[ExhaustedIncident]:
        return (one for chunk in self.incidents.values() for one in chunk.values())


class ChunkDeliverer:
    """Sends chunks and records what became of them. One for all chunks of a run."""

    def __init__(self, context: RunContext, sender: Sender, counters: RunCounters) -> None:
        self._store = context.parts.store
        self._events = context.parts.events
        self._lease = context.lease
        self._clock = context.clock
        self._faults = context.parts.faults
        self._max_runs = context.parts.settings.process.max_runs
        self._sender = sender
        self._counters = counters
        self._max_attempts = context.parts.settings.api.max_attempts
        self._exhausted: dict[str, dict[int, ExhaustedIncident]] = {}

    async def deliver(self, chunk: Chunk, *, resumed: bool, once: bool = False) -> None:
        """Send a chunk's incidents and record their outcomes; what has none stays in the outbox.

        ``once``: each is tried once only, and again at the end of the run (``try_again``).
        """
        chunk, results = await self._send(chunk, resumed=resumed, once=once)
        self._faults.reach(CrashPoint.POSTED)
        outcomes = [self._outcome(result) for result in results]
        await self._record(chunk, outcomes)
        self._faults.reach(CrashPoint.RECORDED)
        self._counters.by_status.update(outcome.status for outcome in outcomes)
        self._counters.recorded(outcomes)
        self._counters.by_status.update(parked.status for parked in chunk.parked)
        self._remember(chunk, outcomes, results)

    async def load(self, chunk_id: str) -> Chunk | None:
        """Return what the outbox holds of a chunk, None where that is nothing."""
        chunk = await self._store.load_chunk(chunk_id)
        if chunk is not None:
            self._events.emit(ChunkHeld, chunk, resumed=True)
        return chunk

    async def _record(self, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        await self._events.timed(self._store.record_outcomes, self._lease, chunk, outcomes)
        self._events.emit(OutcomesRecorded, chunk, outcomes)

    async def _send(
        self, chunk: Chunk, *, resumed: bool, once: bool = False, before: Mapping[int, EarlierTries] | None = None
    ) -> tuple[Chunk, list[SendResult]]:
        """Send a chunk's incidents, under new ids where those that they have are taken; return it as it is then."""
        results: dict[int, SendResult] = {}
        waiting: Sequence[Incident] = chunk.incidents
        for _ in range(MAX_READDRESSED + 1):
            answered = await self._sender.deliver(waiting, resumed=resumed, once=once, before=before)
            results |= {result.incident.incident_id: result for result in answered}
            in_use = [result for result in answered if result.verdict is ResponseClass.ID_IN_USE]
            if not in_use:
                break
            # Never left under the id that is taken, also when nothing more is sent: the next run could not tell this
            # 409 from the answer to its own earlier attempt. Of a new id that was never tried it can.
            chunk, waiting = await self._readdress(chunk, in_use)
            for result in in_use:
                del results[result.incident.incident_id]
            resumed = False
        else:  # under each of so many ids: a refusal that may hold for every body
            results |= {
                new.incident_id: msgspec.structs.replace(
                    result, incident=new, verdict=ResponseClass.SUSPECT, attempts=0, unsent=0
                )
                for new, result in zip(waiting, in_use, strict=True)
            }
        return chunk, list(results.values())

    async def try_again(self) -> None:
        """Give those that failed the attempts that are left to them, now that others have been sent.

        One attempt more also where these are used up and another incident has been taken since: if it fails again, it
        is not the service that fails.
        """
        room = asyncio.Semaphore(CHUNKS_AGAIN)

        async def again(chunk_id: str, exhausted: Mapping[int, ExhaustedIncident]) -> None:
            async with room:
                await self._once_more(chunk_id, exhausted)

        if self._exhausted:
            await run_all_or_cancel(*(partial(again, *item) for item in list(self._exhausted.items())))

    async def _once_more(self, chunk_id: str, exhausted: Mapping[int, ExhaustedIncident]) -> None:
        due = {
            number: EarlierTries(attempts=one.attempts, overtaken=one.mark.overtaken)
            for number, one in exhausted.items()
            if one.tries_left or (one.verdict is ResponseClass.RETRY and one.attempts < self._max_attempts)
        }
        chunk = await self.load(chunk_id) if due and not self.stopped else None
        if chunk is None:
            return
        await self.note_in_doubt(chunk, due)
        chosen = tuple(incident for incident in chunk.incidents if incident.incident_id in due)
        part, results = await self._send(
            msgspec.structs.replace(chunk, incidents=chosen, parked=()), resumed=True, before=due
        )
        outcomes = [self._outcome(result) for result in results]
        await self._record(part, outcomes)
        self._counters.by_status[DeliveryStatus.PENDING] -= len(outcomes)
        self._counters.by_status.update(outcome.status for outcome in outcomes)
        self._counters.recorded(outcomes)
        self._exhausted[chunk_id] = {number: one for number, one in exhausted.items() if number not in due}
        self._remember(part, outcomes, results, exhausted)

    async def park_doubtful(self, chunk: Chunk) -> Chunk:
        """Make dead letters of the incidents that an earlier run may have sent without an answer; return the others.

        Before the others are sent they are noted as in doubt: should this run die, the next one must not take them
        for what they were.
        """
        outcomes = [
            self._before_sending(incident, DeliveryStatus.DEAD, IN_DOUBT)
            if incident.in_doubt
            else self._before_sending(incident)
            for incident in chunk.incidents
        ]
        await self._record(chunk, outcomes)
        parked = sum(incident.in_doubt for incident in chunk.incidents)
        self._counters.by_status[DeliveryStatus.DEAD] += parked
        if parked:
            log.warning(
                "%d incident(s) whose delivery is in doubt were parked as dead letters.",
                parked,
                extra=event("doubtful_parked", incidents=parked),
            )
        return msgspec.structs.replace(chunk, incidents=tuple(i for i in chunk.incidents if not i.in_doubt))

    async def note_in_doubt(self, chunk: Chunk, only: Container[int] | None = None) -> None:
        """Note as in doubt what surely was never sent, before it is; ``only`` these of the chunk.

        Should this run die, the next one must not take the 409 to it for somebody else's.
        """
        outcomes = [
            self._before_sending(incident)
            for incident in chunk.incidents
            if not incident.may_have_arrived and (only is None or incident.incident_id in only)
        ]
        await self._record(chunk, outcomes)

    async def decide(self, evidence: Evidence, refusals: Container[str]) -> None:
        """Decide on the incidents that were not taken, now that the run knows how the service did otherwise.

        ``refusals``: the receiver's words that are known to be said of single records.
        """
        for chunk_id, exhausted in self._exhausted.items():
            chunk = await self.load(chunk_id)
            if chunk is None:
                continue
            outcomes = []
            for incident in chunk.incidents:
                one = exhausted.get(incident.incident_id)
                if one is not None and (one.attempts or one.verdict in REFUSALS):
                    outcomes.append(self._decided(one, incident, evidence, refusals))
            await self._record(chunk, outcomes)
            self._counters.recorded(outcomes)
            dead = sum(outcome.status is DeliveryStatus.DEAD for outcome in outcomes)
            self._counters.by_status[DeliveryStatus.PENDING] -= dead
            self._counters.by_status[DeliveryStatus.DEAD] += dead
        self._exhausted.clear()

    def hand_over(self) -> ExhaustedIncidents:
        """Return what is not decided on yet, for a deliverer under another lease that takes it over."""
        return ExhaustedIncidents(incidents=dict(self._exhausted))

    def take_over(self, left: ExhaustedIncidents) -> None:
        """Decide on these incidents as if this deliverer had tried them; their chunks are claimed by its lease."""
        self._exhausted |= left.incidents

    @property
    def stopped(self) -> bool:
        """True when nothing more will be sent in this run."""
        return self._sender.stopped is not None

    def _outcome(self, result: SendResult) -> Outcome:
        incident = result.incident
        status, error, http = DeliveryStatus.PENDING, None, None
        if result.verdict is ResponseClass.DELIVERED:
            status = DeliveryStatus.DELIVERED
        elif result.verdict is ResponseClass.DEAD or _is_refused_alone(result):
            status = DeliveryStatus.DEAD
        if result.answer is not None:
            http = result.answer.status
            if status is not DeliveryStatus.DELIVERED:
                error = self._sender.reason_of(result.answer, incident.body)
            if status is DeliveryStatus.DEAD and result.unanswered:
                error = f"{error}; {UNANSWERED}"
        return Outcome(
            incident_id=incident.incident_id,
            account=incident.account,
            status=status,
            attempts=incident.attempts + result.attempts,
            runs=incident.runs,
            http_status=http,
            error=error,
            in_doubt=status is DeliveryStatus.PENDING and result.unanswered,
            unsent_attempts=incident.unsent_attempts + result.unsent,
            refused_as=incident.refused_as,
            at=result.at,
        )

    def _before_sending(
        self, incident: Incident, status: DeliveryStatus = DeliveryStatus.PENDING, error: str | None = None
    ) -> Outcome:
        """Return what is noted of an incident before this run sends anything of its chunk: from then on it may have."""
        return Outcome(
            incident_id=incident.incident_id,
            account=incident.account,
            status=status,
            attempts=incident.attempts,
            runs=incident.runs,
            error=error,
            in_doubt=True,
            unsent_attempts=incident.unsent_attempts,
            refused_as=incident.refused_as,
            at=self._clock.now(),
        )

    def _decided(
        self, one: ExhaustedIncident, incident: Incident, evidence: Evidence, refusals: Container[str]
    ) -> Outcome:
        """Return the outcome that the decision comes to; what the receiver said last stays with it."""
        last, words = one.outcome, one.words
        known = one.is_known or words in refusals
        failure = Failure(
            verdict=one.verdict, status=last.http_status, runs=incident.runs, alone=one.is_alone, known=known
        )
        decision = dead_letter_decision(failure, evidence, max_runs=self._max_runs)
        error = last.error
        if decision.status is DeliveryStatus.DEAD and one.verdict is ResponseClass.RETRY:
            error = f"gave up after {incident.attempts} attempts in {decision.runs} runs; last: {last.error}"
        if decision.status is DeliveryStatus.DEAD and last.in_doubt:
            error = f"{error}; {UNANSWERED}"
        is_counted = decision.runs > incident.runs and (one.is_alone or known)
        return msgspec.structs.replace(
            last,
            status=decision.status,
            attempts=incident.attempts,
            runs=decision.runs,
            error=error,
            unsent_attempts=incident.unsent_attempts,
            refused_as=words if is_counted else incident.refused_as,
            at=self._clock.now(),
        )

    def _remember(
        self,
        chunk: Chunk,
        outcomes: Sequence[Outcome],
        results: Sequence[SendResult],
        before: Mapping[int, ExhaustedIncident] | None = None,
    ) -> None:
        """Note which incidents were not taken; each outcome is that of the result in its place.

        ``before``: what had been noted of them in this run already.
        """
        if self._sender.stopped is not None:
            return  # the run was cut short: that counts against no record
        found = {}
        for result, outcome in zip(results, outcomes, strict=True):
            verdict = result.verdict or ResponseClass.RETRY  # without one it was put aside before it was tried
            if outcome.status is not DeliveryStatus.PENDING or verdict not in {ResponseClass.RETRY, *REFUSALS}:
                continue
            earlier = before.get(outcome.incident_id) if before else None
            mark = result.mark or FailureOrder(0)
            if earlier is not None and earlier.attempts:
                mark = earlier.mark
            found[outcome.incident_id] = ExhaustedIncident(
                outcome=outcome,
                verdict=verdict,
                attempts=result.attempts + (earlier.attempts if earlier else 0),
                runs=result.incident.runs,
                refused_as=result.incident.refused_as,
                mark=mark,
                alone=result.alone or (earlier is not None and earlier.alone),
            )
        if found:
            self._exhausted[chunk.chunk_id] = self._exhausted.get(chunk.chunk_id, {}) | found

    async def _readdress(self, chunk: Chunk, in_use: Sequence[SendResult]) -> tuple[Chunk, list[Incident]]:
        """Give incidents whose id the receiver has for another body a new id each."""
        floor = id_floor(self._clock.now())
        first = await self._events.timed(self._store.reserve_ids, self._lease, len(in_use), floor)
        replaced = []
        for incident_id, result in enumerate(in_use, start=first):
            old = result.incident
            body, sent = with_incident_id(old.body, incident_id), old.attempts + result.attempts
            new = msgspec.structs.replace(
                old, incident_id=incident_id, body=body, attempts=sent, unsent_attempts=sent, in_doubt=True
            )
            log.warning(
                "The receiver already has another incident under Incident_Id %d: sending this one as %d. "
                "Does another program hand out ids, or was the state restored from an old copy?",
                old.incident_id,
                incident_id,
                extra=event("incident_id_taken", incident_id=old.incident_id, new_incident_id=incident_id),
            )
            chunk = await self._events.timed(self._store.replace_incident, self._lease, chunk, old.incident_id, new)
            replaced.append(new)
        self._events.emit(ChunkHeld, chunk, resumed=True)
        return chunk, replaced


def _is_refused_alone(result: SendResult) -> bool:
    """Tell whether it was refused, and another one that was sent later has been taken since."""
    return result.verdict in REFUSALS and (result.alone or (result.mark is not None and _was_alone(result.mark)))


def _was_alone(mark: FailureOrder) -> bool:
    """Tell whether one refusal is enough: no more were refused with it than the records may be to blame for."""
    return mark.overtaken and not mark.in_spell
