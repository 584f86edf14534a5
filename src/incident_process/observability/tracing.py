"""Spans for OpenTelemetry: one for the run, one for each chunk, one for each request, whose context the receiver gets.

Loaded only where ``[TRACING] endpoint`` is set. Attributes are figures, ids and statuses: no account, no body, no text
that a receiver wrote. A run does not wait for the collector; spans that it does not take are lost, with a warning at
the end.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from incident_process.core import logs
from incident_process.core.errors import ConfigurationError
from incident_process.core.models import (
    Chunk,
    Incident,
    Lease,
    Outcome,
    RunKind,
    RunReport,
    RunStatus,
    iso,
)
from incident_process.delivery.http.transport import Answer, MaySend, always
from incident_process.pipeline.context import Parts
from incident_process.settings import Settings
from incident_process.state.base import StateStore

try:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError as exc:  # an extra, see pyproject.toml
    msg = "[TRACING] endpoint is set, but OpenTelemetry is not installed: pip install 'incident-process[otel]'."
    raise ConfigurationError(msg) from exc

log = logs.get_logger()

EXPORT_SECONDS = 5.0
"""Seconds that one export of spans may take, and for which the end of a run waits for the last one."""

_BAD = frozenset({RunStatus.FAILED, RunStatus.INCOMPLETE, RunStatus.TERMINATED, RunStatus.INACTIVE})


class CarriesTrace(Protocol):
    """A transport that can tell the receiver to which trace a request belongs."""

    async def post(
        self,
        body: bytes,
        key: str | None,
        may_send: MaySend = always,
        *,
        fresh: bool = False,
        trace: str | None = None,
    ) -> Answer:
        """Post the body once, with ``trace`` as the header ``traceparent``."""
        ...


class TraceObserver:
    """The spans of one run."""

    name = "traces"

    def __init__(self, settings: Settings) -> None:
        _quiet()
        tracing = settings.tracing
        headers = {name: value.get_secret_value() for name, value in tracing.headers.items()}
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _StatusOnly())
        self._exporter = _Exporter(
            OTLPSpanExporter(tracing.endpoint, headers=headers, timeout=EXPORT_SECONDS, session=session)
        )
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "incident-process"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._place = urlsplit(tracing.endpoint or "").hostname
        tracer = self._provider.get_tracer("incident_process")
        self._run = tracer.start_span(
            "incident_process.run", attributes={"incident_process.operation": settings.process.operation_name}
        )
        self._chunks = _Chunks(tracer, self._run)

    def attach(self, parts: Parts) -> Parts:
        """Return the parts of the run with spans around chunks and requests."""
        transport = cast("CarriesTrace", parts.transport)  # ``app.factory`` makes no other transport
        receiver = urlsplit(parts.settings.api.api_url).hostname or ""
        return msgspec.structs.replace(
            parts,
            store=cast("StateStore", _TracedStore(parts.store, self._chunks)),
            transport=_TracedTransport(transport, self._chunks, receiver),
        )

    async def ended(self, kind: RunKind, report: RunReport, _parts: Parts | None) -> None:
        """End the run's span and send the spans that are left."""
        self._chunks.end_all()
        counts = report.counts
        attributes: dict[str, Any] = {
            "kind": kind.value,
            "status": report.status.value,
            "sequence": report.sequence,
            **{name: getattr(counts, name) for name in ("accounts", "delivered", "unchanged", "skipped", "dead")},
            "pending": counts.pending,
        }
        if report.run_id is not None:
            attributes["run_id"] = report.run_id
        if report.window is not None:
            attributes |= {"window.start": iso(report.window.start), "window.end": iso(report.window.end)}
        self._run.set_attributes({f"incident_process.{name}": value for name, value in attributes.items()})
        if report.status in _BAD:
            self._run.set_status(StatusCode.ERROR, report.status.value)
        self._run.end()
        # A thread of its own: the library would wait half a minute, and the process for each thread of asyncio's pool.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, EXPORT_SECONDS)
        if self._exporter.failures or ending.is_alive():
            log.warning(
                "Traces could not be sent to %s; some or all spans of this run are lost.",
                self._place,
                extra=logs.event("traces_lost", collector=self._place),
            )


