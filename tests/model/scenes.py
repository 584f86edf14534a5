"""Scenes: short histories that stop a runner at each of its points in turn. A storm meets only some of them."""

from collections.abc import Callable, Iterator, Sequence

from incident_process.core.models import Tracking
from tests.model.history import MAX_ATTEMPTS, MAX_RUNS, WHOLE, History
from tests.model.machine import FACTOR, Stage
from tests.model.network import FAULTS
from tests.model.world import LEASE_SECONDS, LOOKBACK_SECONDS, Flaws, Setup, Violation

Script = Callable[[History], None]
Scene = Callable[[], Iterator[tuple[Setup, Script]]]

FIRST_RUN = 42
"""Points after which a run over two accounts is over."""
SECOND_RUN = 52
"""The same for a run that also resumes."""

STRIDE = 4 if FACTOR == 1 else 1
"""Points of the second runner between two tries; a long run tries each pair of points."""


def _pairs() -> Iterator[tuple[int, int]]:
    for first in range(1, FIRST_RUN):
        for second in range(1 + first % STRIDE, SECOND_RUN, STRIDE):
            yield first, second


def play(setup: Setup, script: Script, flaws: Flaws | None = None) -> Sequence[Violation]:
    """Play a script and the calm after it; return what broke."""
    history = History(setup, flaws or Flaws())
    Stage.world = history.world
    try:
        script(history)
        history.calm()
    finally:
        history.end()
    return history.world.violations


def _two_accounts(history: History) -> None:
    history.load("0001", "a", 70)
    history.load("0002", "a", 70)


def _overtaken(*, by_clock: bool, change: bool) -> Scene:
    """A runner stops at each of its points, its successor at each of its own; then the first goes on."""

    def script(before: int, between: int) -> Script:
        def script_steps(history: History) -> None:
            _two_accounts(history)
            history.start("window", local=False)
            history.go(0, before)
            if change:
                history.load("0001", "b", 70)
            history.set_clock("state", 1 if by_clock else 0)
            history.wait(0 if by_clock else LEASE_SECONDS + 1)
            history.start("window", local=False)
            history.go(1, between)
            history.go(0, WHOLE)

        return script_steps

    def scene() -> Iterator[tuple[Setup, Script]]:
        for before, between in _pairs():
            yield Setup(list(Tracking)[between % 2]), script(before, between)

    return scene


def killed_twice() -> Iterator[tuple[Setup, Script]]:
    """A runner is killed at each of its points, the source changes, the next one is killed, too; answers get lost."""

    def script(first: int, second: int, fault: str) -> Script:
        def script_steps(history: History) -> None:
            _two_accounts(history)
            history.fault("post", fault)
            history.start("window", local=True)
            history.go(0, first)
            history.crash(0)
            history.load("0001", "a", 70)
            history.fault("post", fault)
            history.start("window", local=True)
            history.go(0, second)
            history.crash(0)

        return script_steps

    for first, second in _pairs():
        fault = ("lost", "unanswered", "late")[second // STRIDE % 3]
        yield Setup(list(Tracking)[first % 2]), script(first, second, fault)


def stopped_then_killed() -> Iterator[tuple[Setup, Script]]:
    """A runner is asked to stop at each of its points; the next one, which sends the rest, is killed."""

    def script(stopped: int, killed: int) -> Script:
        def script_steps(history: History) -> None:
            _two_accounts(history)
            history.start("window", local=True)
            history.go(0, stopped)
            history.stop(0)
            history.finish()
            history.start("window", local=True)
            history.go(0, killed)
            history.crash(0)

        return script_steps

    for stopped, killed in _pairs():
        yield Setup(list(Tracking)[killed % 2]), script(stopped, killed)


def restored_at_each_point() -> Iterator[tuple[Setup, Script]]:
    """An operator backs the state up at each point of a run, and restores it once that run has ended."""

    def script(copied: int) -> Script:
        def script_steps(history: History) -> None:
            _two_accounts(history)
            history.start("window", local=True)
            history.go(0, copied)
            history.back_up()
            history.finish()
            history.load("0001", "a", 70)
            history.start("window", local=True)
            history.finish()
            history.restore()
            history.load("0002", "a", 70)
            for _ in ("0001", "0002"):
                history.fault("post", "lost")
            history.start("window", local=True)
            history.finish()

        return script_steps

    for copied in range(FIRST_RUN):
        for keys in (False, True):
            for tracking in Tracking:
                yield Setup(tracking, honours_keys=keys, restores=True), script(copied)


def content_returns() -> Iterator[tuple[Setup, Script]]:
    """An account's content changes and changes back, with a delivery of each."""

    def script_steps(history: History) -> None:
        history.load("0001", "a", 0)
        for value in (1, 2, 1):
            history.amend("0001", value)
            history.wait(70)
            history.start("window", local=True)
            history.finish()

    for keys in (False, True):
        for tracking in Tracking:
            yield Setup(tracking, honours_keys=keys), script_steps


def given_up() -> Iterator[tuple[Setup, Script]]:
    """New content waits behind an incident that becomes a dead letter in the same run."""

    def script_steps(history: History) -> None:
        history.make_account_fail("0001", "sick")
        for _ in range(MAX_RUNS + 1):
            _two_accounts(history)
            history.wait(70)
            history.start("window", local=True)
            history.finish()

    for tracking in Tracking:
        yield Setup(tracking), script_steps


def committed_late() -> Iterator[tuple[Setup, Script]]:
    """A transaction that was open longer than the lookback commits at each point of a run."""

    def script(point: int) -> Script:
        def script_steps(history: History) -> None:
            history.begin()
            history.write(0, "0003", "a", 0)
            history.wait(2 * LOOKBACK_SECONDS)
            _two_accounts(history)
            history.start("window", local=True)
            history.go(0, point)
            history.commit(0)

        return script_steps

    for point in range(FIRST_RUN):
        for tracking in Tracking:
            yield Setup(tracking), script(point)


def never_answered() -> Iterator[tuple[Setup, Script]]:
    """An account gets new content while attempts at its earlier one fail, too few to make that a dead letter.

    A request that arrives after its incident became a dead letter is beyond the promise.
    """

    def script(runs: int, times: int, fault: str) -> Script:
        def script_steps(history: History) -> None:
            for _ in range(times):
                history.fault("post", fault)
            for _ in range(runs):
                history.load("0001", "a", 70)
                history.start("window", local=True)
                history.finish()
                history.wait(1)

        return script_steps

    for runs in (2, 3):
        for times in range(1, MAX_ATTEMPTS * MAX_RUNS):
            for fault in FAULTS:
                yield Setup(list(Tracking)[times % 2]), script(runs, times, fault)


overtaken_by_time = _overtaken(by_clock=False, change=True)
overtaken_by_the_clock = _overtaken(by_clock=True, change=False)

SCENES: dict[str, Scene] = {
    "overtaken after its lease": overtaken_by_time,
    "overtaken because the store's clock was set": overtaken_by_the_clock,
    "killed, and the next one, too": killed_twice,
    "stopped, and the next one killed": stopped_then_killed,
    "the state restored from a copy": restored_at_each_point,
    "a late commit": committed_late,
    "content that is never answered for": never_answered,
    "content that returns": content_returns,
    "an incident given up": given_up,
}
