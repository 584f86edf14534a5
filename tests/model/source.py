"""A source in memory, by ``source.base``: it answers each question as of one instant."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_process.source.base import (
    CUSTOMER_TABLE,
    PAYMENT_TABLE,
    AccountRows,
    ExcludedRows,
    ReadRange,
    SelectedAccount,
    Survey,
    ignore_count,
)
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from tests.model.invariant_checker import InvariantChecker
from tests.model.process import Port, Process
from tests.model.world import Row, World


class Rows(Port):
    """One process's ``Source``, without the methods that no run calls."""

    def __init__(self, process: Process, world: World, checker: InvariantChecker) -> None:
        super().__init__(process, world.source_faults)
        self._world = world
        self._checker = checker
        self._touched: list[SelectedAccount] = []

    async def now(self) -> datetime:
        return await self.call(self._world.source_now)

    async def writers(self) -> list[datetime] | None:
        if not self._world.setup.sees_writers:
            return await self.call(lambda: None)
        return await self.call(
            lambda: [open_.started.replace(microsecond=0) for open_ in self._world.open if open_.rows]
        )

    async def excluded(self) -> dict[str, ExcludedRows]:
        return await self.call(lambda: dict.fromkeys((CUSTOMER_TABLE, PAYMENT_TABLE), ExcludedRows()))

    async def survey(self, span: ReadRange, seen: Callable[[int], None] = ignore_count) -> Survey:
        return await self.call(lambda: self._survey(span))

    def _survey(self, span: ReadRange) -> Survey:
        back = timedelta(seconds=max(span.lookback_seconds, self._world.setup.unit))
        since = self._world.floor(span.watermark - back)
        if self._world.flaws.lookback:
            since = span.watermark + timedelta(microseconds=1)
        rows = [row for row in self._world.rows if since <= row.stamp <= span.until]
        new = [row for row in rows if row.stamp > span.watermark]
        inside = {row.account for row in new}
        self._touched = [
            SelectedAccount(account=account, in_window=account in inside)
            for account in sorted({row.account for row in rows})
        ]
        self._checker.note_survey(self.process, rows)
        customers = sum(row.asset is not None for row in new)
        return Survey(
            rows={CUSTOMER_TABLE: customers, PAYMENT_TABLE: len(new) - customers},
            newest=max((row.stamp for row in rows), default=None),
            accounts=len(inside),
            reread=len(self._touched) - len(inside),
        )

    async def selected_accounts(self, size: int) -> AsyncIterator[list[SelectedAccount]]:
        for start in range(0, len(self._touched), size):
            yield self._touched[start : start + size]

    async def read(self, accounts: Sequence[str], as_of: datetime) -> list[AccountRows]:
        return await self.call(lambda: [self._account(account, as_of) for account in accounts])

    def _account(self, account: str, as_of: datetime) -> AccountRows:
        rows = self._world.rows_of(account, as_of)
        return AccountRows(
            account=account,
            customers=[_customer(row) for row in rows if row.stamp == _newest(rows, row.asset) and row.asset],
            payments=[_payment(row) for row in rows if row.stamp == _newest(rows, row.asset) and not row.asset],
        )


def _newest(rows: Sequence[Row], asset: str | None) -> datetime:
    return max(row.stamp for row in rows if row.asset == asset)


def _customer(row: Row) -> tuple[Any, ...]:
    values = {
        "ACCOUNT_NUM": row.account,
        "ASSET_ID": row.asset,
        "PROMOTION_INTEG_ID": f"{row.value:06d}",
        "PRODUCT_NAME": row.stamp.isoformat(),
        "OUTSTANDING": row.value,
        "LOAD_DATE": row.stamp,
    }
    return tuple(values.get(name) for name in CUSTOMER_COLUMNS)


def _payment(row: Row) -> tuple[Any, ...]:
    values = {
        "AP_ACCOUNT_NUMBER": row.account,
        "ACCOUNT_PAYMENT_SEQ": row.value,
        "AP_ACCOUNT_PAYMENT_MNY": row.value,
        "ACCOUNT_PAYMENT_DAT": row.stamp,
        "LOAD_DATE": row.stamp,
    }
    return tuple(values.get(name) for name in PAYMENT_COLUMNS)
