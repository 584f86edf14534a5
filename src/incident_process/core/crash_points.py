"""Crash points: places between two commit steps where the tests kill the process, as a crash would.

``INCIDENT_PROCESS_FAULT=enqueued:2`` sends SIGKILL to the process the second time that it reaches ``enqueued``.
In production the variable is unset, and a crash point does nothing.
"""

import os
import signal
from collections.abc import Mapping
from enum import StrEnum

from incident_process.core.errors import ConfigurationError

VARIABLE = "INCIDENT_PROCESS_FAULT"


class CrashPoint(StrEnum):
    """The commit steps of SPEC 6; each crash point lies directly after the step."""

    LEASED = "leased"
    OPENED = "opened"
    CLAIMED = "claimed"
    ENQUEUED = "enqueued"
    POSTED = "posted"  # the receiver has answered, the outcome is not yet saved
    RECORDED = "recorded"
    ADVANCED = "advanced"
    CLOSED = "closed"


class CrashPoints:
    """Count how often the process reaches the chosen step, and kill it there at the chosen time."""

    def __init__(self, step: CrashPoint | None = None, time: int = 1) -> None:
        self._step = step
        self._left = time

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "CrashPoints":
        """Read ``STEP`` or ``STEP:N`` from the environment; raise ConfigurationError for anything else."""
        setting = environ.get(VARIABLE, "")
        if not setting:
            return cls()
        step, _, time = setting.partition(":")
        if step not in set(CrashPoint) or not (time or "1").isdigit():
            names = ", ".join(CrashPoint)
            raise ConfigurationError(
                f"{VARIABLE}={setting} names no crash point: use one of {names}, with :N for the N-th time."
            )
        return cls(CrashPoint(step), int(time or "1"))

    def reach(self, step: CrashPoint) -> None:
        """Kill the process if this is the chosen step and time."""
        if step is not self._step:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
