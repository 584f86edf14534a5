"""Start one command, wait for it, and write its seconds and memory to a file. ``launch.py RESULT OUT ERR COMMAND...``.

A small process of its own, because Linux counts the memory of the process that starts another one into the peak of
the started one: started from the bench itself, no peak below the bench's own could be seen. Nothing is imported that
is not needed here, for the same reason.
"""

import json
import os
import sys
import threading
import time

INTERVAL = 0.1
"""Seconds between two looks at the memory of the command and its children together."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the command; the result is one JSON object: status, seconds, cpu (seconds), peak (bytes)."""
    result, out, err, *command = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    began = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o600),
        ],
    )
    together = [0]
    threading.Thread(target=_watch, args=(pid, together), daemon=True).start()
    _, status, used = os.wait4(pid, 0)
    found = {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": max(used.ru_maxrss * 1024, together[0]),
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be the largest import of this
        json.dump(found, file)


def _watch(pid: int, together: list[int]) -> None:
    """Keep the largest sum of the resident memory of the command and its children: a single peak would miss them."""
    while True:
        family = _family(pid)
        if len(family) > 1:
            together[0] = max(together[0], sum(_resident(one) for one in family))
        time.sleep(INTERVAL)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        found += [int(child) for child in _read(f"/proc/{one}/task/{one}/children").split()]
    return found


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - as above
            return file.read()
    except OSError:  # it has ended meanwhile
        return ""


if __name__ == "__main__":
    main()
