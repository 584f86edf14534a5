"""From an enqueued chunk to its outcomes (SPEC 5, 6)."""

from collections.abc import Iterable, Sequence

import msgspec

from incident_process.delivery.policy import Evidence, Fate, Verdict, fate_of_exhausted
from incident_process.delivery.sender import Attempted, Sender
from incident_process.document.build import readdress
from incident_process.faults import Step
from incident_process.logs import get_logger
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.tally import Tally
from incident_process.records import Chunk, DeliveryStatus, Incident, Outcome, Record
from incident_process.window import id_floor

log = get_logger()

MAX_READDRESSED = 10
"""How often one incident gets a new id in a run; ids are clock-based, so even a second time would be strange."""


LOOK_FIRST = "see whether the receiver has this Incident_Id before you replay it, which sends it under a new one"
IN_DOUBT = f"in doubt: an earlier run may have sent it without an answer; {LOOK_FIRST}"
UNANSWERED = f"in doubt: an attempt before may have arrived without an answer; {LOOK_FIRST}"


class Unsettled(Record, frozen=True, kw_only=True):
    """Incidents that used up the attempts of this run and have no fate yet; not their bodies.

    ``outcomes``: how the last attempt ended, by chunk and Incident_Id. ``suspects``: those among them that were turned
    away for a reason that may hold for every body, with their keys. ``singled_out``: those of whom their sender knows
    that it does not.
    """

    outcomes: dict[str, dict[int, Outcome]]
    suspects: dict[int, str]
    singled_out: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        """Leave the outcomes out: they name accounts."""
        return f"Unsettled({len(self)} incidents)"

    def __len__(self) -> int:
        return sum(map(len, self.outcomes.values()))

    def refused_alone(self, sender: Sender) -> frozenset[int]:
        """Return the suspects that the service refused while it took others."""
        return self.singled_out | {number for number, key in self.suspects.items() if sender.singled_out(key)}