class _Chunks:
    """The spans of the chunks that are under way, and the span of each incident's chunk."""

    def __init__(self, tracer: Tracer, run: Span) -> None:
        self.tracer = tracer
        self._context = set_span_in_context(run)
        self._spans: dict[str, Span] = {}
        self._by_key: dict[str, tuple[Span, int]] = {}

    def begin(self, chunk: Chunk, *, resumed: bool) -> None:
        span = self._spans.get(chunk.chunk_id)
        if span is None:
            span = self._spans[chunk.chunk_id] = self.tracer.start_span(
                "incident_process.chunk",
                self._context,
                attributes={
                    "incident_process.chunk_id": chunk.chunk_id,
                    "incident_process.incidents": len(chunk.incidents),
                    "incident_process.resumed": resumed,
                },
            )
        self.know(chunk.chunk_id, chunk.incidents)

    def know(self, chunk_id: str, incidents: Sequence[Incident]) -> None:
        span = self._spans.get(chunk_id)
        if span is not None:
            self._by_key |= {incident.key: (span, incident.incident_id) for incident in incidents}

    def end(self, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        for incident in chunk.incidents:
            self._by_key.pop(incident.key, None)
        span = self._spans.pop(chunk.chunk_id, None)
        if span is not None:
            statuses = [outcome.status.value for outcome in outcomes]
            for status in sorted(set(statuses)):
                span.set_attribute(f"incident_process.{status}", statuses.count(status))
            span.end()

    def of(self, key: str | None) -> tuple[Span, int] | None:
        return None if key is None else self._by_key.get(key)

    def end_all(self) -> None:
        for span in self._spans.values():
            span.end()
        self._spans.clear()
        self._by_key.clear()


class _TracedStore:
    """The state store: a chunk's span begins with its outbox entry and ends with its outcomes."""

    def __init__(self, store: StateStore, chunks: _Chunks) -> None:
        self._store = store
        self._chunks = chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        self._chunks.begin(chunk, resumed=False)
        await self._store.enqueue(lease, chunk)

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        chunk = await self._store.load_chunk(chunk_id)
        if chunk is not None:
            self._chunks.begin(chunk, resumed=True)
        return chunk

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        replaced = await self._store.replace_incident(lease, chunk, old_id, new)
        self._chunks.know(chunk.chunk_id, [new])
        return replaced

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        await self._store.record_outcomes(lease, chunk, outcomes)
        if not all(outcome.in_doubt and outcome.error is None for outcome in outcomes):  # noted before they are sent
            self._chunks.end(chunk, outcomes)


class _TracedTransport:
    """The transport with a span for each attempt, under the span of its chunk."""

    def __init__(self, transport: CarriesTrace, chunks: _Chunks, receiver: str) -> None:
        self._transport = transport
        self._chunks = chunks
        self._attributes = {"http.request.method": "POST", "server.address": receiver}

    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        known = self._chunks.of(key)
        if known is None:
            return await self._transport.post(body, key, may_send, fresh=fresh)
        chunk, incident_id = known
        with self._chunks.tracer.start_as_current_span(
            "incident_process.request",
            set_span_in_context(chunk),
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, "incident_process.incident_id": incident_id},
            record_exception=False,  # its text may hold secrets
            set_status_on_exception=False,
        ) as span:
            answer = await self._transport.post(body, key, may_send, fresh=fresh, trace=_traceparent(span))
            if answer.status is not None:
                span.set_attribute("http.response.status_code", answer.status)
            else:
                span.set_attribute("error.type", answer.error or "no answer")
            if answer.status is None or answer.status >= 400:
                span.set_status(StatusCode.ERROR)
            return answer


class _InTime:
    """A connection whose answer has to begin in time as a whole: the library's time-out begins anew with each byte."""

    sock: socket.socket

    def getresponse(self, *args: Any, **more: Any) -> Any:
        """Return the answer; raise as urllib3 does where the collector does not end its headers in time."""
        timer = threading.Timer(EXPORT_SECONDS, _break_off, [self.sock])
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse(*args, **more)  # type: ignore[misc]  # urllib3's, which stands beside it
        finally:
            timer.cancel()


def _break_off(sock: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


_CONNECTIONS = {
    "http": type("HTTPConnectionInTime", (_InTime, HTTPConnection), {}),
    "https": type("HTTPSConnectionInTime", (_InTime, HTTPSConnection), {}),
}


class _StatusOnly(requests.adapters.HTTPAdapter):
    """Reads status and headers of an answer and leaves its text: a collector may make that slow or without end."""

    def get_connection_with_tls_context(self, *args: Any, **more: Any) -> Any:
        """Return a pool of connections whose answers begin in time."""
        pool = super().get_connection_with_tls_context(*args, **more)
        pool.ConnectionCls = _CONNECTIONS[pool.scheme]
        return pool

    def send(self, *args: Any, **more: Any) -> requests.Response:
        """Send a request and return its answer with an empty text."""
        answer = super().send(*args, **{**more, "stream": True})
        answer.raw.close()
        answer.raw = BytesIO()
        return answer


class _Exporter(SpanExporter):
    """Sends spans, and counts failed exports."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.failures = 0
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self.failures += result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _traceparent(span: Span) -> str:
    """Return the context in the form of W3C Trace Context."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _quiet() -> None:
    """Keep the library's own warnings, one for each failed batch, off stderr: the run logs one of its own."""
    for name in ("opentelemetry", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
