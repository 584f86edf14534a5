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
from typing import Any
from urllib.parse import urlsplit

from incident_process.core import logs
from incident_process.core.errors import ConfigurationError
from incident_process.core.events import Attempted, AttemptStarted, ChunkHeld, Events, OutcomesRecorded
from incident_process.core.models import RunKind, RunReport, RunStatus, iso
from incident_process.delivery.http.transport import TRACEPARENT
from incident_process.pipeline.context import Parts
from incident_process.settings import Settings

try:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError as exc:  # an extra, see pyproject.toml
    raise ConfigurationError(
        "[TRACING] endpoint is set, but OpenTelemetry is not installed: pip install 'incident-process[otel]'."
    ) from exc

log = logs.get_logger()

EXPORT_SECONDS = 5.0
"""Seconds that one export of spans may take, and for which the end of a run waits for the last one."""
_COUNTED = ("accounts", "delivered", "unchanged", "skipped", "dead", "pending")
_BAD = frozenset({RunStatus.FAILED, RunStatus.INCOMPLETE, RunStatus.TERMINATED, RunStatus.INACTIVE})


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
        self._exporter = _Exporter(tracing.endpoint, headers=headers, timeout=EXPORT_SECONDS, session=session)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "incident-process"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._place = urlsplit(tracing.endpoint or "").hostname
        tracer = self._provider.get_tracer("incident_process")
        self._run = tracer.start_span(
            "incident_process.run", attributes={"incident_process.operation": settings.process.operation_name}
        )
        self._spans = _Spans(tracer, self._run, urlsplit(settings.api.api_url).hostname or "")

    def listen(self, events: Events) -> None:
        """Have spans of chunks and requests from now on."""
        events.listen(ChunkHeld, self._spans.begin_chunk)
        events.listen(OutcomesRecorded, self._spans.end_chunk)
        events.listen(AttemptStarted, self._spans.begin_request)
        events.listen(Attempted, self._spans.end_request)

    async def ended(self, kind: RunKind, report: RunReport, _parts: Parts | None) -> None:
        """End the run's span and send the spans that are left."""
        self._spans.end_all()
        attributes: dict[str, Any] = {
            "kind": kind.value,
            "status": report.status.value,
            "sequence": report.sequence,
            **{name: getattr(report.counts, name) for name in _COUNTED},
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


class _Spans:
    """The spans of the chunks and requests that are under way."""

    def __init__(self, tracer: Tracer, run: Span, receiver: str) -> None:
        self._tracer = tracer
        self._run = set_span_in_context(run)
        self._attributes = {"http.request.method": "POST", "server.address": receiver}
        self._chunks: dict[str, Span] = {}
        self._chunk_of: dict[int, Span] = {}
        """By Incident_Id."""
        self._requests: dict[int | None, Span] = {}
        """By Incident_Id."""

    def begin_chunk(self, event: ChunkHeld) -> None:
        chunk = event.chunk
        if chunk.chunk_id not in self._chunks:
            self._chunks[chunk.chunk_id] = self._tracer.start_span(
                "incident_process.chunk",
                self._run,
                attributes={
                    "incident_process.chunk_id": chunk.chunk_id,
                    "incident_process.incidents": len(chunk.incidents),
                    "incident_process.resumed": event.resumed,
                },
            )
        self._chunk_of |= {incident.incident_id: self._chunks[chunk.chunk_id] for incident in chunk.incidents}

    def end_chunk(self, event: OutcomesRecorded) -> None:
        if all(outcome.in_doubt and outcome.error is None for outcome in event.outcomes):
            return  # noted before they are sent
        for incident in event.chunk.incidents:
            self._chunk_of.pop(incident.incident_id, None)
        span = self._chunks.pop(event.chunk.chunk_id, None)
        if span is not None:
            statuses = [outcome.status.value for outcome in event.outcomes]
            for status in sorted(set(statuses)):
                span.set_attribute(f"incident_process.{status}", statuses.count(status))
            span.end()

    def begin_request(self, event: AttemptStarted) -> None:
        chunk = self._chunk_of.get(event.incident_id)
        if chunk is None:
            TRACEPARENT.set(None)
            return
        self._requests[event.incident_id] = span = self._tracer.start_span(
            "incident_process.request",
            set_span_in_context(chunk),
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, "incident_process.incident_id": event.incident_id},
        )
        TRACEPARENT.set(_traceparent(span))

    def end_request(self, event: Attempted) -> None:
        span = self._requests.pop(event.incident_id, None)
        if span is None:
            return
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
        else:
            span.set_attribute("error.type", event.error or "no answer")
        if event.status is None or event.status >= 400:
            span.set_status(StatusCode.ERROR)
        span.end()

    def end_all(self) -> None:
        for span in (*self._requests.values(), *self._chunks.values()):
            span.end()


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


class _Exporter(OTLPSpanExporter):
    """Sends spans, and counts failed exports."""

    failures = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self.failures += result is not SpanExportResult.SUCCESS
        return result


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
