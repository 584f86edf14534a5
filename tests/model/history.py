"""A history: one method for each kind of event, and at the end the calm in which SPEC 10 is checked."""

from datetime import timedelta
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

from incident_process.core.crash_points import CrashPoints
from incident_process.core.errors import IncidentProcessError
from incident_process.core.events import Events
from incident_process.core.models import NEVER, DeliveryStatus, RunStatus, Tracking
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import RunPlan, WindowPlan, backfill, replay
from incident_process.pipeline.run import Run as RunOfPlan
from incident_process.pipeline.transform import LocalBuilder
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import StateStore
from tests.model.invariant_checker import InvariantChecker
from tests.model.network import Requests
from tests.model.process import Process, Run
from tests.model.receiver import Receiver
from tests.model.source import Rows
from tests.model.state import OPERATION, Database, Store
from tests.model.world import (
    CLOCK_ERROR,
    GAP_SECONDS,
    GUARD_SECONDS,
    LATEST_STAMP,
    LEASE_SECONDS,
    LOOKBACK_SECONDS,
    Flaws,
    Setup,
    Transaction,
    World,
)

ACCOUNTS = ("0001", "0002", "0003")
MAX_ATTEMPTS = 3
MAX_RUNS = 3
MOST_RUNNERS = 2
WHOLE = 100_000
"""Points after which every run has ended."""


@lru_cache
def settings(tracking: Tracking, *, guard: bool = True) -> Settings:
    """Return settings that make runs short: few connections, small chunks, few attempts."""
    return Settings.model_validate(
        {
            "api": {
                "api_url": "http://receiver.test/",
                "max_connections": 3,
                "max_attempts": MAX_ATTEMPTS,
                "breaker_failures": 3,
            },
            "database": {"url": "sqlite:///none.db"},
            "mongodb": {"mongo_url": "mongodb://none.test/", "database_name": "none"},
            "process": {
                "operation_name": OPERATION,
                "tracking": tracking.value,
                "time_gap_seconds": GAP_SECONDS,
                "lookback_seconds": LOOKBACK_SECONDS,
                "guard_limit_seconds": GUARD_SECONDS if guard else 0,
                "lease_seconds": LEASE_SECONDS,
                "chunk_accounts": 2,
                "max_runs": MAX_RUNS,
            },
        }
    )


