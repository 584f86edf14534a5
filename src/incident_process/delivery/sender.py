"""Sends incidents concurrently, with retries, a rate limit, and one circuit breaker over all of them (SPEC 5).

One sender serves a whole run. Batches of different chunks share its workers, so an account that keeps failing holds up
neither its chunk's other accounts nor the next chunk.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any

from incident_process.core.events import NOBODY, Attempted, AttemptStarted, Events
from incident_process.core.models import Incident, Record, Sending
from incident_process.delivery.circuit_breaker import CircuitBreaker, CircuitState
from incident_process.delivery.failure_text import reason
from incident_process.delivery.gate import Gate
from incident_process.delivery.http.transport import Answer, Transport
from incident_process.delivery.policy import GATEWAY, ResponseClass, backoff, classify_response, retry_after
from incident_process.delivery.response_rules import ResponseRules

BROKEN = "the receiver fails across accounts (circuit breaker)"
"""Why a sender stopped, when the circuit breaker stopped it; ``broken`` adds the last answer."""
THROTTLING = "the receiver limits the rate and takes nothing any more"
"""Why a sender stopped that was throttled for ``retry_seconds`` while the receiver took nothing."""


def broken(failure: str | None) -> str:
    """Return why the breaker stopped a sender; ``failure`` is its own or that of another sender of the run."""
    return BROKEN if failure is None else f"{BROKEN}: {failure}"


def throttling(failure: str) -> str:
    """Return why a sender stopped that met only a limit of the rate; ``failure`` is the last answer."""
    return f"{THROTTLING}: {failure}"


TIMED_OUT = "TimeoutError"
"""The ``error`` of an answer that did not come in time."""
DROPPED = frozenset({"ConnectionResetError", "ConnectionClosedError", "BrokenPipeError"})
"""The ``error`` of an answer that did not come because the receiver closed the connection."""
TELLING = 3
"""Rejections of one incident for the rate, after which a further one may concern the incident, not the rate;
the same of its attempts where connections are closed."""
TAKING_SECONDS = 10.0
"""Seconds after an answer for a request's own sake in which the receiver counts as at work: a 503 then limits the rate.
Twice the pause that it has asked for is added."""
DROPPING_SECONDS = 1.0
"""The same for a closed connection: short, for a receiver that takes nothing any more needs no lower rate."""

NO_RULES = ResponseRules()


class SendLimits(Record, frozen=True, kw_only=True):
    """How hard to try: keys of ``[API]`` in the configuration.

    ``rate_is_shared``: ``requests_per_second`` is a part of the setting, used by one sender after another.
    ``adaptive``: below ``max_connections``, as many requests are under way as help.
    """

    max_connections: int = 64
    adaptive: bool = True
    timeout_seconds: float = 30.0
    requests_per_second: float = 0.0
    rate_is_shared: bool = False
    max_attempts: int = 5
    retry_seconds: float = 120.0
    retry_after_cap_seconds: float = 60.0
    breaker_failures: int = 5


@dataclass(eq=False, slots=True)
class FailureOrder:
    """The first attempt of a run at which an incident failed or was refused: its ``place`` among all attempts.

    ``overtaken``: the receiver took another incident that was sent and answered after it, so the service was at work
    then. One that was sent before and is still taken shows nothing: an expired token fails every request from then on.
    ``in_spell``: so many accounts failed or were refused with it, and none was taken between them, that the service may
    have failed, and come back since.
    """

    place: int
    overtaken: bool = False
    in_spell: bool = False


class EarlierTries(Record, frozen=True, kw_only=True):
    """An incident's earlier tries in the same run: ``attempts``, and whether another incident overtook it."""

    attempts: int
    overtaken: bool


class SendResult(Record, frozen=True, kw_only=True):
    """How far one incident got.

    ``verdict`` is None when it was not tried, RETRY when its attempts are used up or it was put aside between two of
    them. ``attempts`` are those of this call, ``unsent`` those without a connection; ``unanswered``: one of them, or of
    an earlier run, had no answer. ``mark`` is there once it has failed or was refused. ``alone``: it failed, the
    receiver took another one that was sent later, and then it failed again.
    """

    incident: Incident
    verdict: ResponseClass | None
    attempts: int
    unsent: int
    unanswered: bool
    answer: Answer | None
    mark: FailureOrder | None = None
    alone: bool = False
    at: datetime


