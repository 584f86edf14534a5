"""Slow receivers, and how throughput grows with the requests under way at once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench import product
from bench.measure import Line, Sample, line
from bench.plan import CONNECTIONS
from bench.sections.limits import raw_posting
from bench.servers import delaying_receiver
from bench.workspace import Workspace, say

SHORT_TIMEOUT_SECONDS = 5
"""For a receiver that takes a second for one: of 64 requests that wait there, 59 would time out."""


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield raw posting and the product for each pair of latency and connections, and then receivers with a queue."""
    plan = workspace.plan
    for milliseconds, connections in plan.latencies:
        name = f"{milliseconds} ms, {connections} connections"
        bound = f"at most {connections * 1000 // milliseconds:,}/s" if milliseconds else "one process of the receiver"
        with delaying_receiver(milliseconds) as receiver:
            raw = raw_posting(workspace, receiver.url, {"receiver": receiver.pid}, connections, plan.small)
            yield _single(f"raw posting, {name}", plan.small, raw, bound)
            if plan.tiny:  # more of the same, and each process takes its time to start
                continue
            servers = workspace.watched | {"receiver": receiver.pid}
            source = workspace.source(workspace.small)
            # Fixed: what is measured is how throughput grows with the connections.
            api = {"max_connections": connections, "adaptive": "off"}
            made = product.on_sqlite(workspace.folder, source, receiver.url, servers, **api)
            sample = made.deliver(delivered=plan.small)
        yield _single(f"ours, {name}", plan.small, sample, bound)
    for workers, milliseconds, accounts in plan.queues:
        yield from _queue(workspace, workers, milliseconds, accounts)


def _queue(workspace: Workspace, workers: int, milliseconds: int, accounts: int) -> Iterator[Line]:
    """Yield the best fixed number of requests at once, and what the product finds by itself, measured in turn."""
    source = _source(workspace.folder, workers, accounts)
    kinds: dict[str, dict[str, object]] = {
        f"{most} at once": {"max_connections": most, "adaptive": "off"}
        for most in sorted({workers, min(2 * workers, CONNECTIONS)})
    }
    kinds["adaptive"] = {"max_connections": CONNECTIONS}
    name = f"{workers} worker{'s' if workers > 1 else ''} of {milliseconds:,} ms"
    taken: dict[str, list[tuple[Sample, float, int]]] = {kind: [] for kind in kinds}
    for _ in range(1 if milliseconds >= 1_000 else workspace.plan.repeats):
        for kind, api in kinds.items():
            say(f"{name}, {kind} ...")
            taken[kind].append(_to_queue(workspace, source, (workers, milliseconds, accounts), api))
    fixed = [kind for kind in kinds if kind != "adaptive"]
    best = min(fixed, key=lambda kind: median(sample.seconds for sample, _, _ in taken[kind]))
    quickest = median(sample.seconds for sample, _, _ in taken[best])
    for kind in (best, "adaptive"):
        samples = [sample for sample, _, _ in taken[kind]]
        share = quickest / median(one.seconds for one in samples)
        note = f"{median(mean for _, mean, _ in taken[kind]):.1f} in flight on average; "
        note += f"{sum(given_up for _, _, given_up in taken[kind])} timed out"
        if kind == "adaptive":
            note += f"; {share:.0%} of {best}"
        yield line("latency", f"ours, {name}, {kind}", accounts, samples, note)


def _to_queue(
    workspace: Workspace, source: str, receiver_is: tuple[int, int, int], api: dict[str, object]
) -> tuple[Sample, float, int]:
    """Return one run, its average number of requests in flight, and the number of abandoned requests."""
    workers, milliseconds, accounts = receiver_is
    with delaying_receiver(milliseconds, workers) as receiver:
        servers = {"receiver": receiver.pid}
        if milliseconds >= 1_000:
            api = api | {"timeout_seconds": SHORT_TIMEOUT_SECONDS}
        sample = product.on_sqlite(workspace.folder, source, receiver.url, servers, **api).deliver(delivered=accounts)
        with urlopen(receiver.url, timeout=10) as answer:  # noqa: S310  # the bench's own receiver, on this machine
            said = json.load(answer)
    seconds = json.loads(sample.output)["seconds"]  # without the start of the process, which all have alike
    return replace(sample, seconds=seconds), said["mean"], said["given_up"]


def _source(folder: Path, workers: int, accounts: int) -> str:
    """Return a SQLite source with this many accounts."""
    url = f"sqlite:///{folder}/queue-{workers}.db"
    product.on_sqlite(folder, url, "http://127.0.0.1:9/", {}).run("sample-data", "--accounts", str(accounts))
    return url


def _single(name: str, count: int, sample: Sample, note: str) -> Line:
    return line("latency", name, count, [sample], note)
