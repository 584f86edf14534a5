"""The state machine: hypothesis chooses each next event, and shortens a history that breaks an invariant."""

import os
import sys
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from incident_process.core.models import Tracking
from tests.model.history import ACCOUNTS, WHOLE, History
from tests.model.network import FAULTS
from tests.model.world import LATEST_STAMP, LEASE_SECONDS, Flaws, Setup, Violation, World

FACTOR = int(os.environ.get("MODEL_FACTOR", "1"))
"""Multiplies the number of histories, for a long run."""
STEPS = 40

NewRow = tuple[str, str | None, int]
accounts = st.sampled_from(ACCOUNTS)
assets = st.sampled_from(["a", "b", None])
stamps = st.sampled_from([0, 5, 70, LATEST_STAMP, -200])  # seconds ago; one is yet to come
rows = st.tuples(accounts, assets, stamps)
kinds = st.sampled_from(["window", "window", "backfill", "replay"])
points = st.one_of(st.integers(1, 60), st.just(WHOLE))
few_points = st.integers(1, 20)
waits = st.sampled_from([1, 70, 700, 5000])
which = st.integers(0, 1)


class BrokenError(AssertionError):
    """A history broke an invariant."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("\n".join(f"{v.invariant}: {v.story}" for v in violations))
        self.invariants = {violation.invariant for violation in violations}


class Stage:
    """The world that the patched clocks read: that of the current history."""

    world: World | None = None


def uptime() -> float:
    """Return the world's time in place of the seconds since boot."""
    assert Stage.world is not None
    return Stage.world.elapsed


class Storm(RuleBasedStateMachine):
    """Runs, crashes, late commits, lost answers and other events in any order; then the calm."""

    honours_keys = False
    restores = False
    flaws = Flaws()

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None

    @initialize(
        tracking=st.sampled_from(Tracking),
        unit=st.sampled_from([1, 3600]),
        sees_writers=st.booleans(),
        seed=st.integers(0, 999),
    )
    def begin_history(self, tracking: Tracking, unit: int, sees_writers: bool, seed: int) -> None:
        setup = Setup(tracking, unit, self.honours_keys, self.restores, sees_writers, seed)
        self.history = History(setup, self.flaws)
        Stage.world = self.history.world

    @property
    def _now(self) -> History:
        assert self.history is not None
        return self.history

    @invariant()
    def nothing_is_broken(self) -> None:
        if self.history is not None and self.history.world.violations:
            raise BrokenError(self.history.world.violations)

    def teardown(self) -> None:
        """Play the calm and check it, unless the history ended in an error."""
        if self.history is None:
            return
        try:
            if sys.exc_info()[0] is None:
                self.history.calm()
                self.nothing_is_broken()
        finally:
            self.history.end()

    # Few rules that each do much: hypothesis chooses all rules equally often.

    @rule(rows=st.lists(rows, min_size=1, max_size=3))
    def load(self, rows: list[NewRow]) -> None:
        for row in rows:
            self._now.load(*row)

    @rule(row=rows, begin=st.booleans(), at=which, seconds=waits, other=rows)
    def write_in_a_transaction(self, row: NewRow, begin: bool, at: int, seconds: int, other: NewRow) -> None:
        if begin:
            self._now.begin()
        self._now.write(at, *row)
        self._now.wait(seconds)
        self._now.load(*other)

    @rule(begin=st.booleans(), at=which)
    def end_a_transaction(self, begin: bool, at: int) -> None:
        self._now.commit(at)
        if begin:
            self._now.begin()

    @rule(account=accounts, value=st.integers(1, 2), points=points)
    def amend(self, account: str, value: int, points: int) -> None:
        self._now.amend(account, value)
        self._now.wait(70)
        self._run("window", local=True, points=points)

    @rule(kind=kinds, local=st.booleans(), points=points)
    def run(self, kind: str, local: bool, points: int) -> None:
        self._run(kind, local=local, points=points)

    @rule(seconds=waits, points=points)
    def run_later(self, seconds: int, points: int) -> None:
        self._now.wait(seconds)
        self._run("window", local=False, points=points)

    @rule(at=which, points=points)
    def go_on(self, at: int, points: int) -> None:
        self._now.go(at, points)

    @rule(fresh=st.lists(rows, max_size=2), before=few_points, between=points, after=points, by_clock=st.booleans())
    def overtake(self, fresh: list[NewRow], before: int, between: int, after: int, by_clock: bool) -> None:
        """A runner stops past its lease, by the store's clock or by all clocks; a second runs; the first goes on."""
        self._now.finish()
        self.load(fresh)
        self._now.wait(70)
        self._run("window", local=False, points=before)
        if by_clock:
            self._now.set_clock("state", 1)
        else:
            self._now.wait(LEASE_SECONDS + 10)
        self._run("window", local=False, points=between)
        self._now.go(0, after)
        self._now.set_clock("state", 0)

    @rule(at=which, seconds=waits)
    def crash(self, at: int, seconds: int) -> None:
        self._now.crash(at)
        self._now.wait(seconds)

    @rule(what=st.sampled_from(FAULTS), times=st.integers(1, 4))
    def lose(self, what: str, times: int) -> None:
        for _ in range(times):
            self._now.fault("post", what)

    @rule(fault=st.sampled_from([("state", "before"), ("state", "after"), ("source", "before")]))
    def fail(self, fault: tuple[str, str]) -> None:
        self._now.fault(*fault)

    @rule(
        how=st.one_of(
            st.tuples(st.just("mood"), st.sampled_from(["well", "down", "refusing"])),
            st.tuples(st.just("set_clock"), st.sampled_from(["source", "state"]), st.sampled_from([0, 1, -1])),
            st.tuples(st.just("stop"), which),
            st.tuples(st.just("arrive")),
        )
    )
    def trouble(self, how: tuple[Any, ...]) -> None:
        getattr(self._now, how[0])(*how[1:])

    @rule(account=accounts, asset=assets, how=st.sampled_from(["sick", "poisoned"]), points=points)
    def make_account_fail(self, account: str, asset: str | None, how: str, points: int) -> None:
        self._now.make_account_fail(account, how)
        self._now.load(account, asset, 70)
        self._run("window", local=True, points=points)

    @rule(back_up=st.booleans())
    def copy(self, back_up: bool) -> None:
        if back_up:
            self._now.back_up()
        else:
            self._now.restore()

    def _run(self, kind: str, *, local: bool, points: int) -> None:
        self._now.start(kind, local)
        self._now.go(-1, points)


class StormWithKeys(Storm):
    """The receiver honours the Idempotency-Key."""

    honours_keys = True


class Restored(Storm):
    """The state is lost, or replaced by an old copy of itself."""

    restores = True


class RestoredWithKeys(Storm):
    """Both."""

    honours_keys = True
    restores = True


def search(machine: type[Storm], histories: int, *, flaws: Flaws | None = None, shorten: bool = True) -> None:
    """Play this many histories; raise BrokenError for one that breaks an invariant, shortened if ``shorten``."""
    played = type(machine.__name__, (machine,), {"flaws": flaws or Flaws()})
    run_state_machine_as_test(
        played,
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink) if shorten else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
