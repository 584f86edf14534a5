"""The source's clock between two queries of it (SPEC 2: "now" is the source database's clock)."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SourceClock:
    """The source's time: queried once, then carried on by this machine's time since boot.

    So a host whose clock is wrong, or is set during a run, neither skips nor repeats anything.
    """

    def __init__(self, now: datetime) -> None:
        self._offset = now - _EPOCH - timedelta(seconds=uptime())

    def now(self) -> datetime:
        """Return the source's time."""
        return _EPOCH + self._offset + timedelta(seconds=uptime())


def uptime() -> float:
    """Return the seconds since boot, including the time that the machine slept or the process was stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
