"""The receiver as a process: its socket, its signals, and uvicorn around the application."""

from collections.abc import Callable
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from incident_process.core.errors import ConfigurationError
from incident_process.core.http_server import Server, listen, server_config, url_host
from incident_process.sandbox.receiver import INCIDENT_PATH
from incident_process.sandbox.receiver.faults import Dice, Faults
from incident_process.sandbox.receiver.receiver_app import CUT, ReceiverApp
from incident_process.sandbox.receiver.request_log import RequestLog

_BACKLOG = 2048
_LAST_PORT = 65_535
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep idle connections: only ``Faults`` may cause faults
_LAST_ANSWERS_SECONDS = 2  # a stop waits so long for answers under way, then cuts stalled requests


def serve(host: str, port: int, database: Path, faults: Faults, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then return. Call it from the main thread of a process.

    Args:
        host: Name or address to listen on.
        port: TCP port, 0 for a free one.
        database: SQLite file for accepted incidents; created when missing, continued when it exists.
        faults: Faults from the start; ``POST /_control`` changes them while the server runs.
        on_ready: Called once, when the server answers, with the full URL to post incidents to.

    Raises:
        ConfigurationError: The port is in use, the address cannot be listened on, the file is not a receiver's, or
            a fault setting is out of its range.
    """
    dice = Dice(faults)
    if not 0 <= port <= _LAST_PORT:  # the system's own functions would take it modulo 65536
        raise ConfigurationError(f"receiver: {port} is no TCP port; name one from 0 (any free one) to {_LAST_PORT}")

    def refusal(reason: str) -> str:
        return f"receiver: cannot listen on {url_host(host)}:{port} ({reason}); name another address"

    log = RequestLog(database)
    try:
        with listen(host, port, refusal, backlog=_BACKLOG) as listener:
            url = f"http://{url_host(host)}:{listener.getsockname()[1]}{INCIDENT_PATH}"
            config = server_config(
                ReceiverApp(log, dice),
                http=_CuttableProtocol,
                loop="uvloop",
                lifespan="off",
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
            )
            Server(config, lambda: on_ready(url)).run(sockets=[listener])
    finally:
        log.close()


class _CuttableProtocol(HttpToolsProtocol):
    """uvicorn's protocol that lets the application cut the connection, for which ASGI has no way."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CUT] = self._cut

    def _cut(self) -> None:
        self.cycle.disconnected = True  # else uvicorn answers 500 for an application that did not
        self.transport.abort()
