"""What all runners share: clocks, the source's rows and transactions, faults to come, and broken invariants.

Time is virtual and passes for all runners; the source's clock and the state's clock may be set. Each row has its own
value unless it is amended, so a body shows which rows it was made from.
"""

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from incident_process.core.models import Tracking

START = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
GAP_SECONDS = 60
LEASE_SECONDS = 60
LOOKBACK_SECONDS = 3600
GUARD_SECONDS = 86_400
LATENCIES = (0.0, 0.0, 0.001, 0.002, 0.005, 0.02, 0.3)

LATEST_STAMP = 600
"""Seconds that a row's stamp may lie before its commit, outside of transactions that the guard sees."""
CLOCK_ERROR = 300
"""Seconds by which a clock may be off, either way. These two and an unseen transaction together stay within the
lookback: ``reconcile`` finds what comes later (SPEC 10)."""
UNSEEN_SECONDS = 1200
SEEN_SECONDS = 80_000
"""Seconds that a transaction stays open at most: where the guard does not see it, and where it does."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same through one history."""

    tracking: Tracking = Tracking.MONGO
    unit: int = 1  # the precision of LOAD_DATE in seconds
    honours_keys: bool = False  # whether the receiver recognises a repeated Idempotency-Key
    restores: bool = False  # whether the state may be replaced by an older copy of itself
    sees_writers: bool = True  # whether the source tells of open transactions
    seed: int = 0  # for latencies and jitter


@dataclass(frozen=True, slots=True)
class Flaws:
    """Safeguards that the doubles leave out (``safeguards`` removes those of the pipeline)."""

    fencing: bool = False  # writes do not check the token
    claim: bool = False  # the outbox is read without a fenced write
    lookback: bool = False  # the survey begins behind the watermark
    guard: bool = False  # open transactions of the source are not asked for


@dataclass(slots=True, kw_only=True)
class Row:
    """A row of debt_cust_detail, or of debt_payment where ``asset`` is None."""

    account: str
    asset: str | None
    stamp: datetime
    value: int


@dataclass(slots=True)
class Transaction:
    """A loader's open transaction: its rows appear at the commit."""

    began: float
    started: datetime
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: its name, and what happened."""

    invariant: str
    story: str


class World:
    """The surroundings of one history."""

    def __init__(self, setup: Setup, flaws: Flaws) -> None:
        self.setup = setup
        self.flaws = flaws
        self.elapsed = 0.0
        self.source_ahead = 0.0
        self.state_ahead = 0.0
        self.rows: list[Row] = []
        self.open: list[Transaction] = []
        self.post_faults: deque[str] = deque()
        self.state_faults: deque[str] = deque()
        self.source_faults: deque[str] = deque()
        self.gone_here: set[str] = set()  # processes of this machine that are gone
        self.violations: list[Violation] = []
        self._chance = random.Random(setup.seed)
        self._values = 100  # below are the values of amended rows

    # -- clocks ---------------------------------------------------------------------------------------------------

    def source_now(self) -> datetime:
        """Return the time of the source database's clock."""
        return START + timedelta(seconds=self.elapsed + self.source_ahead)

    def state_now(self) -> float:
        """Return the seconds of the state store's clock."""
        return self.elapsed + self.state_ahead

    def pass_time(self, seconds: float) -> None:
        """Let time pass; a loader commits a transaction that has been open for too long."""
        limit = SEEN_SECONDS if self.setup.sees_writers else UNSEEN_SECONDS
        for transaction in list(self.open):
            if self.elapsed + seconds - transaction.began > limit:
                self.commit(transaction)
        self.elapsed += seconds

    def latency(self) -> float:
        """Return the seconds that the next half of a call takes."""
        return self._chance.choice(LATENCIES)

    # -- the source -----------------------------------------------------------------------------------------------

    def floor(self, instant: datetime) -> datetime:
        """Round down to the precision of LOAD_DATE."""
        seconds = (instant - START.replace(hour=0, minute=0)) // timedelta(seconds=self.setup.unit)
        return START.replace(hour=0, minute=0) + seconds * timedelta(seconds=self.setup.unit)

    def row(self, account: str, asset: str | None, late: int) -> Row:
        """Return a new row stamped ``late`` seconds ago."""
        self._values += 1
        stamp = self.floor(self.source_now() - timedelta(seconds=late))
        return Row(account=account, asset=asset, stamp=stamp, value=self._values)

    def commit(self, transaction: Transaction) -> None:
        """Make a transaction's rows visible."""
        self.open.remove(transaction)
        self.rows += transaction.rows

    def rows_of(self, account: str, as_of: datetime) -> list[Row]:
        """Return the account's committed rows up to an instant."""
        return [row for row in self.rows if row.account == account and row.stamp <= as_of]

    # -- what broke -----------------------------------------------------------------------------------------------

    def violate(self, invariant: str, story: str) -> None:
        """Note a broken invariant."""
        self.violations.append(Violation(invariant, f"at {self.elapsed:.3f} s: {story}"))
