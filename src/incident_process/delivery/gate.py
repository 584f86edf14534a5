"""Lets requests out: no more at once than helps, no faster than the receiver takes them (SPEC 5).

``concurrency`` and ``rate_limiter`` decide; senders wait here for their decisions. One gate serves all senders of a
process that reach the same receiver.
"""

import asyncio
from collections import deque
from contextlib import suppress
from math import inf

from incident_process.delivery.concurrency import ConcurrencyController
from incident_process.delivery.rate_limiter import RateLimiter

LOOK_SECONDS = 0.01
"""Seconds between two checks for the answer to a trial request, while others wait for it."""


class Gate:
    """The gate of one event loop.

    ``limit`` is how many senders may be at work at once: a fixed number unless the gate is adaptive. A sender is at
    work from ``enter`` to ``leave``; ``in_flight`` of them wait for an answer.
    """

    def __init__(
        self, most: int, *, timeout_seconds: float, adaptive: bool, per_second: float = 0.0, shared: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._timeout = timeout_seconds
        self._controller = ConcurrencyController(most, timeout_seconds) if adaptive else None
        self.rate = RateLimiter(per_second, self._loop.time(), shared=shared)
        self.limit = self._controller.limit if self._controller else most
        self.at_work = 0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turns = asyncio.Lock()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._in_flight if self._controller is None else self._controller.in_flight

    def allow(self, most: int) -> None:
        """Set how many may be at work at once, at most."""
        if most != self._most:
            self._most = most
            if self._controller is not None:
                self._controller.allow(most)
            self._follow()

    def enter(self) -> bool:
        """Start to be at work, if there is room; return whether there was."""
        if self.at_work >= self.limit:
            return False
        self.at_work += 1
        return True

    async def wait_to_enter(self) -> None:
        """Start to be at work as soon as there is room; waiters enter in the order of asking."""
        while not self.enter():
            turn = self._loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()
                raise

    def leave(self) -> None:
        """Stop being at work."""
        self.at_work -= 1
        self._wake()

    async def turn(self, stopping: asyncio.Event) -> None:
        """Wait until the rate allows one more request, or ``stopping`` is set."""
        async with self._turns:
            while not stopping.is_set():
                now = self._loop.time()
                wait = self.rate.wait(now)
                if wait <= 0:
                    self.rate.sent(now)
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_SECONDS if wait == inf else wait)

    def start(self) -> int:
        """Note that a request is sent, and return its window for the method that notes its end."""
        if self._controller is None:
            self._in_flight += 1
            return 0
        return self._controller.start()

    def pause(self) -> float:
        """Return the seconds until the next request may go, 0 where that is not known."""
        wait = self.rate.wait(self._loop.time())
        return 0.0 if wait == inf else wait

    def give_turn_back(self) -> None:
        """Note that no request was sent after ``turn``: another sender may use the turn."""
        self.rate.lost(self._loop.time(), self.rate.epoch)

    def answered(self, window: int, epoch: int, seconds: float) -> None:
        """Note the end of a request by an answer after so many seconds, other than a rejection for the rate."""
        self.rate.taken(self._loop.time(), epoch)
        if self._controller is None:
            self._in_flight -= 1
        else:
            self._controller.answered(window, seconds)
            if self._controller.limit != self.limit:
                self._follow()

    def throttled(self, window: int, epoch: int, asked: float | None, *, sure: bool) -> None:
        """Note that a request was rejected for its rate; ``asked`` and ``sure`` as in ``RateLimiter.throttled``."""
        self.rate.throttled(self._loop.time(), epoch, asked, sure=sure)
        self._refused(window)

    def unanswered(self, window: int, epoch: int, *, too_many: bool = False, dropped: bool = False) -> None:
        """Note the end of a request without an answer.

        ``too_many``: because too many were under way. ``dropped``: the receiver closed the connection, which may be its
        way to limit the rate, or the connections.
        """
        if dropped and self.rate.heeds_doubt:
            too_many = True
            self.rate.throttled(self._loop.time(), epoch, sure=False)
        else:
            self.rate.lost(self._loop.time(), epoch)
        if too_many:
            self._refused(window)
        elif self._controller is None:
            self._in_flight -= 1
        else:
            self._controller.ended(window)

    def _refused(self, window: int) -> None:
        if self._controller is None:
            self._in_flight -= 1
        else:
            self._controller.refused(window)
            self._follow()

    def _follow(self) -> None:
        self.limit = self._most if self._controller is None else self._controller.limit
        self._wake()

    def _wake(self) -> None:
        """Wake as many waiters as there is room for."""
        room = self.limit - self.at_work
        while room > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1
