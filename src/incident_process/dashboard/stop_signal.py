"""Stops a run of another process of this machine as an operator would: by SIGTERM, which ends it in good order."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from incident_process.core.process_identity import PROCESSES, Runner

_OF_ONE_RUN = frozenset({"run", "backfill", "dead-letters", "reconcile"})
"""Commands that end with their run. A schedule would end altogether, and a program of others is theirs to stop."""
_PROGRAM = frozenset({"incident-process", "incident_process"})


def stop_by_signal(holder: str) -> str | None:
    """Send SIGTERM to the process that holds the lease; return why that is not possible, None when it was sent."""
    runner = Runner.parse(holder)
    if runner is None:
        return f"It is not known which process holds the lease ('{holder}'): stop the run where it was started."
    place = f"process {runner.pid} on {runner.host}"
    if not runner.is_here():
        return (
            f"The run is at work in {place}, which this dashboard does not reach: stop it there, with "
            f"'kill -TERM {runner.pid}', systemctl or kubectl."
        )
    command = _command(runner.pid)
    if command not in _OF_ONE_RUN:
        ends = "a schedule, which would end altogether" if command == "schedule" else "a program of its own"
        return f"The run belongs to {ends}: stop it there ({place}), with 'kill -TERM {runner.pid}' or systemctl."
    return _terminate(runner, place)


def _terminate(runner: Runner, place: str) -> str | None:
    if not (hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")):  # some builds of Python lack them
        return f"The run cannot be signalled from here (no pidfd_open): use 'kill -TERM {runner.pid}' ({place})."
    try:
        process = os.pidfd_open(runner.pid)  # from now on the number cannot become another process's
    except ProcessLookupError:
        return None  # it has ended meanwhile
    except OSError as exc:  # such as a container that forbids the call
        return f"The run cannot be signalled from here ({exc.strerror}): use 'kill -TERM {runner.pid}' ({place})."
    try:
        with suppress(ProcessLookupError):
            if runner.is_here():
                signal.pidfd_send_signal(process, signal.SIGTERM)
    except PermissionError:
        return f"The run belongs to another user ({place}): stop it as that user, with 'kill -TERM {runner.pid}'."
    finally:
        os.close(process)
    return None


def _command(pid: int) -> str | None:
    """Return which command of this program the process runs, None for another program."""
    try:
        arguments = (PROCESSES / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return None
    at = next((place for place, text in enumerate(arguments) if Path(text).name in _PROGRAM), None)
    if at is None:
        return None
    return next((text for text in arguments[at + 1 :] if text and not text.startswith("-")), None)
