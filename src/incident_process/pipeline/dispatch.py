"""From an enqueued chunk to its outcomes (SPEC 5, 6)."""

from collections.abc import Sequence

from incident_process.delivery.policy import Verdict, fate_of_exhausted
from incident_process.delivery.reasons import reason
from incident_process.delivery.sender import Attempted, Sender
from incident_process.document.build import readdress
from incident_process.faults import Step
from incident_process.logs import get_logger
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.tally import Tally
from incident_process.records import Chunk, DeliveryStatus, Incident, Outcome
from incident_process.window import id_floor

log = get_logger()

MAX_READDRESSED = 10
"""How often one incident gets a new id in a run; ids are clock-based, so even a second time would be strange."""


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
        self._exhausted: dict[str, set[int]] = {}
        """Incidents whose attempts of this run are used up, by chunk: only their ids, however many they are."""

    async def dispatch(self, chunk: Chunk, *, resumed: bool) -> None:
        """Send a chunk's incidents and record their outcomes; what has none stays in the outbox."""
        results: dict[int, Attempted] = {}
        waiting: Sequence[Incident] = chunk.incidents
        for _ in range(MAX_READDRESSED):
            answered = await self._sender.deliver(waiting, resumed=resumed)
            results |= {result.incident.incident_id: result for result in answered}
            taken = [result for result in answered if result.verdict is Verdict.TAKEN]
            if not taken:
                break
            # Never left for the next run: it could not tell this 409 from the answer to its own earlier attempt.
            chunk, waiting = await self._readdress(chunk, taken)
            for result in taken:
                del results[result.incident.incident_id]
            resumed = False
        self._faults.reach(Step.POSTED)
        outcomes = [self._outcome(result) for result in results.values()]
        await self._store.record_outcomes(self._lease, chunk, outcomes)
        self._faults.reach(Step.RECORDED)
        self._tally.by_status.update(outcome.status for outcome in outcomes)
        self._tally.by_status.update(parked.status for parked in chunk.parked)
        self._remember_exhausted(chunk, outcomes)

    async def settle_exhausted(self, *, service_is_well: bool) -> None:
        """Decide on the incidents that used up their attempts, now that the run knows how the service did otherwise."""
        for chunk_id, ids in self._exhausted.items():
            chunk = await self._store.load_chunk(chunk_id)
            if chunk is None:
                continue
            outcomes = []
            for incident in chunk.incidents:
                if incident.incident_id not in ids:
                    continue
                fate = fate_of_exhausted(incident.runs, others_succeeded=service_is_well, max_runs=self._max_runs)
                gave_up = f"gave up after {incident.attempts} attempts in {fate.runs} runs"
                outcomes.append(
                    Outcome(
                        incident_id=incident.incident_id,
                        account=incident.account,
                        status=fate.status,
                        attempts=incident.attempts,
                        runs=fate.runs,
                        error=gave_up if fate.status is DeliveryStatus.DEAD else None,
                        at=self._clock.now(),
                    )
                )
            await self._store.record_outcomes(self._lease, chunk, outcomes)
            dead = sum(outcome.status is DeliveryStatus.DEAD for outcome in outcomes)
            self._tally.by_status[DeliveryStatus.PENDING] -= dead
            self._tally.by_status[DeliveryStatus.DEAD] += dead
        self._exhausted.clear()

    @property
    def stopped(self) -> bool:
        """True when nothing more will be sent in this run."""
        return self._sender.stopped is not None

    @property
    def has_exhausted(self) -> bool:
        """True when an incident used up its attempts and its fate is not settled."""
        return bool(self._exhausted)

    def _outcome(self, result: Attempted) -> Outcome:
        incident = result.incident
        status, error, http = DeliveryStatus.PENDING, None, None
        if result.verdict is Verdict.DELIVERED:
            status = DeliveryStatus.DELIVERED
        elif result.verdict is Verdict.DEAD or (result.verdict is Verdict.SUSPECT and not self._sender.broken):
            status = DeliveryStatus.DEAD
        if result.answer is not None:
            http = result.answer.status
            if status is not DeliveryStatus.DELIVERED:
                error = reason(result.answer, incident.body)
        return Outcome(
            incident_id=incident.incident_id,
            account=incident.account,
            status=status,
            attempts=incident.attempts + result.attempts,
            runs=incident.runs,
            http_status=http,
            error=error,
            at=result.at,
        )

    def _remember_exhausted(self, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        if self._sender.stopped is not None:
            return  # the run was cut short: that counts against no record
        ids = {o.incident_id for o in outcomes if o.status is DeliveryStatus.PENDING}
        if ids:
            self._exhausted[chunk.chunk_id] = ids

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
                runs=old.runs,
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
