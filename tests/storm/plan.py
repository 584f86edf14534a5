"""What happens in a storm, all of it decided by the seed before anything begins. Pure: no clock, no process.

When processes reach a planned moment, and what they do then, differs from machine to machine and each time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

GAP_SECONDS = 1
LEASE_SECONDS = 5
STATES = ("sqlite", "mariadb", "mysql", "mongo")
SHARED = ("mariadb", "mysql", "mongo")
"""The states that workers on several machines can share."""
ON_REQUEST = ("documentdb",)
"""States that only root can start, after unpacking them."""
SOURCES = ("mariadb", "mysql")

FAULT_POINTS = ("leased", "claimed", "opened", "enqueued", "posted", "recorded", "advanced", "closed")
EVERY_CHUNK = {"enqueued", "posted", "recorded"}
CALM_SECONDS = 3.0
"""Seconds without a fault at each place: at first, and at least between two faults."""

TYPES = (("date", "datetime"), ("date", "datetime(6)"), ("datetime(6)", "datetime(6)"), ("datetime", "timestamp(6)"))
ZONES = ("UTC", "Asia/Colombo")


@dataclass(frozen=True, kw_only=True)
class SitePlan:
    """How the site is set up. ``guard_limit_seconds`` 0: the window waits for no transaction; 4: not for the long."""

    customer_type: str
    payment_type: str
    zone: str
    indexes: bool
    accounts: int
    lookback_seconds: int
    guard_limit_seconds: int
    chunk_accounts: int
    max_connections: int
    build_processes: int


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run as cron starts it, ``rest`` seconds after the last one, and how it is disturbed.

    ``ending`` comes ``after`` so many seconds: none, kill, terminate, or pause (SIGSTOP for ``pause`` seconds, then a
    second runner, then SIGCONT after ``overlap`` seconds). ``twin`` is when a second runner is started beside it.
    """

    rest: float
    fault: str | None = None
    ending: str = "none"
    after: float = 0.0
    pause: float = 0.0
    overlap: float = 0.0
    twin: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault at a place: it begins at ``at`` and ends by itself after ``seconds``."""

    at: float
    kind: str
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole storm. ``runs`` may be more than there is time for."""

    seed: int
    state: str
    source: str
    seconds: float
    site: SitePlan
    runs: tuple[RunPlan, ...]
    faults: dict[str, tuple[Fault, ...]]
    cluster: bool = False
    """Whether runs spread their chunks over a cluster, whose workers and scheduler suffer faults, too."""

    def lines(self) -> Iterator[str]:
        """Yield the plan for people; the writers' module tells their plan."""
        yield f"seed {self.seed}, source {self.source}, state {self.state}, {self.seconds:g} s"
        yield f"site: {self.site}"
        for place, faults in self.faults.items():
            yield from (f"{place}: {fault}" for fault in faults)
        for number, run in enumerate(self.runs, start=1):
            yield f"run {number}: {run}"


def make_plan(seed: int, state: str, seconds: float, *, source: str | None = None, cluster: bool = False) -> Plan:
    """Return the plan of one storm; the same arguments give the same plan.

    Without another ``source``, the rows are on MySQL where the state is, and on MariaDB otherwise.
    """
    source = source or ("mysql" if state == "mysql" else "mariadb")
    faults = {
        place: tuple(_faults(random.Random(f"{seed} {state} {place}"), place, state, seconds))
        for place in ("source", "state", "receiver", *(["cluster"] if cluster else []))
    }
    runs = _runs(random.Random(f"{seed} {state} runs"), seconds)
    site = _site(random.Random(f"{seed} {state} site"))
    return Plan(
        seed=seed,
        state=state,
        source=source,
        seconds=seconds,
        site=site,
        runs=tuple(runs),
        faults=faults,
        cluster=cluster,
    )


def _site(rng: random.Random) -> SitePlan:
    customer_type, payment_type = rng.choice(TYPES)
    return SitePlan(
        customer_type=customer_type,
        payment_type=payment_type,
        # A TIMESTAMP is an instant: with it, one zone holds for both tables only when that is UTC.
        zone="UTC" if payment_type.startswith("timestamp") else rng.choice(ZONES),
        indexes=rng.random() < 0.5,
        accounts=rng.randint(60, 160),
        lookback_seconds=rng.randint(75, 120),
        guard_limit_seconds=rng.choice((0, 4, 600, 600)),
        chunk_accounts=rng.choice((5, 12, 40)),
        max_connections=rng.choice((2, 6)),
        build_processes=rng.choice((0, 0, 1)),
    )


