"""One storm from its beginning to the comparison at its end."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.storm.cluster import ClusterPlace
from tests.storm.compare import Findings, compare, healthy_dead, make_oracle, read_log, read_source
from tests.storm.cron import LONGEST_ON_CLUSTER_SECONDS, LONGEST_RUN_SECONDS, Cron
from tests.storm.fault_injector import FaultInjector
from tests.storm.places import Place, ReceiverPlace, SourcePlace, StatePlace, make_state
from tests.storm.plan import GAP_SECONDS, LEASE_SECONDS, Plan
from tests.storm.writers import Writer
from tests.storm.writing import WRITERS
from tests.support.command import Command

LAST_RUNS = 15
"""So many runs may be needed in peace until one says that all is done."""


@dataclass(kw_only=True)
class Report:
    """The figures of a storm. ``problems`` is empty when the promise was kept."""

    plan: Plan
    incidents: int = 0
    accounts: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    last_runs: int = 0
    before_reconcile: int = 0
    dead: int = 0
    """Dead letters when the storm was over."""
    findings: Findings = field(default_factory=Findings)
    strange: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        return self.findings.all + self.strange

    def lines(self) -> Iterator[str]:
        """The report for people."""
        engine = ", three workers" if self.plan.cluster else ""
        yield (
            f"storm of {self.plan.seconds:g} s, source {self.plan.source}, state {self.plan.state}{engine}, "
            f"seed {self.plan.seed}: "
            f"{self.seconds:.0f} s"
        )
        yield f"  site        {self.plan.site}"
        yield f"  source      {_counts(self.writes)}"
        yield f"  incidents   {self.incidents} accepted, of {self.accounts} accounts"
        yield f"  runs        {self.runs.total()} by exit status: {_counts(self.runs)}; then {self.last_runs} in peace"
        kills = sum(count for name, count in self.done.items() if "kill" in name)
        yield f"  kills       {kills}, pauses {self.done['run: paused']}"
        yield f"  faults      {_counts(self.done)}"
        yield f"  requests    {_counts(self.answers)}"
        found = self.findings
        yield (
            f"  missed {len(found.missed)}, duplicated {len(found.duplicated)}, ids reused {len(found.reused)}, "
            f"turned away {len(found.turned_away)}, strange {len(self.strange)}; "
            f"dead letters {self.dead}, healthy accounts dead {len(found.dead)}; "
            f"left to reconcile: {self.before_reconcile} accounts"
        )
        yield from (f"  ! {problem}" for problem in self.problems[:10])


def run_storm(plan: Plan, folder: Path) -> Report:
    """Run one storm in a fresh folder and return its report; all servers are its own, and end with it."""
    began = time.monotonic()
    report = Report(plan=plan)
    with ExitStack() as stack:
        source = SourcePlace(stack, plan.source, plan.site)
        receiver = ReceiverPlace(stack, folder)
        state = make_state(plan.state, stack, folder)
        command = Command(folder)
        _configure(command, plan, source, receiver, state)
        ready = command("init")
        assert ready.status == 0, ready.stderr
        state.make_always_due()
        cron = Cron(command, LONGEST_ON_CLUSTER_SECONDS if plan.cluster else LONGEST_RUN_SECONDS)
        writers = [Writer(source.server, source.database, (plan.seed, n, plan.site)) for n in range(WRITERS)]
        places: dict[str, Place | ClusterPlace] = {"source": source, "state": state, "receiver": receiver}
        if plan.cluster:
            places["cluster"] = ClusterPlace(stack, folder, command)
        injectors = [FaultInjector(name, place, plan.faults[name]) for name, place in places.items()]
        _run_all(plan, cron, writers, injectors)
        for counted in (cron.disturbances, *(injector.done for injector in injectors)):
            report.done.update(counted)
        report.runs.update(cron.results)
        for writer in writers:
            report.writes.update(writer.done)
        beyond = set().union(*(writer.beyond for writer in writers))
        _settle(report, cron, source, receiver, beyond)
        report.strange = cron.strange
    report.seconds = time.monotonic() - began
    return report


def _configure(command: Command, plan: Plan, source: SourcePlace, receiver: ReceiverPlace, state: StatePlace) -> None:
    site = plan.site
    command.configure(
        database=source.section(),
        api={
            **receiver.section(),
            "max_connections": site.max_connections,
            "timeout_seconds": 2,
            "max_attempts": 4,
            "retry_seconds": 6,
            "retry_after_cap_seconds": 2,
            "breaker_failures": 4,
        },
        process={
            "tracking": state.tracking,
            "time_gap_seconds": GAP_SECONDS,
            "lookback_seconds": site.lookback_seconds,
            "guard_limit_seconds": site.guard_limit_seconds,
            "source_timezone": site.zone,
            "chunk_accounts": site.chunk_accounts,
            "build_processes": site.build_processes,
            "lease_seconds": LEASE_SECONDS,
            "max_runs": 3,
        },
        **state.sections(),
    )


def _run_all(plan: Plan, cron: Cron, writers: list[Writer], injectors: list[FaultInjector]) -> None:
    """Run writers, injectors and cron for the time of the plan; raise the first error of any of them."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(writers) + len(injectors) + 1) as pool:
        works = [pool.submit(writer.write, stop) for writer in writers]
        works += [pool.submit(injector.inject, stop) for injector in injectors]
        # The longest-lived of all: it ends with ``stop``, the others may have nothing left to do before.
        works.append(pool.submit(cron.work, plan.runs, stop))
        wait(works, plan.seconds, return_when=FIRST_EXCEPTION)
        stop.set()
        for work in works:
            work.result()


