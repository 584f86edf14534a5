"""``/healthz``, ``/readyz`` and ``/metrics``: a small ASGI application in the schedule's own event loop.

Any answer shows that the loop turns, which is all that ``/healthz`` says. The answers hold nothing personal or secret;
the application changes nothing, and only ``/metrics`` asks a database, the state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import uvicorn

from incident_process.core.http_server import bounded, listen, server_config
from incident_process.schedule.readiness import Readiness

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Metrics = Callable[[], Awaitable[bytes]] | None

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_JSON = b"application/json"
_STOP_SECONDS = 2
_CONNECTIONS = 64  # at once: probes and one or two collectors; more must not slow a run
_ANSWER_SECONDS = 10.0


def app(readiness: Readiness, metrics: Metrics) -> Callable[..., Awaitable[None]]:
    """Return the application; ``metrics`` returns the text of ``/metrics``, None: there is no such address."""

    async def answer(scope: MutableMapping[str, Any], _receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = await _answer(scope, readiness, metrics)
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answer


async def _answer(scope: MutableMapping[str, Any], readiness: Readiness, metrics: Metrics) -> tuple[int, bytes, bytes]:
    if scope["method"] not in {"GET", "HEAD"}:
        return 405, _JSON, b'{"detail":"GET and HEAD only"}'
    match scope["path"]:
        case "/healthz":
            return 200, _JSON, b'{"alive":true}'
        case "/readyz":
            report = readiness.report()
            return (200 if report["ready"] else 503), _JSON, msgspec.json.encode(report)
        case "/metrics" if metrics is not None:
            return 200, _TEXT, await metrics()
        case _:
            return 404, _JSON, b'{"detail":"there are /healthz, /readyz and /metrics"}'


class HttpServer:
    """Answers on one address until it is stopped."""

    def __init__(self, host: str, port: int, application: Callable[..., Awaitable[None]]) -> None:
        self.address = (host, port)
        self._socket = listen(host, port, self._refusal)
        self._server = _Server(
            server_config(
                application,
                http=bounded(_CONNECTIONS, _ANSWER_SECONDS),
                lifespan="off",
                timeout_keep_alive=15,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    def _refusal(self, reason: str) -> str:
        host, port = self.address
        return f"[SCHEDULE] http_port {port} on {host} cannot be listened on ({reason}): name another, or 0 for none."

    @property
    def port(self) -> int:
        """The TCP port that it answers on, also where the configuration leaves the choice to the system."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Start answering."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        if self._task is not None:
            with suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(2 * _STOP_SECONDS):
                    await self._task
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the schedule."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
