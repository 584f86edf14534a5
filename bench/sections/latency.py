"""Receivers that take their time, and how throughput grows with the requests under way at once."""

from collections.abc import Iterator

from bench import product
from bench.ground import Ground
from bench.measure import Line, Sample, line
from bench.sections.limits import raw_posting
from bench.servers import delaying_receiver


def lines(ground: Ground) -> Iterator[Line]:
    """Yield raw posting and the product for each pair of latency and connections."""
    plan = ground.plan
    for milliseconds, connections in plan.latencies:
        name = f"{milliseconds} ms, {connections} connections"
        bound = f"at most {connections * 1000 // milliseconds:,}/s" if milliseconds else "one process of the receiver"
        with delaying_receiver(milliseconds) as receiver:
            raw = raw_posting(ground, receiver.url, {"receiver": receiver.pid}, connections, plan.small)
            yield _single(f"raw posting, {name}", plan.small, raw, bound)
            if plan.tiny:  # more of the same, and each process takes its time to start
                continue
            servers = ground.watched | {"receiver": receiver.pid}
            source = ground.source(ground.small)
            made = product.on_sqlite(ground.folder, source, receiver.url, servers, max_connections=connections)
            sample = made.deliver(delivered=plan.small)
        yield _single(f"ours, {name}", plan.small, sample, bound)


def _single(name: str, count: int, sample: Sample, note: str) -> Line:
    return line("latency", name, count, [sample], note)
