"""How many requests may be under way at once: more while that helps, fewer when they only queue (SPEC 5). Pure.

The scheme is the gradient limit of Netflix' concurrency-limits: the limit follows ``in flight * unloaded / present
latency``, the requests that the receiver works on at once, with room for a short queue.
docs/decisions/0023-adaptive-concurrency.md says why this scheme, and what differs here.
"""

from math import sqrt

START = 4
"""Requests at first; fewer where one worker that takes a second for each could not answer them in time (``_first``)."""
GROWTH = 4
"""Factor by which the limit grows with each round of answers during the start, until a queue shows."""
GROWS_TO = 1.25
"""Multiple of the unloaded latency that ends the start."""
DOUBT = 0.25
"""Largest standard error of the unloaded latency that counts, as a fraction of it."""
TOLERANCE = 1.6
"""Multiple of the unloaded latency up to which the limit stays: a short queue keeps the receiver's workers busy."""
NOTICED_SECONDS = 0.010
"""Seconds; a shorter queue does not count: its cause is this process' own event loop, not the receiver."""
ROOM = 1
"""Requests added to each new limit, so that a limit of one can grow."""
TEST_AT = 0.75
"""Fraction of its former value to which the limit must fall to test for a queue: latency then falls with it."""
PROBE_AT = 0.75
"""Fraction of the receiver's apparent concurrency at which its unloaded latency is measured anew."""
USED = 0.75
"""Fraction of the limit that must be in use before the limit may grow."""
SMALL_WINDOW, LARGE_WINDOW = 8, 64
"""Answers in a window after the start, least and most: the more they vary, the more are needed."""
PROBE_WINDOW = 4
"""Least answers in a window while the limit is lowered to measure the unloaded latency, which costs throughput."""
ERROR, START_ERROR = 0.15, 0.25
"""Largest relative standard error at which a mean is good enough: after the start, and during it."""
MISSING = 2.0
"""Standard deviations above the mean that are assumed for a window's last requests, for which it does not wait."""
FIRST_PROBE, LAST_PROBE = 4, 256
"""Windows between two measurements of the unloaded latency, least and most: doubled by each that shows nothing new."""
UNQUEUED_PROBE = 16
"""Least windows between two measurements while no queue shows: a measurement costs some throughput."""
SHORTEST_SECONDS = 1e-6
"""Least seconds that an answer counts for: less than any clock can measure."""
PATIENCE, IMPATIENCE = 0.5, 0.8
"""Fractions of the time-out: the longest time that a request should be expected to take, and that it may take."""


