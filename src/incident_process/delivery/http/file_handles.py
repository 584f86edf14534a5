"""How many connections this process may have open beside all else that it has open (``ulimit -n``)."""

import errno
import resource
from contextlib import suppress
from pathlib import Path

from incident_process.core.logs import get_logger

log = get_logger()

SPARED = 8
"""Handles that are left to the databases, the log and what else a run opens."""
LACKS = {
    errno.EMFILE: "this process has as many files and sockets open as it may (ulimit -n)",
    errno.ENFILE: "this machine has as many files and sockets open as it may (fs.file-max)",
    errno.EADDRNOTAVAIL: "this machine has no port left for a connection (net.ipv4.ip_local_port_range)",
    errno.ENOBUFS: "this machine has no memory left for a connection",
    errno.ENOMEM: "this machine has no memory left for a connection",
}
"""What fails here, and is the fault neither of a record nor of the receiver, in words."""


def most_connections(wanted: int) -> int:
    """Return how many connections may be opened of so many, at least one; warn where they are fewer."""
    with suppress(OSError):  # a machine without /proc: its lack shows when it is met
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
            )
        return min(left, wanted)
    return wanted
