"""Ports of this machine that a test can name before a server listens there, and that no other program gets meanwhile.

A port that was free a moment ago is not free for sure: others start servers and connections at the same time. A socket
that is bound and never listens keeps it. Connections to it are refused, and a server that sets ``SO_REUSEADDR``, as all
do here, may listen beside it, be killed, and listen again.
"""

import socket

HOST = "127.0.0.1"


class HeldPort:
    """Holds a free port, ``number``, until it is closed."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((HOST, 0))
        self.number = int(self._holder.getsockname()[1])

    def close(self) -> None:
        """Let other programs have the port."""
        self._holder.close()
