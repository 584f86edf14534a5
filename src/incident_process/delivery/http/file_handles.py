"""How many connections this process may open beside its other open files (``ulimit -n``)."""

import errno
import resource
from contextlib import suppress
from pathlib import Path

from incident_process.core.logs import event, get_logger

log = get_logger()

SPARED = 8
"""File handles reserved for the databases, the log and a run's other files."""
LACKS = {
    errno.EMFILE: "this process has as many files and sockets open as it may (ulimit -n)",
    errno.ENFILE: "this machine has as many files and sockets open as it may (fs.file-max)",
    errno.EADDRNOTAVAIL: "this machine has no port left for a connection (net.ipv4.ip_local_port_range)",
    errno.ENOBUFS: "this machine has no memory left for a connection",
    errno.ENOMEM: "this machine has no memory left for a connection",
}
"""Errors of this machine, which are the fault neither of a record nor of the receiver, in words."""


def most_connections(wanted: int) -> int:
    """Return how many of the wanted connections this process may open, at least one; warn where they are fewer."""
    with suppress(OSError):  # a machine without /proc: the lack shows when a connection fails
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return wanted
        left = max(1, soft - sum(1 for _ in Path("/proc/self/fd").iterdir()) - SPARED)
        if left < wanted:
            log.warning(
                "Only %d of %d requests can be under way at once, because this process may open %d files and sockets: "
                "raise `ulimit -n`, or lower [API] max_connections.",
                left,
                wanted,
                soft,
                extra=event("connections_limited", connections=left, wanted=wanted, open_files=soft),
            )
        return min(left, wanted)
    return wanted