def _runs(rng: random.Random, seconds: float) -> Iterator[RunPlan]:
    for _ in range(int(seconds * 2) + 10):
        chance = rng.random()
        rest = rng.uniform(0.0, 1.5)
        twin = rng.uniform(0.0, 1.0) if rng.random() < 0.2 else None
        if chance < 0.3:
            step = rng.choice(FAULT_POINTS)
            time = rng.randint(1, 3) if step in EVERY_CHUNK else 1
            yield RunPlan(rest=rest, fault=f"{step}:{time}", twin=twin)
        elif chance < 0.5:
            yield RunPlan(rest=rest, ending="kill", after=rng.uniform(0.3, 3.0), twin=twin)
        elif chance < 0.57:
            yield RunPlan(rest=rest, ending="terminate", after=rng.uniform(0.5, 2.5), twin=twin)
        elif chance < 0.72:
            # Mostly past the lease, at times within it.
            pause = rng.uniform(LEASE_SECONDS + 0.2, LEASE_SECONDS + 2) if rng.random() < 0.8 else rng.uniform(1, 4)
            overlap = rng.uniform(0.2, 3.0)
            yield RunPlan(rest=rest, ending="pause", after=rng.uniform(0.5, 2.5), pause=pause, overlap=overlap)
        else:
            yield RunPlan(rest=rest, twin=twin)


def _faults(rng: random.Random, place: str, state: str, seconds: float) -> Iterator[Fault]:
    at = CALM_SECONDS
    while True:
        at += rng.expovariate(1 / 4.0)
        fault = _fault(rng, place, state, at)
        if at + fault.seconds > seconds:
            return
        yield fault
        at += fault.seconds + CALM_SECONDS


def _fault(rng: random.Random, place: str, state: str, at: float) -> Fault:
    if place == "state" and state == "sqlite":
        return Fault(at=at, kind="lock", seconds=rng.uniform(0.5, 7.0))
    if place == "cluster":
        kinds = ["kill worker"] * 4 + ["freeze worker"] * 3 + ["add worker"] * 2 + ["kill scheduler"]
        seconds = rng.uniform(0.5, LEASE_SECONDS + 3)
        return Fault(at=at, kind=rng.choice(kinds), seconds=seconds, details={"worker": rng.randrange(3)})
    network = ["cut", "stall", "refuse", "mute"]
    if place != "receiver":
        kind = rng.choice([*network, "kill", "cut"])
        return Fault(at=at, kind=kind, seconds=0.0 if kind == "cut" else rng.uniform(0.3, 7.0))
    kind = rng.choice(
        [
            *network,
            "kill",
            "drop",
            "drop",
            "fail",
            "fail",
            "fail",
            "hang",
            "reject",
            "poison",
            "limit",
            "limit",
            "proxy",
        ]
    )
    details = _details(rng, kind)
    return Fault(at=at, kind=kind, seconds=0.0 if kind == "cut" else rng.uniform(0.5, 7.0), details=details)


def _details(rng: random.Random, kind: str) -> dict[str, Any]:
    """Return what a POST to the receiver's /_control says for this kind of fault."""
    details: dict[str, Any] = {}
    if kind == "drop":
        details = {"drop_rate": rng.choice((0.2, 0.5, 1.0))}
    elif kind == "fail":
        details = {
            "fail_rate": rng.choice((0.3, 1.0)),
            "fail_status": rng.choice((429, 500, 503)),
            "retry_after": rng.choice((None, "0", "1", "3", "Wed, 21 Oct 2015 07:28:00 GMT")),
        }
    elif kind == "hang":
        details = {"stall_rate": rng.choice((0.05, 0.2))}
    elif kind == "reject":
        details = {"reject_before_rate": rng.choice((0.3, 1.0))}
    elif kind == "limit":
        details = {
            "rate_limit": rng.choice((3, 10, 30)),
            "rate_kind": rng.choice(("second", "sliding", "bucket")),
            "rate_status": rng.choice((429, 503)),
            "rate_retry_after": rng.choice((None, "0", "1")),
        }
    elif kind == "proxy":
        details = {"proxy_status": rng.choice((500, 502, 504))}
    elif kind == "poison":
        details = {"account": rng.randrange(60), "status": rng.choice((422, 500))}
    return details
