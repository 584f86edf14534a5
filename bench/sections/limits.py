"""The limits of the machine: reading the same rows, posting the same bodies, and nothing else."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from bench import product
from bench.measure import Case, Line, Sample, command, unmeasured
from bench.plan import CHUNK, CONNECTIONS
from bench.product import clean
from bench.programs import post, read, together
from bench.servers import find
from bench.workspace import Workspace

RAW = "raw posting, same client"

FLOOR = "reading, posting and raw writes to SQLite at once"
"""What is left when nothing is built, decided or waited for: the line that all others are compared with."""

ROOT = Path(__file__).parent.parent.parent

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json"
wrk.headers["Idempotency-Key"] = "{key}"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %d %d %d\\n", summary.requests, summary.duration, bad))
end
"""


def cases(workspace: Workspace) -> Iterator[Case]:
    """Yield the raw measurements that take turns with the product's, so that all of them see the same machine."""
    plan = workspace.plan
    yield Case(
        section="limits",
        name=RAW,
        count=plan.posts,
        run=lambda: raw_posting(
            workspace, workspace.receiver.url, {"receiver": workspace.receiver.pid}, CONNECTIONS, plan.posts
        ),
        repeats=plan.repeats,
        note=f"{CONNECTIONS} connections, one process, {workspace.receiver.name}",
    )
    yield Case(
        section="limits",
        name="raw reading, same columns",
        count=plan.accounts,
        run=lambda: raw_reading(workspace, workspace.main),
        repeats=plan.repeats,
        note="one pass over both tables, rows thrown away",
    )
    yield Case(
        section="limits",
        name=FLOOR,
        count=plan.accounts,
        run=lambda: _floor(workspace),
        repeats=plan.repeats,
        note="no document built, nothing compared, nothing waits for anything: no program of these parts is faster",
    )


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield wrk's line."""
    program = find("wrk")
    names = {1: "wrk, one thread", os.cpu_count() or 1: f"wrk, {os.cpu_count()} threads"}
    for threads, name in names.items():
        if program is None:
            yield unmeasured("limits", name, "wrk is not installed (apt-get install wrk)")
        else:
            yield _wrk(workspace, program, threads, name)


def raw_posting(workspace: Workspace, url: str, servers: Mapping[str, int], connections: int, count: int) -> Sample:
    """Post bodies raw; the seconds are those of posting alone."""
    arguments = [sys.executable, post.__file__, url, workspace.bodies, count, connections]
    sample = command([str(one) for one in arguments], servers=servers, environment=clean())
    return replace(sample, seconds=float(sample.output))


def raw_reading(workspace: Workspace, database: str, since: str | None = None) -> Sample:
    """Read rows raw; the seconds are those of the whole process."""
    where = [*workspace.address(database), *([since] if since else [])]
    return command(
        [sys.executable, read.__file__, *where],
        servers={"database": workspace.mariadb.pid},
        environment=workspace.environment,
    )


def _floor(workspace: Workspace) -> Sample:
    """Read, post and write raw at once; the seconds are those until the last of the three is done."""
    made = product.on_sqlite(
        workspace.folder, workspace.source(workspace.main), workspace.receiver.url, workspace.watched
    )
    sizes = (workspace.plan.accounts, CONNECTIONS, CHUNK)
    arguments = [workspace.bodies, made.state, *sizes, workspace.receiver.url, *workspace.address(workspace.main)]
    sample = command(
        [sys.executable, "-m", together.__name__, *map(str, arguments)],
        servers=workspace.watched,
        environment=workspace.environment,
        folder=ROOT,
    )
    return replace(sample, seconds=float(sample.output))


def typical_body(workspace: Workspace) -> tuple[str, Path]:
    """Return the key of a body of middle size, and the file that holds the body."""
    bodies = msgspec.msgpack.decode(workspace.bodies.read_bytes(), type=list[tuple[str, bytes]])
    key, body = sorted(bodies, key=lambda one: len(one[1]))[len(bodies) // 2]
    file = workspace.folder / "body.json"
    file.write_bytes(body)
    return key, file


def _wrk(workspace: Workspace, program: str, threads: int, name: str) -> Line:
    key, body = typical_body(workspace)
    script = workspace.folder / "post.lua"
    script.write_text(_SCRIPT.format(key=key, body=body))
    seconds = workspace.plan.wrk_seconds
    arguments: list[str | Path] = [
        program,
        f"-t{threads}",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        script,
        workspace.receiver.url,
    ]
    sample = command(arguments, servers={"receiver": workspace.receiver.pid}, environment=dict(os.environ))
    result = next(one for one in sample.output.splitlines() if one.startswith("RESULT"))
    requests, micros, bad = map(int, result.split()[1:])
    if bad:
        return unmeasured("limits", name, f"{bad} of {requests} requests failed")
    return Line(
        section="limits",
        name=name,
        count=requests,
        seconds=micros / 1e6,
        best_seconds=micros / 1e6,
        samples=1,
        cpu_us=sample.cpu / requests * 1e6,
        machine_us=sample.machine / requests * 1e6,
        servers_us={one: used / requests * 1e6 for one, used in sample.servers.items()},
        peak_mib=sample.peak / 2**20,
        note=f"{CONNECTIONS} connections, one body of {body.stat().st_size} bytes again and again: the physical limit",
    )
