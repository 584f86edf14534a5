"""The name under which a process holds a lease, and whether that process still exists.

A runner that was killed leaves its lease behind until it expires. On the same machine no run needs to wait for that:
the holder's name says which process it was, and the operating system knows whether that process is gone.
"""

import os
import pwd
import socket
from pathlib import Path

from incident_process.core.models import LeaseState, Record

PROCESSES = Path("/proc")
"""The folder with one folder for each process that this process may see."""


class Runner(Record, frozen=True, kw_only=True):
    """One process of one machine, identifiable as long as the machine is up."""

    host: str
    pid: int
    machine: str
    """Boot and process namespace: two processes with the same value see each other's process numbers."""
    started: str
    """The kernel's start time of the process: it tells apart two processes that had the same number."""

    @classmethod
    def this(cls) -> "Runner":
        """Describe the running process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), pid=pid, machine=_machine(), started=_started(pid) or "")

    @classmethod
    def parse(cls, holder: str) -> "Runner | None":
        """Read a holder's name; None when it has another form."""
        parts = holder.rsplit("/", 3)
        if len(parts) != 4 or not parts[1].isdigit():
            return None
        return cls(host=parts[0], pid=int(parts[1]), machine=parts[2], started=parts[3])

    def __str__(self) -> str:
        """Return the holder's name as the lease has it."""
        return f"{self.host}/{self.pid}/{self.machine}/{self.started}"

    def is_gone(self) -> bool:
        """Return True only when this process surely no longer exists; False for a process of another machine."""
        if not (self.machine and self.started) or self.machine != _machine():
            return False
        started = _started(self.pid)
        return started is not None and started != self.started

    def is_here(self) -> bool:
        """Return True only when this process surely exists, on this machine."""
        return bool(self.started) and self.machine == _machine() and _started(self.pid) == self.started


def is_held(lease: LeaseState | None) -> bool:
    """Return whether a runner has the lease: it has not expired, and its process is not known to be gone."""
    if lease is None or not lease.active:
        return False
    holder = Runner.parse(lease.holder)
    return holder is None or not holder.is_gone()


def user_name() -> str:
    """Return the login name of this process's user, with the one who called sudo, for the record of a run."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user often has no name
        name = f"uid {os.getuid()}"
    caller = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {caller})" if caller else name


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116  # Path.stat is the same call
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return the start time of a process in clock ticks since boot; "" when there is no such process.

    None for a process that exists and is hidden: ``/proc`` may show only the processes of one's own user (``hidepid``),
    and none of another systemd service (``ProtectProc=invisible`` with ``PrivateUsers=yes``).
    """
    try:
        stat = (PROCESSES / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None if _exists(pid) else ""
    state, *rest = stat.rpartition(")")[2].split()  # the name before the bracket may hold anything
    return "" if state in {"Z", "X"} else rest[18]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends no signal; works for hidden processes too
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
