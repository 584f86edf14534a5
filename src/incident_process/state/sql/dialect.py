"""What differs between the SQL of MySQL/MariaDB and that of SQLite, and the form in which instants are stored.

Statements are written once, with ``?`` for a bound value and the names of ``StateDialect``'s fields in braces.
"""

import base64
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

LONG = 1500
"""A statement of so many characters holds a list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateDialect:
    """The expressions in which the two differ."""

    name: str
    mark: str
    """A bound value."""
    now: str
    """The store's own clock, in UTC."""
    locked: str
    """Ends a query whose rows nobody else may change until the transaction ends; SQLite locks the whole file."""
    or_ignore: str
    """In an INSERT: pass over a row whose key is there already."""
    named: str
    """Whether a row of the team's table is the operation's: compared by code point, whatever its collation is."""
    names: int
    """How many bound values ``named`` has, each of them the operation's name."""
    body: str
    """Bound bytes. To MySQL they travel as base64: asyncmy escapes raw bytes at 12 MB/s of processor time, base64 at
    95 MB/s."""
    shared: str
    """Before a number: a value of a statement that is given once and used in each of its rows."""
    instant: str
    """The type of an instant, to the microsecond."""
    blob: str
    """The type of bytes of any length: MySQL's plain BLOB ends at 64 KB."""

    def packed(self, body: bytes) -> bytes:
        """Return bytes as they are bound to ``body``."""
        return body if self.body == "?" else base64.b64encode(body)


MYSQL = StateDialect(
    name="mysql",
    mark="%s",
    now="UTC_TIMESTAMP(6)",
    locked="FOR UPDATE",
    or_ignore="IGNORE",
    # The plain comparison can use an index that a site may have added; the exact one decides.
    named="Operation_name = ? AND CONVERT(Operation_name USING utf8mb4) COLLATE utf8mb4_bin = ?",
    names=2,
    body="FROM_BASE64(?)",
    shared="@shared_",
    instant="DATETIME(6)",
    blob="LONGBLOB",
)

SQLITE = StateDialect(
    name="sqlite",
    mark="?",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    locked="",
    or_ignore="OR IGNORE",
    named="Operation_name = ?",
    names=1,
    body="?",
    shared="?",
    instant="DATETIME",
    blob="BLOB",
)


def rendered(dialect: StateDialect, sql: str) -> str:
    """Return a statement in the dialect."""
    # Long ones are lists of any length: there are too many of them to be remembered.
    return _remembered(dialect, sql) if len(sql) < LONG else _rendered(dialect, sql)


def _rendered(dialect: StateDialect, sql: str) -> str:
    return sql.format_map(asdict(dialect)).replace("?", dialect.mark)


_remembered = lru_cache(maxsize=256)(_rendered)


def marks(count: int) -> str:
    """Return ``count`` marks of bound values, for a list."""
    return ", ".join("?" * count)


def exact_text(version: str) -> str:
    """Return what makes a text column of MySQL compare exactly: case, accents, trailing spaces, every code point.

    Args:
        version: as ``VERSION()`` says it; MySQL and MariaDB have different names for the one such collation.
    """
    collation = "utf8mb4_nopad_bin" if "mariadb" in version.lower() else "utf8mb4_0900_bin"
    return f"CHARACTER SET utf8mb4 COLLATE {collation}"


@lru_cache(maxsize=64)  # the entries of a chunk share their time
def stamp(instant: datetime) -> str:
    """Return an aware instant as it is stored: UTC to the microsecond, without a zone."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def stamp_or_none(instant: datetime | None) -> str | None:
    """Return an instant as it is stored, NULL where there is none."""
    return None if instant is None else stamp(instant)


def instant_of(stored: datetime | str) -> datetime:
    """Return a stored instant, aware; MySQL gives a datetime, SQLite text."""
    return (datetime.fromisoformat(stored) if isinstance(stored, str) else stored).replace(tzinfo=UTC)


def local_stamp(local: datetime) -> str:
    """Return a local time as the team's table holds it; a fraction is cut, because MySQL would round it up."""
    return local.replace(microsecond=0).isoformat(" ")


def local_of(stored: Any) -> datetime | None:
    """Return a DATETIME that any program may have written, without a zone.

    Read are also fractions, ``T`` between date and time, and dates alone; what is no date at all (a zero date, a
    word) reads as None.
    """
    if isinstance(stored, datetime):
        return stored.replace(tzinfo=None)
    if isinstance(stored, date):
        return datetime(stored.year, stored.month, stored.day)  # noqa: DTZ001 - a local time, the zone follows
    try:
        return datetime.fromisoformat(stored.strip()).replace(tzinfo=None)
    except (AttributeError, TypeError, ValueError):
        return None