def _settle(report: Report, cron: Cron, source: SourcePlace, receiver: ReceiverPlace, beyond: set[str]) -> None:
    """Let the program finish in peace, and compare: first without what no lookback reaches, then everything."""
    receiver.handle.calm()
    time.sleep(GAP_SECONDS + 2)  # the last rows are older than the time gap then
    _run_until_done(report, cron)
    letters = cron.call("deliveries", "--status", "dead", "--limit", "100000", "--json").json
    report.dead = len(letters)
    dead = healthy_dead(letters, read_log(receiver.handle.database))
    oracle = make_oracle(datetime.now(UTC) + timedelta(hours=1), report.plan.site.zone)
    rows = read_source(source.server, source.database)
    # A dead letter waits for its replay: it may be missed until then.
    first = compare(
        rows, read_log(receiver.handle.database), oracle, excused=beyond | {one["account"] for one in letters}
    )
    everything = compare(rows, read_log(receiver.handle.database), oracle)
    report.before_reconcile = len(everything.missed)
    for arguments in (("dead-letters", "replay", "--json"), ("reconcile", "--repair", "--json")):
        finished = cron.call(*arguments)
        if finished.status != 0:
            cron.strange.append(f"{' '.join(arguments)} ended with status {finished.status}: {finished.stderr[-2000:]}")
    _run_until_done(report, cron)
    log = read_log(receiver.handle.database)
    report.findings = compare(rows, log, oracle)
    report.findings.dead = dead
    report.findings.missed += [f"before reconcile: {line}" for line in first.missed]
    report.incidents = len(log.accepted)
    report.accounts = len({row["account_num"] for row in log.accepted})
    report.answers.update(request["fault"] or str(request["answer"]) for request in log.requests)


def _run_until_done(report: Report, cron: Cron) -> None:
    said: list[str] = []
    for _ in range(LAST_RUNS):
        finished = cron.call("run", "--json")
        report.last_runs += 1
        said.append(finished.json["status"] if finished.stdout else finished.stderr[-500:])
        if said[-1] in {"completed", "no_data"}:
            return
        time.sleep(1.1)
    cron.strange.append(f"no run said in peace that it was done, but {said}:\n{finished.stderr[-3000:]}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"