class Dispatcher:
    """Sends chunks and records what became of them. One for all chunks of a run."""

    def __init__(self, context: RunContext, sender: Sender, tally: Tally) -> None:
        self._store = context.parts.store
        self._lease = context.lease
        self._clock = context.clock
        self._faults = context.parts.faults
        self._max_runs = context.parts.settings.process.max_runs
        self._sender = sender
        self._tally = tally
        self._unsettled: dict[str, dict[int, Outcome]] = {}
        """How the last attempt ended of incidents that used up the attempts of this run, by chunk; not their bodies."""
        self._suspects: dict[int, str] = {}
        """Those among them that were turned away for a reason that may hold for every body, with their keys."""
        self._singled_out: frozenset[int] = frozenset()
        """Those among them of whom another sender knows that it does not."""

    async def dispatch(self, chunk: Chunk, *, resumed: bool) -> None:
        """Send a chunk's incidents and record their outcomes; what has none stays in the outbox."""
        results: dict[int, Attempted] = {}
        waiting: Sequence[Incident] = chunk.incidents
        for _ in range(MAX_READDRESSED + 1):
            answered = await self._sender.deliver(waiting, resumed=resumed)
            results |= {result.incident.incident_id: result for result in answered}
            taken = [result for result in answered if result.verdict is Verdict.TAKEN]
            if not taken:
                break
            # Never left under the id that is taken, also when nothing more is sent: the next run could not tell this
            # 409 from the answer to its own earlier attempt. Of a new id that was never tried it can.
            chunk, waiting = await self._readdress(chunk, taken)
            for result in taken:
                del results[result.incident.incident_id]
            resumed = False
        else:  # under each of so many ids: a refusal that may hold for every body
            results |= {
                new.incident_id: msgspec.structs.replace(
                    result, incident=new, verdict=Verdict.SUSPECT, attempts=0, unsent=0
                )
                for new, result in zip(waiting, taken, strict=True)
            }
        self._faults.reach(Step.POSTED)
        outcomes = [self._outcome(result) for result in results.values()]
        await self._store.record_outcomes(self._lease, chunk, outcomes)
        self._faults.reach(Step.RECORDED)
        self._tally.by_status.update(outcome.status for outcome in outcomes)
        self._tally.by_status.update(parked.status for parked in chunk.parked)
        self._remember(chunk, outcomes, results.values())

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
        await self._store.record_outcomes(self._lease, chunk, outcomes)
        parked = sum(incident.in_doubt for incident in chunk.incidents)
        self._tally.by_status[DeliveryStatus.DEAD] += parked
        if parked:
            log.warning("%d incident(s) whose delivery is in doubt were parked as dead letters.", parked)
        return msgspec.structs.replace(chunk, incidents=tuple(i for i in chunk.incidents if not i.in_doubt))

    async def note_in_doubt(self, chunk: Chunk) -> None:
        """Note as in doubt what surely was never sent, before it is.

        Should this run die, the next one must not take the 409 to it for somebody else's.
        """
        outcomes = [self._before_sending(incident) for incident in chunk.incidents if not incident.may_have_arrived]
        await self._store.record_outcomes(self._lease, chunk, outcomes)

    async def settle(self, evidence: Evidence) -> None:
        """Decide on the incidents that used up their attempts, now that the run knows how the service did otherwise.

        Suspects that the service refused while it took others are dead at once.
        """
        refused = self.leave().refused_alone(self._sender)
        for chunk_id, last in self._unsettled.items():
            chunk = await self._store.load_chunk(chunk_id)
            if chunk is None:
                continue
            outcomes = []
            for incident in chunk.incidents:
                if incident.incident_id not in last:
                    continue
                suspect = incident.incident_id in self._suspects
                fate = fate_of_exhausted(incident.runs, evidence, max_runs=self._max_runs, suspect=suspect)
                if incident.incident_id in refused:
                    fate = Fate(status=DeliveryStatus.DEAD, runs=incident.runs)
                outcomes.append(self._settled(last[incident.incident_id], incident, fate))
            await self._store.record_outcomes(self._lease, chunk, outcomes)
            dead = sum(outcome.status is DeliveryStatus.DEAD for outcome in outcomes)
            self._tally.by_status[DeliveryStatus.PENDING] -= dead
            self._tally.by_status[DeliveryStatus.DEAD] += dead
        self._unsettled.clear()
        self._suspects.clear()
        self._singled_out = frozenset()

    def leave(self) -> Unsettled:
        """Return what is not settled, for a dispatcher under another lease that takes it over."""
        left = Unsettled(outcomes=dict(self._unsettled), suspects=dict(self._suspects), singled_out=self._singled_out)
        return msgspec.structs.replace(left, singled_out=left.refused_alone(self._sender))

    def take(self, left: Unsettled) -> None:
        """Settle these incidents as if this dispatcher had tried them; their chunks are claimed by its lease."""
        self._unsettled |= left.outcomes
        self._suspects |= left.suspects
        self._singled_out |= left.singled_out

    @property
    def stopped(self) -> bool:
        """True when nothing more will be sent in this run."""
        return self._sender.stopped is not None

    @property
    def unsettled(self) -> int:
        """How many incidents used up their attempts and have no fate yet."""
        return sum(map(len, self._unsettled.values()))

    def _outcome(self, result: Attempted) -> Outcome:
        incident = result.incident
        status, error, http = DeliveryStatus.PENDING, None, None
        if result.verdict is Verdict.DELIVERED:
            status = DeliveryStatus.DELIVERED
        elif result.verdict is Verdict.DEAD:
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
            elsewhere=incident.elsewhere + result.unsent,
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
            elsewhere=incident.elsewhere,
            at=self._clock.now(),
        )

    def _settled(self, last: Outcome, incident: Incident, fate: Fate) -> Outcome:
        """Return the outcome that the fate comes to; what the receiver said last stays with it."""
        error = last.error
        if fate.status is DeliveryStatus.DEAD and incident.incident_id not in self._suspects:
            error = f"gave up after {incident.attempts} attempts in {fate.runs} runs; last: {last.error}"
        if fate.status is DeliveryStatus.DEAD and last.in_doubt:
            error = f"{error}; {UNANSWERED}"
        return Outcome(
            incident_id=incident.incident_id,
            account=incident.account,
            status=fate.status,
            attempts=incident.attempts,
            runs=fate.runs,
            http_status=last.http_status,
            error=error,
            in_doubt=last.in_doubt,
            elsewhere=incident.elsewhere,
            at=self._clock.now(),
        )

    def _remember(self, chunk: Chunk, outcomes: Sequence[Outcome], results: Iterable[Attempted]) -> None:
        """Note which incidents used up their attempts; each outcome is that of the result in its place."""
        if self._sender.stopped is not None:
            return  # the run was cut short: that counts against no record
        tried = [
            (result, outcome)
            for result, outcome in zip(results, outcomes, strict=True)
            if outcome.status is DeliveryStatus.PENDING and result.answer is not None
        ]
        if tried:
            self._unsettled[chunk.chunk_id] = {outcome.incident_id: outcome for _, outcome in tried}
            self._suspects |= {
                result.incident.incident_id: result.incident.key
                for result, _ in tried
                if result.verdict is Verdict.SUSPECT
            }

    async def _readdress(self, chunk: Chunk, taken: Sequence[Attempted]) -> tuple[Chunk, list[Incident]]:
        """Give incidents whose id the receiver has for another body a new id each."""
        first = await self._store.reserve_ids(self._lease, len(taken), id_floor(self._clock.now()))
        replaced = []
        for incident_id, result in enumerate(taken, start=first):
            old = result.incident
            new = Incident(
                incident_id=incident_id,
                account=old.account,
                digest=old.digest,
                key=old.key,
                body=readdress(old.body, incident_id),
                attempts=old.attempts + result.attempts,
                elsewhere=old.attempts + result.attempts,
                runs=old.runs,
                rows_digest=old.rows_digest,
            )
            log.warning(
                "The receiver already has another incident under Incident_Id %d: sending this one as %d. "
                "Does another program hand out ids, or was the state restored from an old copy?",
                old.incident_id,
                incident_id,
            )
            chunk = await self._store.replace_incident(self._lease, chunk, old.incident_id, new)
            replaced.append(new)
        return chunk, replaced
