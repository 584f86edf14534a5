"""A runner that was stopped in the middle of a write to a SQLite file, and keeps everybody out of it.

A database server ends the session of a client that has fallen silent. SQLite's lock is the operating system's, and
lasts for as long as the process does that holds it: a process that was stopped (SIGSTOP, a terminal's Ctrl-Z) holds it
for good. Its lease runs out meanwhile, so its work belongs to a successor, who has but one way to the file: to end it.
What a killed runner leaves behind, the next one resumes.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from incident_process.core.logs import event, get_logger
from incident_process.core.process_identity import PROCESSES, Runner

log = get_logger()

_WRITE_LOCK = "120"
"""The byte of the file ``-shm`` that who writes has locked (SQLite's WAL-mode locks)."""


def writer_of(file: Path) -> int | None:
    """Return the process that has a SQLite file (in WAL mode) locked for writing; None where that cannot be told."""
    try:
        shared = file.with_name(f"{file.name}-shm").stat()
        lines = (PROCESSES / "locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 4711 fe:00:123456 120 120
        fields = line.split()
        if fields[1:4] != ["POSIX", "ADVISORY", "WRITE"] or fields[6:8] != [_WRITE_LOCK, _WRITE_LOCK]:
            continue
        pid, inode = int(fields[4]), int(fields[5].rpartition(":")[2])
        if inode == shared.st_ino and _has_open(pid, shared):
            return pid
    return None


def _has_open(pid: int, shared: os.stat_result) -> bool:
    """Tell whether a process has the file open; the device that ``/proc/locks`` names need not be that of ``stat``."""
    try:
        for descriptor in (PROCESSES / str(pid) / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if os.path.samestat(descriptor.stat(), shared):
                    return True
    except OSError:  # another user's
        pass
    return False


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped, and not by a debugger."""
    try:
        stat = (PROCESSES / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"  # the name before the bracket may hold anything


def end_stopped_writer(file: Path, holder: str) -> bool:
    """End the process that has the state's file locked if it was stopped and is a runner; return whether it was ended.

    ``holder``: who holds or held the operation's lease, empty where nobody is known to. That lease must have run out.
    """
    pid = writer_of(file)
    if pid is None or pid == os.getpid() or not _is_a_runner(pid, holder):
        return False
    with suppress(OSError):  # it is gone, or another user's
        descriptor = os.pidfd_open(pid)  # from here on, its number cannot become another process's
        try:
            if is_stopped(pid) and writer_of(file) == pid:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                log.warning(
                    "Process %d was stopped in the middle of a write and kept the state locked beyond its lease: it "
                    "was ended. Nothing is lost, its work is resumed.",
                    pid,
                    extra=event("stopped_runner_ended", pid=pid),
                )
                return True
        finally:
            os.close(descriptor)
    return False


def _is_a_runner(pid: int, holder: str) -> bool:
    runner = Runner.parse(holder)
    if runner is not None and runner.pid == pid and runner.is_here():
        return True
    try:
        command = (PROCESSES / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    # By the word: the folder of an installation has the name, too, and stands in the command lines of others.
    return any(
        b"incident_process" in word or word.rpartition(b"/")[2] == b"incident-process" for word in command.split(b"\0")
    )
