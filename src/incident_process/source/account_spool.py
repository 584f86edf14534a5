"""Keeps the accounts of a survey in an anonymous file: memory stays flat, and no cursor stays open while a run sends.

An entry is its length (4 bytes), a flag (1 byte: in the window or not) and the account number in UTF-8, so that any
string comes back exactly. Entries are in ascending order of bytes, which for UTF-8 is the order of code points.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import IO, NamedTuple

from incident_process.core.arguments import LONGEST_ACCOUNT
from incident_process.core.local_places import temporary_file, temporary_space
from incident_process.core.logs import event, get_logger
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE, SelectedAccount, Survey

log = get_logger()

_HEAD = struct.Struct("<I?")


class Sighting(NamedTuple):
    """What one table shows of one account in the span: how many rows in the window, and the newest LOAD_DATE."""

    account: bytes
    rows: int
    newest: datetime | None


class Spool:
    """A file of entries that exists only as long as it is open."""

    def __init__(self) -> None:
        self._file: IO[bytes] = temporary_file()
        self._end = 0

    def close(self) -> None:
        """Close the file, which removes it. May be called again."""
        with suppress(OSError):  # unwritten entries (no space) are useless now
            self._file.close()

    def append(self, entries: Iterable[tuple[bytes, bool]]) -> int:
        """Append entries (account, in the window); return their number."""
        pack = _HEAD.pack
        texts = [pack(len(account), flag) + account for account, flag in entries]
        text = b"".join(texts)
        with temporary_space():
            self._file.seek(self._end)
            self._file.write(text)
        self._end += len(text)
        return len(texts)

    def read(self, position: int, size: int) -> tuple[list[tuple[bytes, bool]], int]:
        """Return up to ``size`` entries from a position (0 is the start), and the position after them."""
        with temporary_space():  # seek writes the file's buffer first
            self._file.seek(position)
        entries: list[tuple[bytes, bool]] = []
        read, unpack, head = self._file.read, _HEAD.unpack, _HEAD.size
        while position < self._end and len(entries) < size:
            length, flag = unpack(read(head))
            entries.append((read(length), flag))
            position += head + length
        return entries, position

    def entries(self, size: int = 1000) -> Iterator[tuple[bytes, bool]]:
        """Iterate over all entries; callers may read or append meanwhile."""
        position = 0
        while position < self._end:
            batch, position = self.read(position, size)
            yield from batch


class SurveySpool:
    """Merges the accounts of the two tables into one list, while both tables stream in ascending order.

    Call ``customers`` with each batch of the first table, then ``payments`` with each of the second, then ``finish``;
    afterwards ``selected_accounts`` returns the accounts, from any position, any number of times.
    """

    def __init__(self) -> None:
        self._customers = Spool()
        self._merged = Spool()
        self._waiting: Iterator[tuple[bytes, bool]] | None = None
        self._next: tuple[bytes, bool] | None = None
        self._rows = {CUSTOMER_TABLE: 0, PAYMENT_TABLE: 0}
        self._newest: datetime | None = None
        self._accounts = {True: 0, False: 0}
        self._too_long = 0

    def close(self) -> None:
        """Remove the files. May be called again."""
        self._customers.close()
        self._merged.close()

    def customers(self, batch: Iterable[Sighting]) -> int:
        """Add the next accounts of the customer table; return their number."""
        return self._customers.append(self._count(CUSTOMER_TABLE, batch))

    def payments(self, batch: Iterable[Sighting]) -> None:
        """Add the next accounts of the payment table, after all of the customer table."""
        self._merged.append(self._merge(self._count(PAYMENT_TABLE, batch)))

    def finish(self) -> Survey:
        """Return the totals, after all of both tables."""
        while rest := self._rest(1000):
            self._merged.append(rest)
        self._customers.close()
        if self._too_long:
            log.warning(
                "%d account number(s) can never be processed: they have more than %d characters.",
                self._too_long,
                LONGEST_ACCOUNT,
                extra=event("accounts_too_long", accounts=self._too_long),
            )
        return Survey(
            rows=dict(self._rows), newest=self._newest, accounts=self._accounts[True], reread=self._accounts[False]
        )

    def selected_accounts(self, position: int, size: int) -> tuple[list[SelectedAccount], int]:
        """Return up to ``size`` accounts from a position (0 is the start), and the position after them."""
        entries, position = self._merged.read(position, size)
        return [SelectedAccount(account=account.decode(), in_window=flag) for account, flag in entries], position

    def _count(self, table: str, batch: Iterable[Sighting]) -> Iterator[tuple[bytes, bool]]:
        total, dates = 0, set()
        for account, rows, newest in batch:
            # One that the ledger has no room for would end every run, and hold up all others.
            if len(account) > LONGEST_ACCOUNT and len(account.decode()) > LONGEST_ACCOUNT:
                self._too_long += 1
                continue
            total += rows
            dates.add(newest)
            yield account, rows > 0
        self._rows[table] += total
        self._newest = max((date for date in (*dates, self._newest) if date is not None), default=None)

    def _merge(self, payments: Iterable[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
        """Yield the payments' accounts and, before each, the lower accounts of the customers."""
        for account, flag in payments:
            while (customer := self._peek()) is not None and customer[0] < account:
                yield self._take(customer)
            if customer is not None and customer[0] == account:
                yield self._take((account, flag or customer[1]))
            else:
                self._accounts[flag] += 1
                yield account, flag

    def _rest(self, size: int) -> list[tuple[bytes, bool]]:
        rest: list[tuple[bytes, bool]] = []
        while len(rest) < size and (customer := self._peek()) is not None:
            rest.append(self._take(customer))
        return rest

    def _peek(self) -> tuple[bytes, bool] | None:
        """Return the next account of the customer table without passing it."""
        if self._waiting is None:
            self._waiting = self._customers.entries()
            self._next = next(self._waiting, None)
        return self._next

    def _take(self, entry: tuple[bytes, bool]) -> tuple[bytes, bool]:
        """Count an entry for the customer table's next account, and pass that account."""
        assert self._waiting is not None  # noqa: S101 - _peek came first
        self._next = next(self._waiting, None)
        self._accounts[entry[1]] += 1
        return entry
