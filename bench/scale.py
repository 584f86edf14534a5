"""``make bench-scale``: how throughput grows with the workers of a cluster, where the receiver takes its time.

A receiver that waits 50 ms before each answer, a source and a state on MariaDB, a Dask scheduler and 1, 2, 4 and 8
workers, all on this machine: what grows is the requests under way at once, so that is looked at, and not processors.
Then a model is fitted, ``seconds = waves * wave + accounts * serial``: a wave is one request on each connection of
each worker, and serial is what an account costs however many workers there are.
What the figures mean, and what follows from them: docs/scale.md.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.cluster import cluster_in
from tests.support.mariadb import MariaDBServer

from bench import data, servers
from bench.measure import Sample
from bench.plot import plotting, save
from bench.product import Sections, on_mariadb
from bench.report import write_docs
from bench.workspace import say

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- made by `make bench-scale`: begin -->", "<!-- made by `make bench-scale`: end -->"
LATENCY_MS = 50
CONNECTIONS = 8
"""Requests that a worker has under way at once: so few that this machine's processors are no limit to eight workers."""
CHUNK = 100
"""Accounts in a chunk: few beside the work of a worker, or the last chunks would be measured with the others, and as
many as it takes for the source to be read in the way that a chunk of the default is."""
WORKER = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""As docs/how-to/dask.md recommends."""
WORKERS = (1, 2, 4, 8)
ASKED = 0.8
"""The target: throughput within 80 % of linear."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The medians measured with a number of workers; processor time in µs an incident, of the whole machine."""

    workers: int
    accounts: int
    seconds: float
    machine_us: float

    @property
    def per_second(self) -> float:
        """Incidents a second."""
        return self.accounts / self.seconds

    @property
    def waves(self) -> float:
        """Requests that each connection carries."""
        return self.accounts / (self.workers * CONNECTIONS)


@dataclass(frozen=True, kw_only=True)
class Model:
    """``seconds = waves * wave + accounts * serial``, by least squares; both in seconds."""

    wave: float
    serial: float

    def seconds(self, accounts: int, connections: int) -> float:
        """Return the time for a number of accounts over a number of connections."""
        return accounts / connections * self.wave + accounts * self.serial


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and draw; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Measure a growing cluster.")
    parser.add_argument("--accounts", type=int, default=4000, help="accounts for each worker")
    parser.add_argument("--repeats", type=int, default=2, help="how often each size is measured")
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)), help="sizes of the cluster")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="scale.json and plots")
    parser.add_argument("--write-docs", action="store_true", help="put the figures and the plot into docs")
    chosen = parser.parse_args(arguments)
    sizes = [int(size) for size in chosen.workers.split(",")]
    folder: Path = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    points = list(measure(sizes, chosen.accounts, chosen.repeats))
    model = fit(points)
    (folder / "scale.json").write_text(as_json(points, model), encoding="utf-8")
    text = table(points, model)
    sys.stdout.write(text)
    plot(points, folder)
    if chosen.write_docs:
        plot(points, ROOT / "docs")
        write_docs(ROOT / "docs" / "scale.md", conditions() + text, BEGIN, END)
    return 0


def measure(sizes: Sequence[int], accounts: int, repeats: int) -> Iterator[Point]:
    """Yield a point for each size of the cluster."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-scale-")))
        database = stack.enter_context(servers.mariadb())
        receiver = stack.enter_context(servers.delaying_receiver(LATENCY_MS))
        for workers in sizes:
            count = accounts * workers
            say(f"{workers} worker(s), {count:,} accounts ...")
            source = data.load(database, count, count)
            with cluster_in(folder / f"{workers}") as cluster:
                for _ in range(workers):
                    cluster.worker(WORKER)
                place = (cluster.address, workers)
                samples = [_run(folder, database, source, receiver.url, place, count) for _ in range(repeats)]
            database.drop_database(source)
            yield Point(
                workers=workers,
                accounts=count,
                seconds=median(_seconds(one) for one in samples),
                machine_us=median(one.machine for one in samples) / count * 1e6,
            )


def _run(folder: Path, database: MariaDBServer, source: str, url: str, place: tuple[str, int], accounts: int) -> Sample:
    """Return one run; ``place`` is the scheduler's address and how many workers it has."""
    scheduler, workers = place
    more: Sections = {
        "PROCESS": {"chunk_accounts": CHUNK},
        "ENGINE": {"engine": "dask", "scheduler": scheduler},
    }
    watched = {"database": database.pid}
    made = on_mariadb(folder, database.url(source), url, watched, database, more, max_connections=CONNECTIONS * workers)
    return made.deliver(delivered=accounts)