class ConcurrencyController:
    """The limit for one receiver. It has no clock and does no I/O; one event loop asks it and reports to it.

    A window is a number of requests sent one after the other under one limit; it ends when nearly all of them are
    answered. A window of the first answers instead would see only the quick requests.
    """

    def __init__(self, most: int, timeout_seconds: float) -> None:
        self.limit = _first(most, timeout_seconds)
        """Requests that may be under way now."""
        self.in_flight = 0
        """Requests that are under way."""
        self._most = most
        self._timeout = timeout_seconds
        self._slow = timeout_seconds * PATIENCE
        self._unloaded: float | None = None
        self._doubt = 0.0  # its standard error
        self._starting = True
        self._window = 0
        self._size = self.limit
        self._sent = self._count = self._flights = 0
        self._seconds = self._squares = self._longest = 0.0
        self._enough = _nearly(self._size)
        self._grew = True  # in the last window: queues have not yet reached their length
        self._fell_from: tuple[float, float] | None = None  # in flight, and the latency
        self._probing: int | None = None  # the limit to return to
        self._probe_after = FIRST_PROBE
        self._since_probe = 0

    def allow(self, most: int) -> None:
        """Set the upper bound of the limit."""
        self._most = most
        self.limit = min(self.limit, most)

    def start(self) -> int:
        """Note that a request is sent, and return the window that it belongs to; -1 for none."""
        self.in_flight += 1
        if self._sent == self._size:
            return -1
        self._sent += 1
        return self._window

    def answered(self, window: int, seconds: float) -> None:
        """Note an answer after so many seconds that shows how long the receiver takes."""
        in_flight = self.in_flight
        self.in_flight = in_flight - 1
        if window == self._window:
            self._count += 1
            self._flights += in_flight
            self._seconds += seconds
            self._squares += seconds * seconds
            self._longest = max(self._longest, seconds)
            if self._count >= self._enough:
                self._judge()
        if seconds > self._slow:
            self._answered_late(seconds)

    def refused(self, window: int) -> None:
        """Note a request that timed out or was rejected as one too many: halve the limit, once a window."""
        self.in_flight -= 1
        if window == self._window:
            self._starting = False
            self._fell_from = self._probing = None
            self._turn(max(1, self.limit // 2))

    def ended(self, window: int) -> None:
        """Note the end of a request that shows nothing about the limit."""
        self.in_flight -= 1
        if window == self._window:
            self._sent -= 1  # another one takes its place in the window

    def _answered_late(self, seconds: float) -> None:
        """Lower the limit by one after a request queued for so long that the next ones may time out."""
        if self._unloaded is not None and seconds > TOLERANCE * self._unloaded:
            self._starting = False
            self.limit = max(1, min(self.limit, self.in_flight))

    def _judge(self) -> None:
        """Set the limit by a window, if its mean is good enough."""
        count = self._count
        mean, in_flight = max(self._seconds / count, SHORTEST_SECONDS), self._flights / count
        variance = max(0.0, self._squares / count - mean * mean)
        needed = min(LARGE_WINDOW, int(variance / (mean * (START_ERROR if self._starting else ERROR)) ** 2))
        if needed > self._size:
            self._size, self._enough = needed, _nearly(needed)
            return
        missing = (self._size - count) / self._size
        latency = mean + missing * MISSING * sqrt(variance)
        error = min(sqrt(variance / count), DOUBT * latency)
        if self._unloaded is None or (latency < self._unloaded and self._probing is None):
            self._unloaded, self._doubt = latency, error
        if self._probing is not None:
            self._end_probe(self._probing, latency, error)
        elif self._is_no_queue(in_flight, latency):
            self._unloaded, self._doubt = latency, error
        elif self._starting and latency <= self._allowed(GROWS_TO):
            self._unloaded, self._doubt = latency, error  # of more answers than the last one
            self._grow(in_flight, GROWTH * in_flight)
            self._turn(self.limit)
        else:
            self._follow(in_flight, latency)

    def _follow(self, in_flight: float, latency: float) -> None:
        """Set the limit to the receiver's apparent concurrency and a short queue."""
        # At the end of the start the limit may be several times what helps; later it falls by half at most.
        least = 1 if self._starting else self.limit // 2
        self._starting = False
        target = in_flight * self._allowed(TOLERANCE) / latency + ROOM
        grew = target > self.limit and self._grow(in_flight, target)
        if target < in_flight:
            if self._fell_from is None and not self._grew:
                self._fell_from = (in_flight, latency)
            self.limit = max(int(target), least, 1)
        else:
            self._fell_from = None
        self._grew = grew
        if grew or not self._probe(in_flight, latency):
            self._turn(self.limit)

    def _allowed(self, times: float) -> float:
        """Return the longest latency that shows no queue worth noticing."""
        unloaded = self._unloaded or 0.0
        return max(times * (unloaded + 2 * self._doubt), unloaded + NOTICED_SECONDS)

    def _grow(self, in_flight: float, target: float) -> bool:
        """Raise the limit if it was in use, by no more than the receiver can answer in time; return whether it rose."""
        in_time = in_flight * self._slow / max(self._longest, SHORTEST_SECONDS)
        if self._longest * (1 + 1 / in_flight) <= self._timeout * IMPATIENCE:
            in_time = max(in_time, self.limit + 1)
        limit = int(min(self._most, target, in_time))
        if in_flight < USED * self.limit or limit <= self.limit:
            return False
        self.limit = limit
        return True

    def _is_no_queue(self, in_flight: float, latency: float) -> bool:
        """Return whether fewer requests take as long as more did, so that none queues; if so, undo the fall."""
        if self._fell_from is None or in_flight > TEST_AT * self._fell_from[0]:
            return False
        were, took = self._fell_from
        self._fell_from = None
        if latency <= took * sqrt(in_flight / were):
            return False
        self._turn(min(self._most, max(self.limit, round(were))))
        return True

    def _probe(self, in_flight: float, latency: float) -> bool:
        """Begin a measurement of the unloaded latency when one is due; return whether it began."""
        self._since_probe += 1
        unloaded = self._unloaded or latency
        after = self._probe_after if latency > GROWS_TO * unloaded else max(self._probe_after, UNQUEUED_PROBE)
        if (
            self._since_probe < after
            or latency <= NOTICED_SECONDS
            or in_flight < USED * self.limit
            or self._fell_from is not None
        ):
            return False
        lower = max(1, int(in_flight * unloaded / latency * PROBE_AT))
        if lower >= self.limit:
            return False
        self._probing = self.limit
        self._turn(lower)
        return True

    def _end_probe(self, before: int, latency: float, error: float) -> None:
        """Take the latency of so few requests as the unloaded one, and return to the former limit."""
        was = self._unloaded or latency
        self._unloaded, self._doubt = latency, error
        self._probing, self._since_probe = None, 0
        if latency < 0.9 * was:  # there still was a queue: measure again soon
            self._probe_after = 1
        else:
            self._probe_after = min(LAST_PROBE, max(FIRST_PROBE, 2 * self._probe_after))
        self._turn(max(1, min(before, round(before * latency / was))))

    def _turn(self, limit: int) -> None:
        """Begin a new window with this limit."""
        self.limit = limit
        self._window += 1
        self._sent = self._count = self._flights = 0
        self._seconds = self._squares = self._longest = 0.0
        if not self._starting:
            self._size = max(limit, SMALL_WINDOW if self._probing is None else PROBE_WINDOW)
        else:
            self._size = limit
        self._enough = _nearly(self._size)


def _nearly(size: int) -> int:
    """Return how many answers end a window: it does not wait for a request that is stuck."""
    return size - size // 10


def _first(most: int, timeout_seconds: float) -> int:
    """Return the first limit: one worker that takes a second for each answers so many in half of the time-out."""
    return max(1, min(START, most, int(timeout_seconds * PATIENCE)))