@dataclass(eq=False, slots=True)
class _Job:
    incident: Incident
    number: int
    may_have_arrived: bool
    done: Callable[[SendResult], None]
    left_over: bool = False
    """An earlier run, or an earlier part of this one, has left it: it shows nothing new about the service."""
    most: int = 1
    """Attempts that it may use up."""
    overtaken: bool = False
    """As in ``EarlierTries``."""
    attempts: int = 0
    put_off: int = 0
    """Attempts that only met a limit of the receiver's rate."""
    unsent: int = 0
    """Attempts without a connection."""
    unanswered: bool = False
    dropped: bool = False
    """Whether the receiver closed a new connection while it took others."""
    failing_since: float | None = None
    place: int = 0
    mark: FailureOrder | None = None
    alone: bool = False
    answer: Answer | None = field(default=None, repr=False)


class Sender:
    """The sender of one run: an asynchronous context manager.

    It asks ``may_send`` before every request; False stops it. ``secrets`` are those of ``failure_text.reason``. Where
    ``rules`` fit an answer they apply in place of ``policy.classify_response``.
    """

    def __init__(
        self,
        transport: Transport,
        limits: SendLimits,
        may_send: Callable[[], bool],
        events: Events = NOBODY,
        secrets: Collection[str] = (),
        rules: ResponseRules = NO_RULES,
    ) -> None:
        self.stopped: str | None = None
        self.delivered = 0
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._limits = limits
        self._may_send = may_send
        self._events = events
        self._secrets = secrets
        self._rules = rules
        self._breaker = CircuitBreaker(limits.breaker_failures, limits.max_attempts)
        self.gate = Gate(
            limits.max_connections,
            timeout_seconds=limits.timeout_seconds,
            adaptive=limits.adaptive,
            per_second=limits.requests_per_second,
            shared=limits.rate_is_shared,
        )
        # Incidents that never failed come first: they show soonest whether the service takes anything, and refused ones
        # hold none up. Among them the oldest: one that was put off goes out again before all that came since.
        self._queue: asyncio.PriorityQueue[tuple[bool, int, int, _Job]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._clear = asyncio.Event()  # set while there is no probing
        self._clear.set()
        self._stopping = asyncio.Event()
        self._delayed: dict[_Job, asyncio.TimerHandle] = {}
        self._at_work_at: float | None = None
        """When the receiver last answered a request for its own sake, by the loop's clock in seconds."""
        self._asked_to_wait = 0.0
        self._throttled_since: float | None = None
        """Since when the receiver has only rejected requests for its rate."""
        self._places = itertools.count()
        self._not_overtaken: set[FailureOrder] = set()
        self._ids_in_use: dict[str, FailureOrder] = {}
        """By key, the marks of incidents whose Incident_Id another incident has."""
        self._is_last = False
        """Whether this is the last try of this run for incidents that failed before."""
        self._fault: Exception | None = None
        self._failed: tuple[Answer, bytes] | None = None  # the last failure that may be the service's, and its body
        self._tasks: set[asyncio.Task[None]] = set()
        self._chance = random.Random()  # noqa: S311  # jitter, not a secret

    def share(self, gate: Gate) -> None:
        """Send through a gate that other senders use too; call it before the sender starts."""
        self.gate = gate

    async def __aenter__(self) -> "Sender":
        """Start the workers."""
        for _ in range(self._limits.max_connections):
            self._start(self._work())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop the workers; incidents that they still have stay without an answer."""
        for handle in self._delayed.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def broken(self) -> bool:
        """True when the circuit breaker stopped the sender."""
        return self._breaker.circuit is CircuitState.OPEN

    @property
    def circuit(self) -> CircuitState:
        """How freely the service lets it send: open and closed as ``broken`` and ``well`` say, else probing."""
        return CircuitState.OPEN if self.broken else CircuitState.CLOSED if self.well else CircuitState.PROBING

    @property
    def sending(self) -> Sending:
        """How requests go out just now."""
        per_second = self.gate.rate.per_second
        return Sending(
            in_flight=self.gate.in_flight, limit=self.gate.limit, per_second=per_second if per_second < inf else None
        )

    @property
    def failure(self) -> str | None:
        """Why the last request failed that the service may have caused; None where there is none."""
        return None if self._failed is None else self.reason_of(*self._failed)

    @property
    def well(self) -> bool:
        """False where requests fail across accounts and the receiver took none, or takes none any more."""
        return self._breaker.circuit is CircuitState.CLOSED or (self.delivered > 0 and not self.broken)

    def reason_of(self, answer: Answer, body: bytes) -> str:
        """Return why an attempt with this body failed, without the sender's secrets; see ``failure_text.reason``."""
        return reason(answer, body, self._secrets)

    def stop(self, reason: str) -> None:
        """Start no further request. Requests under way end; ``deliver`` returns waiting incidents as they are."""
        if self.stopped is not None:
            return
        self.stopped = reason
        self._stopping.set()
        for job, handle in list(self._delayed.items()):
            handle.cancel()
            self._finish(job, ResponseClass.RETRY)
        self._delayed.clear()
        self._clear.set()
        while not self._queue.empty():
            self._give_back(self._queue.get_nowait()[-1])

    async def deliver(
        self,
        incidents: Sequence[Incident],
        *,
        resumed: bool,
        once: bool = False,
        before: Mapping[int, EarlierTries] | None = None,
    ) -> list[SendResult]:
        """Send the incidents and return how far each got, in the order in which they ended.

        A fault of this program during the sending is raised here, once nothing is under way any more.

        Args:
            incidents: They go out in random order, so that rejected ones that stand together do not look
                like a failing service.
            resumed: An earlier run may have sent them, except those that it has recorded as not arrived; so 409 means
                delivered.
            once: Try each only once.
            before: By Incident_Id, the earlier tries of this run. Each incident gets the attempts that are left to it,
                at least one, and this is its last try.
        """
        results: list[SendResult] = []
        if not incidents:
            return results
        all_done = asyncio.get_running_loop().create_future()
        expected = len(incidents)
        self._is_last = before is not None

        def done(result: SendResult) -> None:
            results.append(result)
            if len(results) == expected and not all_done.done():
                all_done.set_result(None)

        mixed = list(incidents)
        self._chance.shuffle(mixed)
        for incident in mixed:
            earlier = before.get(incident.incident_id) if before else None
            left = self._limits.max_attempts - (earlier.attempts if earlier else 0)
            job = _Job(
                incident,
                next(self._numbers),
                resumed and incident.may_have_arrived,
                done,
                left_over=resumed,
                most=1 if once else max(1, left),
                overtaken=earlier is not None and earlier.overtaken,
                unanswered=resumed and incident.in_doubt,
            )
            if self.stopped is None:
                self._put(job)
            else:
                self._give_back(job)
        await all_done
        if self._fault is not None:
            raise self._fault
        return results

    async def _work(self) -> None:
        gate, queue = self.gate, self._queue
        at_work = False
        try:
            while True:
                # It awaits only where it must wait: needless awaits took a third of a request's time on the loop.
                if not self._clear.is_set():
                    if at_work:
                        at_work = False
                        gate.leave()
                    await self._clear.wait()
                if at_work and gate.at_work > gate.limit:
                    at_work = False
                    gate.leave()
                if not at_work:
                    await gate.wait_to_enter()
                    at_work = True
                if queue.empty():
                    at_work = False
                    gate.leave()  # a worker without an incident keeps no other from sending
                    *_, job = await queue.get()
                    at_work = gate.enter()
                else:
                    *_, job = queue.get_nowait()
                if self.stopped is None and not (at_work and self._clear.is_set()):
                    self._put(job)  # there is no room, or the probing has begun: leave the job to the probe
                    continue
                await self._attempt(job, probe=False)
        finally:
            if at_work:
                gate.leave()

    async def _attempt(self, job: _Job, *, probe: bool) -> None:
        gate = self.gate
        try:
            if gate.rate.limited:
                await gate.turn(self._stopping)
            if not self._may_go(job, probe=probe):
                gate.give_turn_back()
                return
            may_have_arrived = job.may_have_arrived or job.attempts > job.unsent
            job.attempts += 1
            # A receiver that drops one kept connection drops all of them.
            fresh = job.answer is not None and job.answer.status is None
            window, epoch = gate.start(), gate.rate.epoch
            self._events.emit(AttemptStarted, job.incident.incident_id)
            try:
                job.answer = answer = await self._transport.post(
                    job.incident.body, job.incident.key, self._may_send, fresh=fresh
                )
            except BaseException:
                gate.unanswered(window, epoch)
                raise
            verdict = self._verdict(answer, may_have_arrived=may_have_arrived)
            self._tell_gate(job, answer, verdict, window, epoch)
            number = job.incident.incident_id
            self._events.emit(Attempted, number, answer.status, answer.error, answer.seconds, verdict.value)
            job.unsent += answer.unsent
            if answer.unsent and not self._may_send():  # the lease was lost before there was a connection
                self.stop("the lease was lost")
                self._give_back(job)
                return
            if verdict is ResponseClass.DELIVERED:
                self._breaker.success()
                self.delivered += 1
                self._throttled_since = None
                if job.dropped:
                    self.gate.rate.not_the_record()
                if self._not_overtaken:
                    self._overtake(job.place)
                self._finish(job, verdict)
            else:
                self._not_delivered(job, answer, verdict, probe=probe)
        except Exception as exc:  # else the worker would die and leave ``deliver`` waiting for ever
            self._fault = exc
            self.stop("a fault of the program")
            self._give_back(job)

    def _may_go(self, job: _Job, *, probe: bool) -> bool:
        """Return whether the job may be sent now; if not, put it back into the queue or finish it."""
        if self.stopped is None and not self._may_send():
            self.stop("the lease was lost")
        if self.stopped is not None:
            self._give_back(job)
            return False
        if not (probe or self._clear.is_set()):  # the probing began while this worker waited for its turn
            self._put(job)
            return False
        job.place = next(self._places)
        job.overtaken |= job.mark is not None and job.mark.overtaken
        return True

    def _verdict(self, answer: Answer, *, may_have_arrived: bool) -> ResponseClass:
        if answer.lacking:
            return ResponseClass.THROTTLED  # fewer at once, and nothing counts against the record
        if answer.status is not None and answer.status != 429 and answer.status not in GATEWAY:
            self._at_work_at = self._loop.time()
        rule = self._rules.fitting(answer.status, answer.excerpt)
        if rule is not None:
            return rule.verdict
        others_taken = answer.status == 503 and self._is_at_work()
        return classify_response(answer.status, may_have_arrived=may_have_arrived, others_taken=others_taken)

    def _tell_gate(self, job: _Job, answer: Answer, verdict: ResponseClass, window: int, epoch: int) -> None:
        """Tell the gate how the request of this window and epoch ended."""
        if answer.status is None:
            too_many = answer.lacking or (answer.error == TIMED_OUT and not answer.unsent)
            # Receivers limit the rate, or the connections, also by closing what is too much (nginx' status 444). The
            # end of a kept connection shows nothing.
            is_telling = answer.new_connection and job.attempts <= TELLING
            dropped = is_telling and answer.error in DROPPED and self._is_at_work(DROPPING_SECONDS)
            job.dropped |= dropped
            self.gate.unanswered(window, epoch, too_many=too_many, dropped=dropped)
        elif verdict is not ResponseClass.THROTTLED:
            self.gate.answered(window, epoch, answer.seconds)
        elif job.put_off < TELLING:
            self.gate.throttled(window, epoch, self._asked_pause(answer), sure=answer.status == 429)
        else:
            self.gate.unanswered(window, epoch)

    def _not_delivered(self, job: _Job, answer: Answer, verdict: ResponseClass, *, probe: bool) -> None:
        job.unanswered |= answer.status is None and not answer.unsent
        if verdict is ResponseClass.THROTTLED:
            self._put_off(job, answer)
            return
        if verdict is ResponseClass.DEAD:
            self._breaker.success()  # the receiver answers as a rule expects
            self._finish(job, verdict)
            return
        # Another incident may have an id, or all ids of a block; that it has the new one too is no accident.
        is_accident = verdict is ResponseClass.ID_IN_USE and job.incident.key not in self._ids_in_use
        self._set_mark(job, verdict)
        if not is_accident:
            self._failed = answer, job.incident.body
            self._note_failure(job, answer, probe=probe)
        job.alone |= job.overtaken
        if verdict is ResponseClass.RETRY:
            self._again_or_finish(job, answer)
        else:
            self._finish(job, verdict)

    def _set_mark(self, job: _Job, verdict: ResponseClass) -> None:
        """Remember the place of the first failure; one mark serves all ids that the incident is given."""
        if job.mark is None:
            job.mark = self._ids_in_use.get(job.incident.key) or FailureOrder(job.place)
            job.mark.in_spell |= self._breaker.circuit is CircuitState.PROBING
            if not job.mark.overtaken:
                self._not_overtaken.add(job.mark)
        if verdict is ResponseClass.ID_IN_USE:
            self._ids_in_use.setdefault(job.incident.key, job.mark)

    def _overtake(self, place: int) -> None:
        """Mark each failed incident that was sent before the one that the receiver took just now."""
        for mark in [mark for mark in self._not_overtaken if mark.place < place]:
            mark.overtaken = True
            self._not_overtaken.discard(mark)

    def _is_at_work(self, within: float = TAKING_SECONDS) -> bool:
        """Return whether the receiver answered a request for its own sake a moment ago."""
        if self._at_work_at is None:
            return False
        return self._loop.time() - self._at_work_at <= within + 2 * self._asked_to_wait

    def _put_off(self, job: _Job, answer: Answer) -> None:
        """Queue an incident again that met a limit of the rate, which uses up no attempt; stop where all meet it."""
        now = self._loop.time()
        job.put_off += 1
        self._asked_to_wait = self._asked_pause(answer) or 0.0
        if self._throttled_since is None:
            self._throttled_since = now
        is_over = now + self.gate.pause() - self._throttled_since > self._limits.retry_seconds
        if is_over and self.delivered and self._queue.empty():  # all others were taken, or have failed
            self._finish(job, ResponseClass.THROTTLED)
            return
        if is_over:
            self._failed = answer, job.incident.body
            self.stop(answer.error or "" if answer.lacking else throttling(self.failure or ""))
        if self.stopped is not None:
            self._finish(job, ResponseClass.RETRY)
        elif job.put_off <= TELLING and not answer.lacking:
            self._put(job)
        else:
            pause = max(self._asked_pause(answer) or 0.0, backoff(job.put_off, self._chance.random()))
            self._delayed[job] = self._loop.call_later(pause, self._requeue, job)

    def _note_failure(self, job: _Job, answer: Answer, *, probe: bool) -> None:
        if probe:
            return  # the probing itself counts it
        if job.incident.runs and answer.status is not None and answer.status not in GATEWAY:
            return  # an earlier run has seen it fail while the receiver took others: no news
        self._breaker.failure(job.incident.account)
        if self._breaker.circuit is CircuitState.PROBING and self._clear.is_set() and self.stopped is None:
            self._clear.clear()
            for mark in self._not_overtaken:
                mark.in_spell = True
            self._start(self._probe())

    async def _probe(self) -> None:
        """Send a few at a time, with growing pauses, until the receiver takes one or the circuit opens.

        Only incidents that never failed before show whether the service fails. Where the receiver takes none of a round
        of others, all of these are put aside until the end of the run; there the probing takes more rounds.
        """
        rounds, spent, asked = 0, 0.0, 0.0
        while self._breaker.circuit is CircuitState.PROBING and self.stopped is None:
            pause = max(asked, backoff(rounds + 1, self._chance.random()))
            spent += pause
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self.stopped is not None:
                break
            jobs = await self._sample(rounds)
            tell = not all(map(self._is_stale, jobs))
            await self._try_all(jobs)
            if self._breaker.circuit is not CircuitState.PROBING or self.stopped is not None:
                break
            answers = [job.answer for job in jobs if job.answer is not None]
            asked = max([self._asked_pause(answer) or 0.0 for answer in answers], default=0.0)
            if any(answer.status == 429 for answer in answers):
                continue  # it may yet take the ones that it has put off
            rounds += 1
            too_long = spent > self._limits.retry_seconds
            if tell:
                self._breaker.probe_failed()
                if too_long:
                    self._breaker.give_up()
            elif too_long or not self._is_last or rounds >= self._limits.max_attempts:
                self._put_aside()
                rounds, spent, asked = 0, 0.0, 0.0
        if self._breaker.circuit is CircuitState.OPEN:
            self.stop(broken(self.failure))
        self._clear.set()

    async def _sample(self, rounds: int) -> list[_Job]:
        """Take the next few jobs out of the queue, those that never failed first.

        Once the service has taken something, it may yet refuse many accounts in a row: each round then asks more.
        """
        *_, first = await self._queue.get()
        jobs = [first]
        size = self._limits.breaker_failures * (2**rounds if self.delivered else 1)
        while len(jobs) < size and not self._queue.empty():
            failed_before, *_, job = self._queue.get_nowait()
            if failed_before and not self._is_stale(first):
                self._put(job)
                break
            jobs.append(job)
        return jobs

    async def _try_all(self, jobs: Sequence[_Job]) -> None:
        """Send each once, at most ``max_connections`` at a time, until the receiver takes one."""
        most = self._limits.max_connections
        for start in range(0, len(jobs), most):
            if self._breaker.circuit is CircuitState.PROBING:
                await asyncio.gather(*(self._attempt(job, probe=True) for job in jobs[start : start + most]))
            else:
                for job in jobs[start : start + most]:
                    self._put(job)

    def _put_aside(self) -> None:
        """Finish the incidents that failed before with what is known of them; the others stay."""
        for job, handle in list(self._delayed.items()):
            if self._is_stale(job):
                handle.cancel()
                del self._delayed[job]
                self._finish(job, ResponseClass.RETRY)
        fresh = []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if item[0]:
                self._give_back(item[-1])
            else:
                fresh.append(item)
        for item in fresh:
            self._queue.put_nowait(item)

    @staticmethod
    def _is_stale(job: _Job) -> bool:
        """Return whether it failed before, in this run or an earlier one: it then shows nothing about the service."""
        return job.attempts > job.put_off or job.left_over

    def _put(self, job: _Job) -> None:
        if self.stopped is not None:
            self._give_back(job)
            return
        # Behind as many others as may be under way: they show whether the limit concerns the rate or this record.
        place = job.number + job.put_off * self._limits.max_connections
        self._queue.put_nowait((self._is_stale(job), place, job.number, job))

    def _asked_pause(self, answer: Answer | None) -> float | None:
        if answer is None:
            return None
        return retry_after(answer.retry_after, datetime.now(UTC), self._limits.retry_after_cap_seconds)

    def _again_or_finish(self, job: _Job, answer: Answer) -> None:
        loop = self._loop
        failed = job.attempts - job.put_off
        pause = self._asked_pause(answer)
        if pause is None:
            pause = backoff(failed, self._chance.random())
        if job.failing_since is None:
            job.failing_since = loop.time()
        too_late = loop.time() + pause - job.failing_since > self._limits.retry_seconds
        if failed >= job.most or too_late or self.stopped is not None:
            self._finish(job, ResponseClass.RETRY)
        else:
            self._delayed[job] = loop.call_later(pause, self._requeue, job)

    def _requeue(self, job: _Job) -> None:
        self._delayed.pop(job, None)
        self._put(job)

    def _give_back(self, job: _Job) -> None:
        self._finish(job, ResponseClass.RETRY if job.attempts else None)

    def _finish(self, job: _Job, verdict: ResponseClass | None) -> None:
        job.done(
            SendResult(
                incident=job.incident,
                verdict=verdict,
                attempts=job.attempts,
                unsent=job.unsent,
                unanswered=job.unanswered,
                answer=job.answer,
                mark=job.mark,
                alone=job.alone,
                at=datetime.now(UTC),
            )
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
