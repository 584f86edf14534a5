"""One POST over a kept-alive connection, and nothing more: no retry, no redirect, no interpretation (SPEC 5).

The HTTP client raises the same error class for a connection that was refused and for one that was closed after the
request had been sent, so the class of an error never says whether the request arrived. Its cause does: only where the
client says that it was connecting is an ``Answer`` marked as unsent.
"""

import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from incident_process.errors import APIConfigError
from incident_process.records import Record

if TYPE_CHECKING:
    from pyreqwest.exceptions import PyreqwestError
    from pyreqwest.response import Response

CONNECT_SECONDS = 10.0
EXCERPT_BYTES = 65_536
"""How much of an answer is looked at: its text only ever serves as a hint beside a refusal."""


class Answer(Record, frozen=True, kw_only=True):
    """What came back: ``status`` None when nothing did, and then ``error`` says why.

    ``unsent``: there was no connection to send it over.
    """

    status: int | None
    seconds: float
    retry_after: str | None = None
    error: str | None = None
    unsent: bool = False
    excerpt: bytes = b""

    def __repr__(self) -> str:
        """Leave the excerpt out: receivers repeat what they were sent."""
        return f"Answer(status={self.status}, seconds={self.seconds:.3f}, error={self.error})"


class Transport(Protocol):
    """Posts a body once."""

    async def post(self, body: bytes, key: str | None) -> Answer:
        """Post the body under an Idempotency-Key; never raises for what the network or the receiver does."""
        ...


class HttpTransport:
    """``Transport`` over pyreqwest. An asynchronous context manager; one for all requests of a run."""

    def __init__(
        self, url: str, headers: dict[str, str], max_connections: int, timeout: float, ca: Path | None
    ) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"} | headers
        self._max_connections = max_connections
        self._timeout = timeout
        self._ca = ca

    async def __aenter__(self) -> "HttpTransport":
        """Build the client; raise APIConfigError when its certificate file is unusable."""
        from pyreqwest.client import ClientBuilder
        from pyreqwest.exceptions import PyreqwestError

        builder = (
            ClientBuilder()
            .default_headers(self._headers)
            .user_agent("incident-process")
            .no_proxy()  # personal data and credentials go to the configured address, and nobody on the way may retry
            .follow_redirects(False)  # a redirect would carry credentials and personal data to another host
            .timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(CONNECT_SECONDS, self._timeout)))
            .pool_max_idle_per_host(self._max_connections)
        )
        self._error = PyreqwestError  # its import is too heavy for the module, and a look-up too slow for a request
        try:
            if self._ca is not None:
                builder = builder.add_root_certificate_pem(self._ca.read_bytes())
            self._client = builder.build()
        except (PyreqwestError, OSError, ValueError) as exc:
            msg = f"[API] ca_file {self._ca} cannot be used as a PEM certificate: {type(exc).__name__}"
            raise APIConfigError(msg) from exc
        try:
            self._client.post(self._url).build()
        except (PyreqwestError, ValueError) as exc:
            msg = "[API] api_url is no address that can be posted to: write http://host:port/path"
            raise APIConfigError(msg) from exc
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.close()

    async def post(self, body: bytes, key: str | None, trace: str | None = None) -> Answer:
        """Post the body once; ``trace`` is the context of a trace for the header ``traceparent``."""
        request = self._client.post(self._url)
        if key is not None:
            request = request.header("Idempotency-Key", key)
        if trace is not None:
            request = request.header("traceparent", trace)
        started = time.perf_counter()
        try:
            # Read whole, which also frees the connection for the next request; streaming costs 30 us a request more.
            response = await request.body_bytes(body).build().send()
            status = response.status
            seconds = time.perf_counter() - started
            if 200 <= status < 300:
                return Answer(status=status, seconds=seconds)  # nothing further is asked of it
            return Answer(
                status=status,
                seconds=seconds,
                retry_after=_retry_after(response),
                excerpt=bytes(memoryview(await response.bytes())[:EXCERPT_BYTES]) if status >= 400 else b"",
            )
        except self._error as exc:
            elapsed = time.perf_counter() - started
            return Answer(status=None, seconds=elapsed, error=type(exc).__name__, unsent=_never_connected(exc))


def _retry_after(response: "Response") -> str | None:
    """Return the header, where it is text: a receiver's odd bytes must not make a fault of an answer."""
    try:
        return response.get_header("Retry-After")
    except ValueError:
        return None


def _never_connected(exc: "PyreqwestError") -> bool:
    """Return True where the client was still connecting; anything that it does not say counts as sent."""
    details = getattr(exc, "details", None) or {}
    causes = details.get("causes") or ()
    return any(cause.get("message") == "client error (Connect)" for cause in causes)