class History:
    """One history. Each method is an event, and does nothing where the event is impossible now."""

    def __init__(self, setup: Setup, flaws: Flaws) -> None:
        self.world = World(setup, flaws)
        self.receiver = Receiver(honours_keys=setup.honours_keys)
        self.checker = InvariantChecker(self.world, self.receiver)
        self.database = Database(self.world)
        self.live: list[Process] = []
        self._names = 0

    # -- loaders --------------------------------------------------------------------------------------------------

    def load(self, account: str, asset: str | None, late: int) -> None:
        """A loader inserts a row stamped ``late`` seconds ago, and commits at once."""
        self.world.rows.append(self.world.row(account, asset, late))

    def begin(self) -> None:
        """A loader opens a transaction."""
        if len(self.world.open) < 3:
            self.world.open.append(Transaction(self.world.elapsed, self.world.source_now()))

    def write(self, at: int, account: str, asset: str | None, late: int) -> None:
        """A loader inserts a row in its transaction."""
        if self.world.open:
            transaction = self.world.open[at % len(self.world.open)]
            transaction.rows.append(self.world.row(account, asset, late))

    def commit(self, at: int) -> None:
        """A loader commits."""
        if self.world.open:
            self.world.commit(self.world.open[at % len(self.world.open)])

    def amend(self, account: str, value: int) -> None:
        """A loader changes the account's newest row in place, if the row is young enough for the lookback.

        Not where states are restored: a restored state has lost which contents were delivered in between, so a content
        that returns looks like a first delivery (decision 0008).
        """
        young = self.world.floor(self.world.source_now() - timedelta(seconds=LATEST_STAMP))
        rows = [row for row in self.world.rows if row.account == account and row.asset and row.stamp >= young]
        if rows and not self.world.setup.restores:
            max(rows, key=lambda row: (row.stamp, row.asset or "", row.value)).value = value

    # -- runners --------------------------------------------------------------------------------------------------

    def start(self, kind: str, local: bool) -> None:
        """A runner starts, if fewer than ``MOST_RUNNERS`` are at work."""
        if len(self.live) < MOST_RUNNERS:
            self.live.append(self._process(kind, local=local))

    def go(self, at: int, points: int) -> None:
        """A runner goes on for this many points; the others stand still meanwhile."""
        if self.live:
            process = self.live[at % len(self.live)]
            try:
                process.go(points)
            except IncidentProcessError as exc:
                self.world.violate("fault", f"{process.name}: {type(exc).__name__}: {exc}")
            if process.gone:
                self.live.remove(process)

    def finish(self) -> None:
        """All runners finish."""
        while self.live:
            self.go(0, WHOLE)

    def crash(self, at: int) -> None:
        """A runner is killed."""
        if self.live:
            self.live.pop(at % len(self.live)).crash()

    def stop(self, at: int) -> None:
        """A runner is asked to stop in good order."""
        if self.live:
            run = self.live[at % len(self.live)].run
            assert run is not None
            run.request_stop("asked to stop")

    # -- surroundings ---------------------------------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        """Time passes and nothing else happens."""
        self.world.pass_time(seconds)

    def set_clock(self, which: str, off: int) -> None:
        """An operator sets the source's or the state's clock.

        Where states are restored, only forward: the counter and the clock guard the ids, and a restored state has
        already lost the counter.
        """
        if which == "state":
            self.world.state_ahead = off * CLOCK_ERROR
        elif not self.world.setup.restores or off * CLOCK_ERROR > self.world.source_ahead:
            self.world.source_ahead = off * CLOCK_ERROR

    def fault(self, where: str, what: str) -> None:
        """The next call to the receiver ("post"), the state or the source fails."""
        queues = {"post": self.world.post_faults, "state": self.world.state_faults, "source": self.world.source_faults}
        queues[where].append(what)

    def mood(self, mood: str) -> None:
        """The receiver comes up, goes down, or rejects every request."""
        self.receiver.mood = mood

    def make_account_fail(self, account: str, how: str) -> None:
        """The receiver answers one account with 500 ("sick") or rejects it ("poisoned") until the calm."""
        (self.receiver.sick if how == "sick" else self.receiver.poisoned).add(account)

    def arrive(self) -> None:
        """Delayed requests arrive."""
        self.receiver.arrive()

    def back_up(self) -> None:
        """An operator backs the state up."""
        self.database.back_up()

    def restore(self) -> None:
        """An operator restores the backup while no runner is at work.

        Delayed requests arrive before: nothing can tell an old content that arrives after the state has forgotten it
        from a new one.
        """
        if self.world.setup.restores and not self.live:
            self.receiver.arrive()
            self.world.pass_time(1)
            self.database.restore()

    def end(self) -> None:
        """Kill all runners."""
        while self.live:
            self.crash(0)

    # -- the calm -------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """End all faults, let a last run finish, and check the receiver's log."""
        world = self.world
        for transaction in list(world.open):
            world.commit(transaction)
        for faults in (world.post_faults, world.state_faults, world.source_faults):
            faults.clear()
        self.receiver.mood = "well"
        self.receiver.arrive()
        self.finish()
        self.receiver.sick.clear()
        self.receiver.poisoned.clear()
        world.pass_time(GAP_SECONDS + LEASE_SECONDS + LATEST_STAMP + 2 * CLOCK_ERROR + world.setup.unit)
        self._last("window")
        if self._dead():
            self._last("replay")
        as_of = world.source_now() - timedelta(seconds=GAP_SECONDS)
        self.checker.check_log(as_of)
        world.pass_time(GAP_SECONDS)
        posts = self.checker.posts
        self._last("window")
        if self.checker.posts != posts:
            world.violate("restless", "a run without new rows posted incidents")

    def _last(self, kind: str) -> None:
        process = self._process(kind, local=True)
        self.live.append(process)
        self.go(0, WHOLE)
        if process.report is None or process.report.status not in {RunStatus.COMPLETED, RunStatus.NO_DATA}:
            self.world.violate("stuck", f"the last run ended as {process.report}, {process.fault}")

    def _dead(self) -> list[str]:
        """Return the accounts whose newest entry is a dead letter that the receiver does not have."""
        has = {item.incident_id for item in self.receiver.log}
        newest = {entry.account: (number, entry) for number, entry in sorted(self.database.data.ledger.items())}
        return [
            account
            for account, (number, entry) in newest.items()
            if entry.status is DeliveryStatus.DEAD and number not in has
        ]

    def _process(self, kind: str, *, local: bool) -> Process:
        self._names += 1
        process = Process(self.world, f"runner-{self._names}", local=local)
        process.start(self._run(kind, self._parts(process)))
        return process

    def _parts(self, process: Process) -> Parts:
        # The doubles have what runs call; anything else would be an AttributeError, not a wrong answer.
        source = cast("Source", Rows(process, self.world, self.checker))
        return Parts(
            settings=settings(self.world.setup.tracking, guard=not self.world.flaws.guard),
            source=source,
            builder=LocalBuilder(source, ZoneInfo("UTC")),
            store=cast("StateStore", Store(process, self.world, self.database, self.checker)),
            transport=Requests(process, self.world, self.receiver, self.checker),
            faults=CrashPoints(),
            events=Events(),
        )

    def _run(self, kind: str, parts: Parts) -> Run:
        return RunOfPlan(parts, self._plan(kind, parts))

    def _plan(self, kind: str, parts: Parts) -> RunPlan:
        if kind == "replay":
            return replay(parts, self._dead())
        if kind == "backfill":
            return backfill(parts, NEVER, self.world.source_now(), force=False)
        return WindowPlan(parts)
