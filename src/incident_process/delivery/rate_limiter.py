"""How fast requests may follow each other: what the settings allow, and what the receiver takes (SPEC 5). Pure.

A receiver that limits the rate shows that only by rejecting requests (429, or 503 while it takes others). The rate is
then what it took in the second before, as TCP Westwood takes the rate of what arrived and not half of what was sent;
requests go out evenly just below it. The rate rises gently, and less often after each time that it was too high.
docs/decisions/0026-rate-of-the-receiver.md
"""

from collections import deque
from math import exp, inf

SECOND = 1.0
"""Seconds over which taken requests are counted: receivers give limits for a second, or for more."""
BELOW = 0.95
"""Fraction of the measured rate that is used from then on: clocks and networks do not keep the gaps exactly."""
CUT, CUT_CLIMBED = 0.5, 0.7
"""Least fractions of a rate after a cut; the second applies where the rate has just grown much: what the receiver took
in the last second says little then."""
CLIMBED = 1.5
"""Multiple of the rate after the last cut that counts as much."""
FIRST, LEAST = 5.0, 0.5
"""Requests a second, at least: after the first cut, and always. Pauses make a lower rate."""
RESTS = (0.25, 1.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds for which a rate is kept before a higher one is tried: after a first cut without a measurement, after one
with a measurement, after the second cut, and so on."""
ALIKE = 0.1
"""Relative difference up to which two rates confirm each other: one rest is skipped."""
GROWTHS, FASTER = (0.8, 0.15, 0.02), 2.0
"""Fraction by which the rate grows in the first second after these rests, and the factor for each further second. After
the first cut it grows fast: the little that the receiver took before may have had another cause than the limit."""
FASTEST = 2.0
"""Greatest growth, as the exponent for a second."""
DOUBLINGS = 16.0
"""Doublings after which a pause or a growth is at its greatest: no number overflows, however long it takes."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds until the next trial request after one that was rejected too, least and most; doubled each time."""
CLEARED = 5
"""Rejections that concerned the record, after which no such rejection counts as one of the rate."""
LATE = 0.005
"""Seconds of delay of one request that the next may make up for: timers are not exact."""
BUCKET = 0.05
"""Seconds of one bucket, over which taken requests are counted as one number."""
UNLIMITED = 50_000.0
"""Requests a second above which a rate counts as none."""


class RateLimiter:
    """The rate for one receiver. Times are seconds of one clock that never goes back.

    Each request belongs to the ``epoch`` in which it is sent: of many that were under way at the first rejection, only
    that one counts. ``most``: requests a second, 0 for no limit. ``shared``: several senders, one after the other, use
    this share of a rate, so the first turn waits as well.
    """

    def __init__(self, most: float, now: float, *, shared: bool = False) -> None:
        self.epoch = 0
        self.per_second = inf
        """Requests a second that the receiver takes; infinite while it has rejected none for its rate."""
        self.limited = most > 0
        """False while no request has to wait."""
        self._most = most or inf
        self._due = now + 1 / self._most if shared and most else -inf
        """When the next request is due; -inf before the first, unless the rate is shared."""
        self._taken: deque[list[float]] = deque(maxlen=int(SECOND / BUCKET) + 1)
        """Buckets: begin, and number of requests that the receiver took."""
        self._cuts = 0
        self._settled = 0.0  # the rate after the last cut
        self._cut_from = -inf  # begin and end of the last cut
        self._cut_until = -inf
        self._rest_until = -inf
        self._last_sent = now
        self._blocked = False  # from a cut until the receiver takes a request again
        self._trying = False
        self._tries = 0
        self._doubtful = False  # blocked by a rejection that may have concerned the record
        self._cleared = 0  # how often it did

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may go; infinite: until a trial request is answered."""
        if self._blocked and self._trying:
            return inf
        return max(0.0, self._due - now)

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        if self._blocked:
            self._trying = True
        elif self.per_second < inf:
            self._grow(now)
        self._last_sent = now
        # The first request is never late, so there is no delay to make up for.
        due = now if self._due == -inf else max(self._due, now - LATE)
        self._due = due + 1 / min(self.per_second, self._most)

    def taken(self, now: float, epoch: int) -> None:
        """Note an answer to a request of this epoch, other than a rejection for the rate."""
        buckets = self._taken
        if buckets and now - buckets[-1][0] <= BUCKET:
            buckets[-1][1] += 1
        else:
            buckets.append([now, 1])
        if self._blocked and epoch == self.epoch:
            if self._doubtful:
                self._cleared += 1
                self._end_doubt(now)
                return
            self._blocked = self._trying = False
            self.epoch += 1
            self._cut_until = now
            self._rest_until = now + RESTS[min(self._cuts, len(RESTS) - 1)]
            self._due = now + 1 / min(self.per_second, self._most)

    def throttled(self, now: float, epoch: int, asked: float | None = None, *, sure: bool = True) -> None:
        """Note that the receiver rejected a request of this epoch.

        ``asked``: seconds that the receiver asks for. Not ``sure``: the rejection may concern the record, as 503 may.
        The sender then tries another one at once; if the receiver takes that, nothing is learned about the rate.
        """
        if epoch == self.epoch:
            if self._blocked and not self._doubtful:
                self._trying = False
                self._due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._tries, DOUBLINGS))
                self._tries += 1
            elif sure or asked or self._doubtful:
                self._cut(now)
            elif self.heeds_doubt:
                self._block()
                self._doubtful = True
                self._due = now
        if asked:
            self._due = max(self._due, now + asked)

    @property
    def heeds_doubt(self) -> bool:
        """False once the receiver has shown often enough that such rejections concern records."""
        return self._cleared < CLEARED

    def not_the_record(self) -> None:
        """Note that the receiver took a record that it had rejected in doubt: the rejection did not concern it."""
        self._cleared = 0

    def lost(self, now: float, epoch: int) -> None:
        """Note a request of this epoch without an answer: it shows nothing, but others stop waiting for it."""
        if self._blocked and epoch == self.epoch:
            self._trying = False
            if self._doubtful:
                self._end_doubt(now)
            else:
                self._due = max(self._due, now + FIRST_PAUSE)

    def _cut(self, now: float) -> None:
        """Set the rate to what the receiver took a moment ago, and wait until that much time has passed for so many."""
        recent = [bucket for bucket in self._taken if bucket[0] > now - SECOND]
        count = sum(number for _, number in recent)
        rate = BELOW * self._measured(now, recent)
        if self.per_second < inf:
            before = self.per_second
            floor = before * (CUT_CLIMBED if before > CLIMBED * self._settled else CUT)
            self.per_second = max(LEAST, floor, min(BELOW * before, rate))
            confirmed = abs(self.per_second - self._settled) <= ALIKE * self._settled
            self._cuts = max(self._cuts, 1) + (2 if confirmed else 1)
        else:
            self.per_second = max(FIRST, rate)
            self._cuts = int(rate >= FIRST)
        self._settled, self._cut_from = self.per_second, now
        self._block()
        first = recent[0][0] if recent else now
        self._due = max(self._due, first + count / min(self.per_second, self._most), now + 1 / self.per_second)

    def _block(self) -> None:
        """Let one request out, and no other until its answer is there."""
        self._blocked, self._trying, self._tries, self._doubtful = True, False, 0, False
        self.epoch += 1
        self.limited = True

    def _end_doubt(self, now: float) -> None:
        """Go on as before the rejection."""
        self._blocked = self._trying = self._doubtful = False
        self.epoch += 1
        self._due = now
        self.limited = min(self._most, self.per_second) < inf

    def _measured(self, now: float, recent: list[list[float]]) -> float:
        """Return how many requests a second the receiver took, of those of the last second.

        The last second may hold parts of two of the receiver's seconds. So only requests since the last cut count, over
        the time since then, or as if they were all of a second where the pause was a long one.
        """
        in_second = sum(count for _, count in recent) / SECOND
        since_cut = sum(count for at, count in recent if at >= self._cut_from)
        since_pause = sum(count for at, count in recent if at >= self._cut_until)
        passed = max(now - self._cut_from, BUCKET)
        return min(in_second, max(since_cut / passed, since_pause / SECOND))

    def _grow(self, now: float) -> None:
        """Raise the rate for the time since the last request, once its rest is over."""
        since = now - self._rest_until
        if since <= 0:
            return
        step = min(now - self._last_sent, since, SECOND)
        growth = GROWTHS[min(self._cuts, len(GROWTHS) - 1)]
        self.per_second *= exp(min(FASTEST, growth * FASTER ** min(since, DOUBLINGS)) * step)
        if self.per_second > UNLIMITED:
            self.per_second, self._cuts = inf, 0
            self.limited = self._most < inf
