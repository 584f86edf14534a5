"""The network between runners and receiver: it loses, delays and fails requests and answers."""

from incident_process.delivery.http.transport import Answer, MaySend, always
from tests.model.invariant_checker import InvariantChecker
from tests.model.process import Port, Process
from tests.model.receiver import MOODS, WORDS, Answered, Receiver, read
from tests.model.world import World

FAULTS = ("unsent", "lost", "unanswered", "late", "500", "503", "429", "500 stored", "foreign")
"""Faults of a request: no connection; the request is lost; the answer is lost; the request arrives after the sender
gave up; the receiver fails before or after it stores the body; another program has used the Incident_Id before."""

ANSWER_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0


class Requests(Port):
    """One process's ``Transport``."""

    def __init__(self, process: Process, world: World, receiver: Receiver, checker: InvariantChecker) -> None:
        super().__init__(process, world.post_faults)
        self._world = world
        self._receiver = receiver
        self._checker = checker

    async def post(self, body: bytes, key: str | None, _may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        """Post the body once, over a connection that is there already."""
        if key is None:
            await self.process.pause()
            return self._answer_of(self._receiver.weather.answer(self._world.elapsed) or Answered(self._mood))
        incident = read(body)
        first = self._checker.check_request(self.process, incident, body)
        await self.process.pause()
        fault = self._faults.popleft() if self._faults else ""
        if fault == "foreign" and first:
            self._receiver.foreign.add(incident.incident_id)
        if fault == "late":
            self._receiver.in_the_network.append((body, key))
            await self.process.wait(TIMEOUT_SECONDS)
        if fault in {"unsent", "lost", "late"}:
            return self._answer(None, unsent=fault == "unsent")
        if fault in {"500", "503", "429"}:
            await self.process.pause()
            return self._answer(int(fault))
        told = self._receiver.weather.answer(self._world.elapsed)
        status = 0 if told is not None else self._receiver.answer(body, key)
        if status == 409 and not first and incident.incident_id in self._receiver.foreign:
            self._checker.excuse(incident.account)
        await self.process.wait(ANSWER_SECONDS if fault == "unanswered" else 0.0)
        if told is None and fault == "unanswered":
            told = Answered(None)
        if told is not None:
            return self._answer_of(told)
        if incident.account in self._receiver.refuses and status >= 400:
            return self._answer_of(Answered(status, excerpt=WORDS))
        return self._answer(500 if fault == "500 stored" else status)

    @property
    def _mood(self) -> int:
        return MOODS[self._receiver.mood]

    @staticmethod
    def _answer_of(told: Answered) -> Answer:
        error = "made up" if told.status is None else None
        return Answer(status=told.status, seconds=0.0, error=error, retry_after=told.retry_after, excerpt=told.excerpt)

    @staticmethod
    def _answer(status: int | None, *, unsent: bool = False) -> Answer:
        error = "made up" if status is None else None
        asked = "7" if status in {429, 503} else None
        return Answer(status=status, seconds=0.0, error=error, unsent=unsent, retry_after=asked)
