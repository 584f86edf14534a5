"""Receivers in simulated time, and a client that keeps as many requests under way as a controller allows.

Nothing here waits: an hour of a slow receiver passes in a second of the test, and the same seed gives the same history.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

Service = Callable[[float, int], float]
"""Seconds that one request is worked on, by the time in seconds and the requests at the receiver."""


class Controller(Protocol):
    """Decides how many requests may be under way (``delivery.concurrency``)."""

    @property
    def limit(self) -> int: ...

    def start(self) -> int: ...

    def answered(self, window: int, seconds: float) -> None: ...

    def refused(self, window: int) -> None: ...


def constant(seconds: float) -> Service:
    return lambda _now, _load: seconds


def exponential(mean: float, seed: int = 1) -> Service:
    chance = Random(seed)
    return lambda _now, _load: chance.expovariate(1 / mean)


def lognormal(median: float, sigma: float, seed: int = 1) -> Service:
    chance = Random(seed)
    return lambda _now, _load: chance.lognormvariate(math.log(median), sigma)


def jumping(before: float, after: float, when: float) -> Service:
    return lambda now, _load: before if now < when else after


def collapsing(seconds: float, load: int) -> Service:
    """Work that takes longer the more requests are there beyond ``load``: what is done a second falls."""
    return lambda _now, there: seconds * max(1.0, there / load) ** 2


@dataclass
class Run:
    """What a simulation showed. Seconds; ``in_flight`` is the mean over time."""

    seconds: float = 0.0
    answered: int = 0
    lost: int = 0
    in_flight: float = 0.0
    most_in_flight: int = 0
    longest: float = 0.0
    limits: list[tuple[float, int]] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds


def simulate(
    controller: Controller,
    service: Service,
    *,
    workers: int,
    requests: int,
    way: float = 0.0005,
    timeout: float = 30.0,
) -> Run:
    """Send ``requests`` to ``workers`` with a queue before them; ``way`` is the network's time there and back.

    A request that takes longer than ``timeout`` is lost to the client, and worked on nevertheless.
    """
    simulation = _Simulation(controller, service, workers, way / 2, timeout)
    while simulation.send(requests):
        simulation.step()
    return simulation.run


class _Simulation:
    def __init__(self, controller: Controller, service: Service, workers: int, way: float, timeout: float) -> None:
        self.run = Run()
        self._controller = controller
        self._service = service
        self._free = workers
        self._way = way
        self._timeout = timeout
        self._now = self._area = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[int], None], int]] = []
        self._begun: dict[int, tuple[float, int]] = {}
        self._queue: deque[int] = deque()
        self._there = self._sent = 0

    def send(self, requests: int) -> bool:
        """Send as many as may be under way; False when all are done."""
        while len(self._begun) < self._controller.limit and self._sent < requests:
            self._begun[self._sent] = (self._now, self._controller.start())
            self._at(self._way, self._arrives, self._sent)
            self._at(self._timeout, self._late, self._sent)
            self._sent += 1
            self.run.most_in_flight = max(self.run.most_in_flight, len(self._begun))
        return bool(self._begun)

    def step(self) -> None:
        """Process the next event."""
        when, _, what, request = heapq.heappop(self._events)
        self._area += len(self._begun) * (when - self._now)
        self._now = when
        what(request)

    def _at(self, after: float, what: Callable[[int], None], request: int) -> None:
        heapq.heappush(self._events, (self._now + after, next(self._numbers), what, request))

    def _arrives(self, request: int) -> None:
        self._there += 1
        self._queue.append(request)
        self._work()

    def _work(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            self._at(self._service(self._now, self._there), self._done, self._queue.popleft())

    def _done(self, request: int) -> None:
        self._free += 1
        self._there -= 1
        self._work()
        self._at(self._way, self._answer, request)

    def _answer(self, request: int) -> None:
        if request in self._begun:
            started, window = self._begun.pop(request)
            self.run.answered += 1
            self.run.longest = max(self.run.longest, self._now - started)
            self._controller.answered(window, self._now - started)
            self._note()

    def _late(self, request: int) -> None:
        if request in self._begun:
            self.run.lost += 1
            self._controller.refused(self._begun.pop(request)[1])
            self._note()

    def _note(self) -> None:
        self.run.seconds = self._now
        self.run.in_flight = self._area / self._now
        if not self.run.limits or self.run.limits[-1][1] != self._controller.limit:
            self.run.limits.append((self._now, self._controller.limit))


class Fixed:
    """A fixed number of requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def start(self) -> int:
        return 0

    def answered(self, window: int, seconds: float) -> None:
        pass

    def refused(self, window: int) -> None:
        pass
