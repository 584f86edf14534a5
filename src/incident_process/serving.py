"""What the program's HTTP servers have in common: the socket, and uvicorn's way to begin and to end."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from incident_process.errors import ConfigurationError


class Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and ends as asked, with exit status 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then say so."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; the inherited method raises them again afterwards, which kills the process."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int, refusal: Callable[[str], str], *, backlog: int = 128) -> socket.socket:
    """Return a listening socket.

    Raises ConfigurationError, with the sentence that ``refusal`` makes of the system's reason, when the address cannot
    be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=backlog)
    except OSError as exc:
        # the error's own text repeats the address; a name that cannot be resolved has no error number, but a text
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigurationError(refusal(str(reason))) from exc


def shown(host: str) -> str:
    """Return the host as it stands in a URL that this machine can call."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to: every address includes this one
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
