"""What the source's writers write: the same for the same seed, as a list of transactions. Pure, as ``plan``."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.storm.plan import SitePlan

WRITERS = 6
LONGEST_HOLD_SECONDS = 15.0
MOST_BACK_SECONDS = 15
"""How long before it is inserted a row is stamped at most, unless it is meant to be later than the lookback. With the
longest transaction it stays well below the shortest lookback, so that no stall of this machine makes a row too late."""

GRID_SECONDS = 5
ASSETS = ("A1", "A2", None)
NAMES = ("Perera", "O'Neil", "Müller; --", "100 % sure", "渡辺")
HOSTILE_ACCOUNTS = ("0000'; DROP--", "00%s%(x)s", '00"quoted"\\', "00 😀 smile")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """LOAD_DATE by the database's clock: ``back`` seconds ago; with ``grid``, many are equal.

    ``never``: "null", "zero" or "future", a row that may not enter any window.
    """

    back: int = 0
    grid: bool = False
    never: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """One statement. ``kind``: insert, update (in place, all rows of the account's asset), or repeat (a whole row)."""

    kind: str
    table: str
    account: str
    stamp: Stamp
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """Changes that are committed together, or not at all. ``hold`` seconds pass in equal parts between them.

    ``beyond``: its rows are stamped before anything that a lookback reaches.
    """

    rest: float
    hold: float
    changes: tuple[Change, ...]
    commit: bool = True
    beyond: bool = False


def accounts(site: SitePlan) -> list[str]:
    """The accounts of a storm: strings with leading zeros, and a few with what breaks careless programs."""
    return [*(f"{number:010d}" for number in range(site.accounts)), *HOSTILE_ACCOUNTS]


def transactions(seed: int, writer: int, site: SitePlan) -> Iterator[Transaction]:
    """Yield what one writer does, without end."""
    rng = random.Random(f"{seed} writer {writer}")
    everyone = accounts(site)
    while True:
        rest = rng.uniform(0.02, 0.5)
        chance = rng.random()
        if chance < 0.45:
            yield Transaction(rest=rest, hold=0, changes=(_change(rng, everyone),))
        elif chance < 0.75:
            # The start is stamped early, the end comes late; every so often nothing comes of it.
            hold = rng.choice((0.0, rng.uniform(0.2, 4.0), rng.uniform(4.0, LONGEST_HOLD_SECONDS)))
            changes = tuple(_change(rng, everyone) for _ in range(rng.randint(2, 6)))
            yield Transaction(rest=rest, hold=hold, changes=changes, commit=rng.random() < 0.85)
        elif chance < 0.85:
            stamp = Stamp(back=rng.choice((0, 0, 8)), grid=True)
            changes = tuple(_customer(rng, account, stamp) for account in rng.choices(everyone, k=rng.randint(10, 40)))
            yield Transaction(rest=rest, hold=0, changes=changes)
        elif chance < 0.93:
            never = Stamp(never=rng.choice(("null", "zero", "future")))
            yield Transaction(rest=rest, hold=0, changes=(_insert(rng, rng.choice(everyone), never),))
        elif chance < 0.96:
            # Older than one day too, since that is what a DATE column's lookback reaches at least.
            stamp = Stamp(back=rng.randint(3, 30) * 86_400)
            # Half of them are accounts with nothing else, so that no newer row has them looked at by chance.
            account = rng.choice(everyone) if rng.random() < 0.5 else f"9{rng.randrange(10**9):09d}"
            change = _customer(rng, account, stamp)
            # An asset that no newer row hides: the document is wrong until somebody looks at the account again.
            asset = {"ASSET_ID": f"OLD{rng.randrange(1000)}"}
            change = replace(change, values=change.values | asset)
            yield Transaction(rest=rest, hold=0, changes=(change,), beyond=True)
        else:
            late = Stamp(back=rng.randint(5, MOST_BACK_SECONDS))
            hold = rng.uniform(0.0, LONGEST_HOLD_SECONDS)
            changes = (_insert(rng, rng.choice(everyone), late), _insert(rng, rng.choice(everyone), late))
            yield Transaction(rest=rest, hold=hold, changes=changes)


def _change(rng: random.Random, everyone: list[str]) -> Change:
    account = rng.choice(everyone)
    stamp = Stamp(back=rng.choice((0, 0, 0, 3, MOST_BACK_SECONDS)), grid=rng.random() < 0.3)
    chance = rng.random()
    if chance < 0.6:
        return _insert(rng, account, stamp)
    made = _insert(rng, account, stamp)
    kind = "update" if chance < 0.85 else "repeat"
    return Change(kind=kind, table=made.table, account=account, stamp=stamp, values=made.values)


def _insert(rng: random.Random, account: str, stamp: Stamp) -> Change:
    return _customer(rng, account, stamp) if rng.random() < 0.6 else _payment(rng, account, stamp)


def _customer(rng: random.Random, account: str, stamp: Stamp) -> Change:
    """A customer row of few possible values, so that a content comes back after another one."""
    values = {
        "ACCOUNT_NUM": account,
        "CUSTOMER_REF": f"CR{account[-3:]}",
        "ASSET_ID": rng.choice(ASSETS),
        "OUTSTANDING": rng.choice(("0.00", "10.50", "99999999999999.99", None)),
        "CONTACT_PERSON": rng.choice(NAMES),
        "MOBILE_CONTACT": rng.choice(("0771234567", None)),
        "TECNICAL_CONTACT_EMAIL": rng.choice(("a@example.com", "no address")),
        "LAST_BILL_DTM": rng.choice(("2026-01-31", None)),
        "CREDIT_CLASS_ID": rng.choice((1, 2, None)),
    }
    return Change(kind="insert", table="debt_cust_detail", account=account, stamp=stamp, values=values)


def _payment(rng: random.Random, account: str, stamp: Stamp) -> Change:
    values = {
        "AP_ACCOUNT_NUMBER": account,
        "ACCOUNT_PAYMENT_SEQ": rng.randint(1, 4),
        "AP_ACCOUNT_PAYMENT_MNY": rng.choice(("100.00", "0.01")),
        "ACCOUNT_PAYMENT_DAT": rng.choice(("2026-02-01 10:00:00", "2026-02-02 23:59:59", None)),
    }
    return Change(kind="insert", table="debt_payment", account=account, stamp=stamp, values=values)
