"""Histories of receivers that refuse accounts, limit the rate, or fail (SPEC 5).

A history is a number of days. On each day accounts arrive, the receiver refuses some of them for ever, and it is well,
limits the rate, or fails from one request on; then a run follows. After the last day the receiver is well again but for
the accounts that it refuses: it must then have the content of all others, and after ``max_runs`` runs that deliver
something, the operation is completed and the refused accounts are dead letters.
"""

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from incident_process.core.models import DeliveryStatus, RunStatus, Tracking
from tests.model.history import MAX_RUNS, WHOLE, History
from tests.model.machine import BrokenError, Stage
from tests.model.receiver import Weather
from tests.model.state import Entry
from tests.model.world import Flaws, Setup

REFUSING = (400, 403, 410, 413, 422, 500, 501, 502)
"""Statuses that may refuse one account. 429 and 503 speak of the client or of the service."""
FAILING = (None, 500, 502, 503)
REJECTING = (400, 401, 404, 413, 422)


@dataclass(frozen=True, kw_only=True)
class Sky:
    """The receiver's weather on one day; with ``lasts`` it fails to the end of the run."""

    status: int | None = None
    begin: int = 0
    length: int = 0
    lasts: bool = False
    per_second: int = 0
    limit: int = 429
    retry_after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day: ``healthy`` accounts arrive and at most as many that the receiver refuses; then a run follows."""

    healthy: int
    refused: tuple[int, ...]
    refused_first: bool
    sky: Sky


well = st.builds(Sky)
limiting = st.builds(
    Sky,
    per_second=st.integers(1, 8),
    limit=st.sampled_from([429, 503]),
    retry_after=st.sampled_from([None, "0", "1", "7"]),
)
failing = st.builds(
    Sky, status=st.sampled_from(FAILING), begin=st.integers(0, 12), length=st.integers(1, 40), lasts=st.booleans()
)
rejecting = st.builds(Sky, status=st.sampled_from(REJECTING), begin=st.integers(0, 12), lasts=st.just(True))
days = st.builds(
    Day,
    healthy=st.integers(0, 6),
    refused=st.lists(st.sampled_from(REFUSING), max_size=4).map(tuple),
    refused_first=st.booleans(),
    sky=st.one_of(well, well, limiting, failing, rejecting),
)
histories = st.tuples(st.sampled_from(Tracking), st.integers(0, 999), st.lists(days, min_size=1, max_size=6))


class Season:
    """One history while it is played."""

    def __init__(self, tracking: Tracking, seed: int) -> None:
        self.history = History(Setup(tracking, seed=seed), Flaws())
        Stage.world = self.history.world
        self.healthy: set[str] = set()
        self._arrived = 0

    @property
    def refused(self) -> dict[str, int]:
        """The accounts that the receiver refuses for ever, with their statuses."""
        return self.history.receiver.refuses

    def live(self, day: Day) -> None:
        """Play one day."""
        kinds: list[int | None] = [*day.refused[: day.healthy], *[None] * day.healthy]
        for status in kinds if day.refused_first else reversed(kinds):
            self._arrive(status)
        sky = day.sky
        self.history.receiver.weather = Weather(
            sky.status,
            begin=sky.begin,
            end=10**9 if sky.lasts else sky.begin + sky.length,
            per_second=sky.per_second,
            limit=sky.limit,
            retry_after=sky.retry_after,
        )
        delivered = self._run()
        is_calm = not (sky.lasts or sky.length)
        waiting = self.healthy - delivered
        if is_calm and waiting:
            self.history.world.violate("waits", f"{sorted(waiting)} were not sent while {self.refused} are refused")

    def end(self) -> None:
        """Make the receiver well again and check that ``MAX_RUNS`` runs complete the operation."""
        self.history.receiver.weather = Weather()
        status = None
        for _ in range(MAX_RUNS):
            self._arrive(None)
            delivered = self._run()
            if self.healthy - delivered:
                self.history.world.violate("waits", f"{sorted(self.healthy - delivered)} were not sent")
            status = self._last_status
        if status not in {RunStatus.COMPLETED, RunStatus.NO_DATA}:
            self.history.world.violate("hangs", f"after {MAX_RUNS} runs that delivered something it is {status}")
        dead = {entry.account for entry in self._ledger if entry.status is DeliveryStatus.DEAD}
        if self.refused.keys() - dead:
            self.history.world.violate("hangs", f"{sorted(self.refused.keys() - dead)} are no dead letters")
        self.refused.clear()
        self.history.calm()

    def _arrive(self, status: int | None) -> None:
        self._arrived += 1
        account = f"{self._arrived:04d}"
        self.history.load(account, "a", 70)
        if status is None:
            self.healthy.add(account)
        else:
            self.refused[account] = status

    @property
    def _ledger(self) -> list[Entry]:
        return list(self.history.database.data.ledger.values())

    def _run(self) -> set[str]:
        """Run a window to its end; return the accounts delivered so far."""
        history = self.history
        history.world.pass_time(70)
        history.start("window", local=True)
        (process,) = history.live
        history.go(0, WHOLE)
        self._last_status = process.report.status if process.report is not None else None
        for entry in self._ledger:
            if entry.status is DeliveryStatus.DEAD and entry.account in self.healthy:
                history.world.violate("healthy", f"{entry.account} is a dead letter")
        return {entry.account for entry in self._ledger if entry.status is DeliveryStatus.DELIVERED}


def play(history: tuple[Tracking, int, list[Day]]) -> None:
    """Play a history; raise BrokenError when an invariant breaks."""
    tracking, seed, planned_days = history
    season = Season(tracking, seed)
    try:
        for day in planned_days:
            season.live(day)
        season.end()
    finally:
        season.history.end()
    if season.history.world.violations:
        raise BrokenError(season.history.world.violations)


def search(count: int, *, shorten: bool = True) -> None:
    """Play this many histories; raise BrokenError for one that breaks an invariant, shortened if ``shorten``."""
    settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shorten else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )(given(histories)(play))()
