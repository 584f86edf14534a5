"""Spans as a collector gets them: OTLP over HTTP, one trace a run, its context at the receiver too (``[TRACING]``)."""

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import incident_process
from tests.e2e.conftest import MakeSite, Site, day
from tests.support.command import Command
from tests.support.listener import Listener, listening

PERSONAL = "Ms Perera"
ACCOUNTS = [f"94170{n:05d}" for n in range(12)]
KEY = "key-of-the-collector"


@pytest.fixture
def collector() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture
def site(make_site: MakeSite, collector: Listener) -> Site:
    made = make_site()
    made.command.configure(
        tracing={"endpoint": f"http://{collector.address}/v1/traces", "headers": f"X-Api-Key: {KEY}"},
        process={"chunk_accounts": 5},
        api={"max_attempts": 3},
    )
    made.prepare()
    rows = ({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "CONTACT_PERSON": PERSONAL, "LOAD_DATE": day(0)} for a in ACCOUNTS)
    made.customers(*rows)
    return made


def spans(collector: Listener) -> list[Any]:
    requests = [ExportTraceServiceRequest.FromString(heard.body) for heard in collector.heard]
    return list(
        chain.from_iterable(
            scope.spans for request in requests for resource in request.resource_spans for scope in resource.scope_spans
        )
    )


def attributes(span: Any) -> dict[str, Any]:
    found = {}
    for item in span.attributes:
        kind = item.value.WhichOneof("value")
        found[item.key] = getattr(item.value, kind)
    return found


def test_one_trace_holds_run_chunks_and_requests(site: Site, collector: Listener) -> None:
    site.receiver.control(fail_next=2)
    report = site.run()
    found = spans(collector)
    assert collector.heard[0].headers["x-api-key"] == KEY
    requests = len([row for row in site.requests() if row["incident_id"] is not None])
    assert requests == len(ACCOUNTS) + 2
    assert Counter(span.name for span in found) == {
        "incident_process.run": 1,
        "incident_process.chunk": 3,
        "incident_process.request": requests,
    }
    assert len({span.trace_id for span in found}) == 1
    by_name = {name: [s for s in found if s.name == f"incident_process.{name}"] for name in ("run", "chunk", "request")}
    (run,) = by_name["run"]
    shown = attributes(run)
    assert (shown["incident_process.run_id"], shown["incident_process.delivered"]) == (report["run_id"], len(ACCOUNTS))
    assert {span.parent_span_id for span in by_name["chunk"]} == {run.span_id}
    assert {span.parent_span_id for span in by_name["request"]} <= {span.span_id for span in by_name["chunk"]}
    statuses = Counter(attributes(span)["http.response.status_code"] for span in by_name["request"])
    assert statuses == {201: len(ACCOUNTS), 503: 2}
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in found)


def test_no_personal_data_and_no_secret_is_in_it(site: Site, collector: Listener) -> None:
    site.command.configure(api={"bearer_token": "s3cret-token"})
    site.receiver.control(fail_accounts={ACCOUNTS[0]: 422})
    site.run()
    everything = b"".join(heard.body for heard in collector.heard)
    assert b"incident_process.request" in everything
    for hidden in (PERSONAL, *ACCOUNTS, "s3cret-token", KEY):
        assert hidden.encode() not in everything


def test_the_receiver_gets_the_context_of_the_request(site: Site, collector: Listener) -> None:
    with listening() as receiver:
        site.command.configure(api={"api_url": f"http://{receiver.address}/incidents"})
        site.run()
        contexts = [heard.headers["traceparent"][:-3] for heard in receiver.heard if heard.body != b"{}"]
    sent = {f"00-{s.trace_id.hex()}-{s.span_id.hex()}" for s in spans(collector) if s.name.endswith(".request")}
    assert len(contexts) == len(ACCOUNTS)
    assert set(contexts) == sent


def test_a_run_that_is_incomplete_is_an_error_in_the_trace(site: Site, collector: Listener) -> None:
    site.receiver.control(fail_rate=1)
    site.command.configure(api={"retry_seconds": 0})
    site.run(4)
    (run,) = [span for span in spans(collector) if span.name == "incident_process.run"]
    assert attributes(run)["incident_process.status"] == "incomplete"
    assert run.status.code == 2


@pytest.mark.parametrize("fault", ["refused", "failing"])
def test_a_collector_that_is_away_is_a_warning(site: Site, collector: Listener, closed_port: int, fault: str) -> None:
    collector.status = 400
    if fault == "refused":
        site.command.configure(tracing={"endpoint": f"http://127.0.0.1:{closed_port}/v1/traces"})
    finished = site.finish()
    assert finished.json["delivered"] == len(ACCOUNTS)
    assert finished.messages("WARNING") == [
        "Traces could not be sent to 127.0.0.1; some or all spans of this run are lost."
    ]


def test_without_the_extra_the_configuration_says_what_to_install(site: Site) -> None:
    (site.command.folder / "opentelemetry.py").write_text("raise ImportError\n")
    path = {"PYTHONPATH": f"{site.command.folder}:{_package()}"}
    for finished in (site.command.run(path), site.command("doctor", env=path)):
        assert finished.status == 2
        assert "pip install 'incident-process[otel]'" in finished.stderr + finished.stdout


@pytest.mark.parametrize("library", ["opentelemetry", "prometheus_client", "apprise", "cronsim"])
def test_what_is_off_is_not_even_loaded(command: Command, make_site: MakeSite, library: str) -> None:
    site = make_site()
    site.prepare()
    script = (
        "import sys; from incident_process.cli.commands import execute; status = execute(['run']); "
        f"sys.exit(status or 10 * ({library!r} in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=command.folder, env={"PYTHONPATH": _package()}, check=False
    )
    assert ended.returncode == 0


def _package() -> str:
    return str(Path(incident_process.__file__).parent.parent)


@pytest.mark.parametrize("begin", [b"Content-Length: 100000\r\n\r\n", b"X-Drip: "], ids=["text", "headers"])
def test_a_collector_whose_answer_does_not_end_is_not_waited_for(site: Site, begin: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                peer.recv(65_536)
                peer.sendall(b"HTTP/1.1 200 OK\r\n" + begin)
                for _ in range(300):
                    peer.sendall(b"x")
                    time.sleep(0.1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        site.command.configure(tracing={"endpoint": f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"})
        begun = time.monotonic()
        assert site.run()["delivered"] == len(ACCOUNTS)
        assert time.monotonic() - begun < 15
        thread.join(5)
        assert not thread.is_alive()
