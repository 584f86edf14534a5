"""Rate limits as receivers have them, and a client of theirs in simulated time."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from incident_process.delivery.rate_limiter import RateLimiter


class Limit(Protocol):
    """Decides at a time, in seconds, whether one more request is taken."""

    def takes(self, now: float) -> bool: ...


class CalendarSecond:
    """A number of requests in each second of the clock, counted from ``phase`` on."""

    def __init__(self, per_second: int, phase: float = 0.0, seconds: float = 1.0) -> None:
        self._most, self._phase, self._seconds = per_second, phase, seconds
        self._second, self._count = -1, 0

    def takes(self, now: float) -> bool:
        second = math.floor((now + self._phase) / self._seconds)
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._most


class SlidingWindow:
    """A number of requests in any second; ``strict``: rejected ones count as well."""

    def __init__(self, per_second: int, *, strict: bool = False) -> None:
        self._most, self._strict = per_second, strict
        self._log: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self._log and self._log[0] <= now - 1:
            self._log.popleft()
        takes = len(self._log) < self._most
        if takes or self._strict:
            self._log.append(now)
        return takes


class TokenBucket:
    """A bucket of ``burst``, filled at a rate a second. With a burst of one it leaks evenly."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate, self._burst = per_second, burst
        self._tokens, self._at = float(burst), 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Ban:
    """Another limit, and no request accepted for some seconds after a client exceeded it."""

    def __init__(self, limit: Limit, seconds: float) -> None:
        self._limit, self._seconds, self._until = limit, seconds, -1.0

    def takes(self, now: float) -> bool:
        if now < self._until:
            return False
        if self._limit.takes(now):
            return True
        self._until = now + self._seconds
        return False


class ConcurrencyLimit:
    """A limit of requests at a time, each of which takes ``seconds``; not a rate."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._ends: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        if len(self._ends) >= self._most:
            return False
        self._ends.append(now + self._seconds)
        return True


@dataclass
class RateResult:
    """The result: seconds until the receiver accepted all requests, and the number of rejected ones."""

    seconds: float
    rejected: int


def send_all(
    limit: Limit,
    requests: int,
    *,
    limiter: RateLimiter | None = None,
    at_once: int = 64,
    latency: float = 0.02,
    asked: Callable[[float], float | None] = lambda _: None,
    late: float = 0.001,
    patience: float = 3600.0,
) -> RateResult:
    """Send until all are taken, ``at_once`` of them under way; timers fire ``late`` seconds late."""
    limiter = limiter or RateLimiter(0, 0.0)
    numbers = itertools.count()
    answers: list[tuple[float, int, int, bool, float | None]] = []
    now, left, under_way, rejected = 0.0, requests, 0, 0
    while left or under_way:
        wait = limiter.wait(now) if limiter.limited else 0.0
        if left and under_way < at_once and wait <= 0:
            limiter.sent(now)
            taken = limit.takes(now + latency / 2)
            left, under_way = left - 1, under_way + 1
            heapq.heappush(answers, (now + latency, next(numbers), limiter.epoch, taken, asked(now + latency / 2)))
            continue
        if answers and (not left or under_way >= at_once or answers[0][0] <= now + wait):
            now, _, epoch, taken, pause = heapq.heappop(answers)
            under_way -= 1
            if taken:
                limiter.taken(now, epoch)
            else:
                left, rejected = left + 1, rejected + 1
                limiter.throttled(now, epoch, pause)
        else:
            now += wait + late
        assert now < patience, "never done"
    return RateResult(now, rejected)
