"""The log of refused sign-ins: a line at once, then one a minute with their number.

Nobody needs a token to be refused. A line each would let a flood of guesses rotate the audit lines out of the log.
"""

import asyncio

from incident_process.core.logs import event, get_logger

LINE_SECONDS = 60.0
"""Seconds between two lines, at least."""

log = get_logger()


class RefusedSignIns:
    """Counts the refused sign-ins of one event loop. ``close`` it when done."""

    def __init__(self) -> None:
        self._count = 0
        self._last = ""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, address: str) -> None:
        """Log the refusal of a client at this address, or count it for the next line."""
        if self._timer is None:
            log.warning("Dashboard: somebody at %s could not sign in.", address, extra=event("sign_in_refused"))
            self._wait()
        else:
            self._count += 1
            self._last = address

    def close(self) -> None:
        """Log what is counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LINE_SECONDS, self._minute_over)

    def _minute_over(self) -> None:
        self._timer = None
        if self._tell():
            self._wait()

    def _tell(self) -> bool:
        count, self._count = self._count, 0
        if count:
            log.warning(
                "Dashboard: %d more sign-ins were refused within a minute, the last one from %s.",
                count,
                self._last,
                extra=event("sign_ins_refused", refused=count, last_address=self._last),
            )
        return bool(count)
