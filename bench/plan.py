"""How much is measured: ACCOUNTS and SCALE from the environment, and what follows from them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

LOOKBACK_ACCOUNTS = 100_000
"""Unchanged accounts in the lookback of the hourly run, where there are as many."""

TINY = 2_000
"""With no more accounts than this the figures mean nothing: the run only shows that the bench still works."""

CONNECTIONS = 64
"""Requests under way at once: the product's default, and the same for everything that it is compared with."""

MONGO_ACCOUNTS = 20_000
"""More than this the Mongo-wire server of the tests does not get in the main measurement: it would take most of it."""

CHUNK = 1_000
"""Incidents that are written at a time: the product's default ``chunk_accounts``."""

ASSETS = 3
"""Customer rows of an account in one load."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of one run of the bench. Numbers are accounts where nothing else is said."""

    accounts: int
    """In the source's main database: three customer rows and two payments each."""

    @property
    def tiny(self) -> bool:
        """True for a run that only proves that the bench works."""
        return self.accounts <= TINY

    @property
    def repeats(self) -> int:
        """Number of the short measurements; the bench shows their median."""
        return 1 if self.tiny else 3

    @property
    def small(self) -> int:
        """A second, smaller database: memory must not grow from it to the main one."""
        return max(self.accounts // 10, min(self.accounts, 20))

    @property
    def mongo(self) -> int:
        """Accounts for the Mongo-wire server: it is the slow one, and more accounts show nothing new."""
        return self.small if self.accounts > MONGO_ACCOUNTS else self.accounts

    @property
    def posts(self) -> int:
        """Requests of one raw measurement."""
        return min(self.accounts, 50_000)

    @property
    def lookback(self) -> int:
        """Accounts of the main database whose rows are of today; those of all others are old."""
        return min(self.accounts, LOOKBACK_ACCOUNTS)

    @property
    def changed(self) -> int:
        """Accounts with a new payment in the hourly run."""
        return min(1_000, max(self.accounts // 10, 1))

    @property
    def table_rows(self) -> tuple[int, ...]:
        """Sizes of the table, in customer rows, at which the hourly run is measured."""
        base = self.accounts * ASSETS
        if self.accounts >= 1_000_000:
            return (LOOKBACK_ACCOUNTS * ASSETS, 3_000_000, 10_000_000)
        return (base * 2,) if self.tiny else (base, base * 3)

    @property
    def history(self) -> int:
        """Accounts in the window when the depth of their history is measured."""
        return min(self.accounts, 2_000)

    @property
    def loads(self) -> tuple[int, ...]:
        """The depths of history, in loads."""
        return (2,) if self.tiny else (1, 30, 365)

    @property
    def sample(self) -> int:
        """Accounts of the naive way; the bench extrapolates the rest."""
        return min(self.accounts, 10 if self.tiny else 300)

    @property
    def unindexed_sample(self) -> int:
        """Accounts of the naive way over tables without an index, as in the field: each reads the whole table."""
        return min(self.accounts, 20 if self.accounts <= 100_000 else 5)

    @property
    def peer_rows(self) -> int:
        """Rows that the peers post."""
        return min(self.accounts * ASSETS, 3_000)

    @property
    def starts(self) -> int:
        """Number of measured cold starts."""
        return 1 if self.tiny else 9

    @property
    def wrk_seconds(self) -> int:
        """Seconds for which wrk posts."""
        return 1 if self.tiny else 4

    @property
    def queues(self) -> tuple[tuple[int, int, int], ...]:
        """Workers of a receiver with a queue, milliseconds that each takes for a request, and accounts."""
        if self.tiny:
            return ((4, 5, 20),)
        return ((4, 50, 500), (16, 50, 2_000), (64, 50, 8_000), (1, 1_000, 30))

    @property
    def latencies(self) -> tuple[tuple[int, int], ...]:
        """Pairs of the receiver's latency in milliseconds and max_connections."""
        if self.tiny:
            return ((5, 64),)
        return ((0, 64), (5, 8), (5, 64), (5, 256), (50, 64), (50, 256), (50, 1000))


def plan(environment: Mapping[str, str] = os.environ) -> Plan:
    """Read the plan.

    Raises:
        SystemExit: ACCOUNTS or SCALE is no positive whole number.
    """
    return Plan(accounts=_number(environment, "ACCOUNTS", 100_000) * _number(environment, "SCALE", 1))


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SystemExit(f"{name}={text} is no positive whole number: write {name}={default}")
    return int(text)
