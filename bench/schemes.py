"""Published schemes for requests under way beside the product's, over simulated receivers: `python -m bench.schemes`.

Each is written down here from its source with its own defaults, but for the cap (64) and the least limit (1). Seconds
are simulated, so the figures are the same on every machine. docs/decisions/0023-adaptive-concurrency.md quotes them.
"""

import sys
from collections.abc import Callable
from math import ceil, log10, sqrt
from random import Random

from tests.support.simulated_receiver import (
    Controller,
    Fixed,
    Service,
    collapsing,
    constant,
    exponential,
    jumping,
    simulate,
)

from incident_process.delivery.concurrency import ConcurrencyController

MOST = 64


class _Scheme:
    """What the schemes share: a limit that is not whole, and an update for each answer."""

    def __init__(self) -> None:
        self.value = 20.0
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way."""
        return int(self.value)

    def start(self) -> int:
        """Note a request."""
        self.in_flight += 1
        return 0

    def answered(self, window: int, seconds: float) -> None:
        """Note an answer."""
        self.update(seconds, self.in_flight, dropped=False)
        self.in_flight -= 1

    def refused(self, window: int) -> None:
        """Note a request without one."""
        self.update(0.0, self.in_flight, dropped=True)
        self.in_flight -= 1

    def update(self, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Draw the conclusion from one answer."""
        raise NotImplementedError

    def set(self, value: float) -> None:
        """Set the limit, within what is allowed."""
        self.value = max(1.0, min(MOST, value))


class Vegas(_Scheme):
    """Netflix/concurrency-limits, VegasLimit: a queue of 3 to 6 times the logarithm of the limit."""

    def __init__(self) -> None:
        super().__init__()
        self._unloaded = 0.0
        self._count = 0
        self._chance = Random(1)  # noqa: S311  # jitter, not a secret
        self._jitter = 0.75

    def update(self, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Draw the conclusion from one answer."""
        step = max(1, int(log10(self.value)))
        if dropped:
            self.set(self.value - step)
            return
        self._count += 1
        if self._jitter * 30 * self.value <= self._count or not self._unloaded or seconds < self._unloaded:
            if self._unloaded and seconds >= self._unloaded:
                self._count, self._jitter = 0, self._chance.uniform(0.5, 1)
            self._unloaded = seconds
            return
        if in_flight * 2 < self.value:
            return
        queue = ceil(self.value * (1 - self._unloaded / seconds))
        if queue <= step:
            self.set(self.value + 6 * step)
        elif queue < 3 * step:
            self.set(self.value + step)
        elif queue > 6 * step:
            self.set(self.value - step)


class Gradient2(_Scheme):
    """Netflix/concurrency-limits, Gradient2Limit: the latency of now against its own average of long."""

    def __init__(self) -> None:
        super().__init__()
        self._long = 0.0
        self._count = 0

    def update(self, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Draw the conclusion from one answer."""
        if dropped:
            return
        self._count += 1
        factor = 2 / 601
        self._long += (seconds - self._long) * (factor if self._count > 10 else 1 / self._count)
        if self._long / seconds > 2:
            self._long *= 0.9
        if in_flight < self.value / 2:
            return
        gradient = max(0.5, min(1.0, self._long / seconds))
        self.set(self.value * 0.8 + (self.value * gradient + 4) * 0.2)


class Vector(_Scheme):
    """Vector, adaptive request concurrency: one more or a tenth less a round trip, by the latency's deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.value = 1.0
        self._mean = self._variance = 0.0
        self._known = False
        self._sum, self._count, self._due = 0.0, 0, 0
        self._reached = self._pressed = False

    def start(self) -> int:
        """Note a request, and whether it fills the limit."""
        super().start()
        self._reached |= self.in_flight >= self.limit
        return 0

    def update(self, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Draw the conclusion from one answer."""
        self._pressed |= dropped
        if not dropped:
            self._sum, self._count = self._sum + seconds, self._count + 1
        self._due += 1
        if not self._count or self._due < max(1, self.limit):  # about a round trip's worth of answers
            return
        latency = self._sum / self._count
        if self._known:
            threshold = 2.5 * sqrt(self._variance)
            if self._reached and not self._pressed and latency <= self._mean:
                self.set(self.value + 1)
            elif self._pressed or latency >= self._mean + threshold:
                self.set(int(self.value * 0.9))
        else:
            self._mean, self._known = latency, True
        off = latency - self._mean
        self._mean += 0.4 * off
        self._variance = 0.6 * (self._variance + 0.4 * off * off)
        self._sum, self._count, self._due = 0.0, 0, 0
        self._reached = self._pressed = False


SCHEMES: dict[str, Callable[[], Controller]] = {
    "fixed 64": lambda: Fixed(64),
    "Vegas": Vegas,
    "Gradient2": Gradient2,
    "Vector": Vector,
    "ours": lambda: ConcurrencyController(MOST, 30.0),
}

CASES: dict[str, tuple[Callable[[], Service], int, int, int]] = {
    # service, workers, the best fixed number, requests
    "1 worker, 50 ms": (lambda: constant(0.05), 1, 2, 1000),
    "4 workers, 50 ms": (lambda: constant(0.05), 4, 5, 2000),
    "16 workers, 50 ms": (lambda: constant(0.05), 16, 17, 4000),
    "64 workers, 50 ms": (lambda: constant(0.05), 64, 64, 8000),
    "16 workers, 50 ms on average (exponential)": (lambda: exponential(0.05), 16, 32, 4000),
    "16 workers, 50 ms, after 10 s 200 ms": (lambda: jumping(0.05, 0.2, 10.0), 16, 17, 6000),
    "16 workers, 200 ms, after 10 s 50 ms": (lambda: jumping(0.2, 0.05, 10.0), 16, 17, 6000),
    "collapses beyond 16, 50 ms": (lambda: collapsing(0.05, 16), 64, 16, 4000),
}


def main() -> None:
    """Print the table."""
    out = sys.stdout.write
    out("| receiver | " + " | ".join(SCHEMES) + " |\n|---" * 1 + "|---" * len(SCHEMES) + "|\n")
    for name, (service, workers, best, requests) in CASES.items():
        most = simulate(Fixed(best), service(), workers=workers, requests=requests).per_second
        cells = []
        for scheme in SCHEMES.values():
            run = simulate(scheme(), service(), workers=workers, requests=requests)
            cells.append(f"{run.per_second / most:.0%}, {run.in_flight:.0f}")
        out(f"| {name} | " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
