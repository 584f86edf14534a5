"""The dashboard as a process: its socket, its signals, and uvicorn around the application."""

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from incident_process.dashboard.app import make_app
from incident_process.dashboard.guard import host_names
from incident_process.errors import ConfigurationError
from incident_process.logs import get_logger
from incident_process.settings import Settings

_CONNECTIONS_AT_ONCE = 500  # more readers than a team has; beyond, 503 instead of a machine without memory
_KEEP_ALIVE_SECONDS = 30
_LAST_ANSWERS_SECONDS = 3

log = get_logger()


def run_server(settings: Settings, host: str | None, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Do what ``incident_process.dashboard.serve`` promises."""
    address = host if host is not None else settings.dashboard.host
    _check(settings, address)
    with _listen(address, settings.dashboard.port if port is None else port) as listener:
        url = f"http://{_shown(address)}:{listener.getsockname()[1]}/"
        app = make_app(settings, host_names(address, settings.dashboard.names))
        config = uvicorn.Config(
            app,
            loop="uvloop",
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=None,
            log_level="critical",  # uvicorn's own errors carry tracebacks; the application reports its own
            access_log=False,  # addresses hold account numbers
            proxy_headers=False,  # else a header could claim another address, which the brake on guessing goes by
            server_header=False,
            limit_concurrency=_CONNECTIONS_AT_ONCE,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        _Server(config, lambda: on_ready(url)).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check(settings: Settings, host: str) -> None:
    dashboard = settings.dashboard
    if dashboard.token is None and not is_loopback(host):
        raise ConfigurationError(
            f"[DASHBOARD] token is missing: on {host} others can reach the dashboard, so set a token of 16 or more "
            "characters, or listen on 127.0.0.1."
        )
    if dashboard.token is not None and dashboard.token == dashboard.unmask_token:
        raise ConfigurationError(
            "[DASHBOARD] unmask_token is the same as token, so everybody could see personal fields: give another one."
        )
    if not is_loopback(host):
        log.warning(
            "The dashboard listens on %s without encryption: let a proxy with TLS stand before it, or tokens can be "
            "read on the way.",
            host,
        )


class _Server(uvicorn.Server):
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


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; ConfigurationError, in one sentence, when the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigurationError(
            f"The dashboard cannot listen on {_shown(host)}:{port} ({reason}): name another address with --host and "
            "--port, or under [DASHBOARD]."
        ) from exc


def _shown(host: str) -> str:
    """Return the host as it stands in a URL that this machine can call."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
        return "[::1]" if host == "::" else "127.0.0.1"
    return f"[{host}]" if ":" in host else host