def _seconds(sample: Sample) -> float:
    """Return how long the run itself took, without the start of its process."""
    report: dict[str, Any] = json.loads(sample.output)
    return float(report["seconds"])


def fit(points: Sequence[Point]) -> Model:
    """Fit the model to the points; where they do not tell the two apart, all of it is the waves'."""
    xx = sum(one.waves**2 for one in points)
    xn = sum(one.waves * one.accounts for one in points)
    nn = float(sum(one.accounts**2 for one in points))
    xy = sum(one.waves * one.seconds for one in points)
    ny = sum(one.accounts * one.seconds for one in points)
    determinant = xx * nn - xn**2
    if determinant < 1e-9 * xx * nn:
        return Model(wave=xy / xx, serial=0.0)
    return Model(wave=(xy * nn - ny * xn) / determinant, serial=(ny * xx - xy * xn) / determinant)


def table(points: Sequence[Point], model: Model) -> str:
    """Return the points as a table in Markdown, with the share of linear growth from the first one."""
    first = points[0]
    lines = [
        "| workers | connections | accounts | seconds | incidents/s | of linear | asked | machine CPU µs |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in points:
        share = one.per_second / first.per_second * first.workers / one.workers
        lines.append(
            f"| {one.workers} | {one.workers * CONNECTIONS} | {one.accounts:,} | {one.seconds:.2f} "
            f"| {one.per_second:,.0f} | {share:.0%} | {ASKED:.0%} | {one.machine_us:,.0f} |"
        )
    wave, serial = f"{model.wave * 1e3:.1f} ms", f"{model.serial * 1e6:.0f} µs"
    lines += ["", f"Fitted: seconds = {wave} x accounts / connections + {serial} x accounts."]
    return "\n".join(lines) + "\n"


def conditions() -> str:
    """Return when and on what it was measured."""
    load = os.getloadavg()[0]
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors shared by everything, receiver "
        f"with {LATENCY_MS} ms, {CONNECTIONS} connections a worker; load of the machine at the end: {load:.1f}.\n\n"
    )


def as_json(points: Sequence[Point], model: Model) -> str:
    """Return everything measured."""
    return json.dumps({"points": [asdict(one) for one in points], "model": asdict(model)}, indent=2) + "\n"


def plot(points: Sequence[Point], folder: Path) -> bool:
    """Write ``scale.png`` and ``scale.svg``; False without the plotting library."""
    plt = plotting("scale")
    if plt is None:
        return False
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    workers = [one.workers for one in points]
    linear = [points[0].per_second / points[0].workers * count for count in workers]
    axes.plot(workers, linear, color="#8a8f98", linestyle="--", label="linear")
    axes.plot(workers, [ASKED * rate for rate in linear], color="#c9cdd3", linestyle=":", label=f"{ASKED:.0%} of it")
    axes.plot(workers, [one.per_second for one in points], color="#1f6feb", marker="o", label="measured")
    axes.set_xticks(workers)
    axes.set_xlabel(f"workers, {CONNECTIONS} connections each, receiver with {LATENCY_MS} ms")
    axes.set_ylabel("incidents a second")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, folder, "scale")
    plt.close(figure)
    return True


if __name__ == "__main__":
    sys.exit(main())
