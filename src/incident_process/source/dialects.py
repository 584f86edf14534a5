"""What differs between the SQL of MySQL/MariaDB and SQLite: a few expressions, and the comparison of LOAD_DATE.

MySQL has dates, so queries compare its column as it is, with bounds of its own type. SQLite has only text, in several
forms of different length, so queries compare the longest form (``YYYY-MM-DD HH:MM:SS.ffffff``), with a coarser
condition on the bare column beside it, so that an index on it serves.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Record
from incident_process.database.errors import at_start
from incident_process.source.load_date import FIRST, Kind, LoadDateType, as_text, local, native_bound, text_bound

LOCAL_TEXT = "incident_local_text"
"""The name of ``load_date.local_text``, for the source's zone, in a SQLite connection."""

OLDEST = {Kind.DATE: "1900-01-02", Kind.DATETIME: "1900-01-02 00:00:00", Kind.TIMESTAMP: "1970-01-01 00:00:01"}
"""The oldest value that counts as a date. No window reaches below 1900, so an older value is no date, like a zero date:
its row is unprocessable and never current."""

_NAME = re.compile(r"[a-z0-9_]+")
_TIMES = " 00:00:00.000000"
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"

Condition = tuple[str, list[Any]]
"""A piece of SQL and its bound parameters."""


class SourceDialect(Record, frozen=True, kw_only=True):
    """The expressions in which the two databases differ; ``{}`` stands for a column."""

    mark: str
    """A bound parameter."""
    same: str
    """Equality that is true for two NULLs."""
    exact: str
    """A text column in a form compared by code points, whatever the column's collation."""
    plain: str
    """A text column as its bytes: cheaper than ``exact``, and as exact between values of one column."""
    steps: bool
    """Whether the newest value of each native group is one step in an index (see ``source.queries``)."""
    distinct: str
    """A text column in a form in which DISTINCT counts every character, case, accent and trailing space."""
    text: str
    """A column of another type in the text form of ``exact``, in which DISTINCT counts the same."""
    many_groups: str
    """A hint to sort for GROUP BY: a temporary table is fast for few groups and slow for a million."""
    join: str
    """The join of a table (left) with its newest dates (right)."""
    now: str
    """The query for the database's clock, in UTC, as text or as a naive datetime."""
    tells_writers: bool
    """Whether the database can tell of other open transactions (see ``source.in_flight``)."""


EXACT_COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin")
"""MySQL's and MariaDB's name for the collation of utf8mb4 that compares all code points, spaces included."""


def mysql_dialect(collations: Collection[str], where: str) -> SourceDialect:
    """Return the dialect of a MySQL or MariaDB server, which messages call ``where``.

    ``collations``: those of ``EXACT_COLLATIONS`` that it has; ConfigurationError where it has neither. Its version does
    not decide: a proxy reports one of its own.
    """
    collation = next((name for name in EXACT_COLLATIONS if name in collations), None)
    if collation is None:
        raise ConfigurationError(
            f"{at_start(where)} has no collation that compares text exactly "
            f"({' or '.join(EXACT_COLLATIONS)}): use MySQL 8 or MariaDB 10.6, or newer."
        )
    return SourceDialect(
        mark="%s",
        same="<=>",
        exact="CAST(CONVERT({} USING utf8mb4) AS BINARY)",
        plain="CAST({} AS BINARY)",
        steps=True,
        distinct=f"CONVERT({{}} USING utf8mb4) COLLATE {collation}",
        text=f"CONVERT({{}} USING utf8mb4) COLLATE {collation}",
        many_groups="SQL_BIG_RESULT",
        # The server begins with the better side: by index the dates, without one the table.
        join="JOIN",
        now="SELECT UTC_TIMESTAMP(6)",
        tells_writers=True,
    )


SQLITE_DIALECT = SourceDialect(
    mark="?",
    same="IS",
    exact="CAST({} AS TEXT) COLLATE BINARY",
    plain="CAST({} AS BLOB)",
    # SQLite's dates are texts in several forms, so the newest is not the last in an index.
    steps=False,
    distinct="{} COLLATE BINARY",
    text="CAST({} AS TEXT)",
    many_groups="",
    # Forces the table first, then the dates by an automatic index: SQLite's own plan joins each with each.
    join="CROSS JOIN",
    now="SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    tells_writers=False,
)


class LoadDates(ABC):
    """Compares one table's LOAD_DATE with instants. ``alias`` is the table's name in the query, with its dot."""

    def __init__(self, column: LoadDateType, zone: tzinfo, mark: str) -> None:
        self.column = column
        self.zone = zone
        self._mark = mark

    @abstractmethod
    def key(self, column: str, kind: Kind | None = None) -> str:
        """Return the expression that compares values of a date column.

        ``kind`` is the column's; without it, LOAD_DATE's.
        """

    @abstractmethod
    def valid(self, column: str, kind: Kind) -> str:
        """Return the condition that a value of a date column of this kind is neither NULL nor a zero date."""

    def valid_in_any_session(self, column: str, kind: Kind) -> str:
        """Return the same condition for an operator, whose client may have another session time zone than a run."""
        return self.valid(column, kind)

    @abstractmethod
    def bound(self, instant: datetime) -> str:
        """Return an instant (aware) as a parameter to compare ``key`` with."""

    @abstractmethod
    def span(self, since: datetime, until: datetime) -> Condition:
        """Return the condition ``since <= LOAD_DATE <= until``; ``since`` in the column's terms, ``until`` aware."""

    @abstractmethod
    def until(self, instant: datetime, alias: str = "") -> Condition:
        """Return the condition that LOAD_DATE is a date at or before an instant (aware)."""

    def after(self, instant: datetime) -> Condition:
        """Return the condition that LOAD_DATE is after an instant (aware)."""
        return f"{self.key('LOAD_DATE')} > {self._mark}", [self.bound(instant)]


class MySQLLoadDates(LoadDates):
    """The column as it is, with bounds rounded down to its precision: sargable, and exact for every type."""

    def key(self, column: str, kind: Kind | None = None) -> str:
        """The column itself."""
        return column

    def valid(self, column: str, kind: Kind) -> str:
        """At least the oldest value of the type; for NULL it is NULL, which is not true either."""
        return f"{column} >= '{OLDEST[kind]}'"

    def valid_in_any_session(self, column: str, kind: Kind) -> str:
        """For a TIMESTAMP its number of seconds: east of UTC, MySQL reads the oldest date as zero."""
        return f"UNIX_TIMESTAMP({column}) > 0" if kind is Kind.TIMESTAMP else self.valid(column, kind)

    def bound(self, instant: datetime) -> str:
        """A literal of the column's own type."""
        return self._literal(native_bound(instant, self.column, self.zone))

    def span(self, since: datetime, until: datetime) -> Condition:
        """One range."""
        sql = f"LOAD_DATE >= {self._mark} AND LOAD_DATE <= {self._mark}"
        return sql, [self._literal(since), self.bound(until)]

    def until(self, instant: datetime, alias: str = "") -> Condition:
        """One range."""
        column = f"{alias}LOAD_DATE"
        return f"{self.valid(column, self.column.kind)} AND {column} <= {self._mark}", [self.bound(instant)]

    def _literal(self, native: datetime) -> str:
        return max(as_text(native, self.column), OLDEST[self.column.kind])


class SqliteLoadDates(LoadDates):
    """Text in its longest form. The declared type sets unit and zone; SQLite does not enforce it."""

    def key(self, column: str, kind: Kind | None = None) -> str:
        """``YYYY-MM-DD HH:MM:SS.ffffff`` for each of the accepted forms."""
        text = f"REPLACE(REPLACE(REPLACE({column}, 'T', ' '), '+00:00', ''), 'Z', '')"
        longest = f"SUBSTR({text} || SUBSTR('{_TIMES}', LENGTH({text}) - 9), 1, 26)"
        if not ((kind or self.column.kind) is Kind.TIMESTAMP or is_utc(self.zone)):
            # A value with Z or +00:00 has a zone of its own: convert it to the zone of the others.
            zoned = f"{column} LIKE '%Z' OR {column} LIKE '%+00:00'"
            longest = f"CASE WHEN {zoned} THEN {LOCAL_TEXT}({column}) ELSE {longest} END"
        # The two usual forms skip the search for letters, which makes a survey three times as fast.
        return (
            f"CASE LENGTH({column}) WHEN 10 THEN {column} || '{_TIMES}'"
            f" WHEN 19 THEN REPLACE({column}, 'T', ' ') || '{_TIMES[9:]}' ELSE {longest} END"
        )

    def valid(self, column: str, kind: Kind) -> str:
        """Text that begins with a date after 1900-01-01, alone or followed by a time."""
        return (
            f"({column} >= '1900-01-02'"
            f" AND ({column} GLOB '{_DAY}' OR {column} GLOB '{_DAY}Z' OR {column} GLOB '{_DAY}[ T]*'))"
        )

    def bound(self, instant: datetime) -> str:
        """The longest form."""
        return text_bound(instant, self.column, self.zone)

    def span(self, since: datetime, until: datetime) -> Condition:
        """A coarse range of the bare column, and the exact one of its longest form."""
        key, mark = self.key("LOAD_DATE"), self._mark
        # Two days of margin: the bare column may be in another zone, and its days may end in any time.
        coarse = max(since, FIRST + timedelta(days=2)) - timedelta(days=2)
        sql = f"LOAD_DATE >= {mark} AND {self._not_after()} AND {self.valid('LOAD_DATE', self.column.kind)}"
        values = [coarse.date().isoformat(), self._coarse(until)]
        return f"{sql} AND {key} >= {mark} AND {key} <= {mark}", [
            *values,
            since.isoformat(" ", "microseconds"),
            self.bound(until),
        ]

    def until(self, instant: datetime, alias: str = "") -> Condition:
        """The conditions of ``span`` without a beginning."""
        column = f"{alias}LOAD_DATE"
        sql = f"{self._not_after(alias)} AND {self.valid(column, self.column.kind)}"
        return f"{sql} AND {self.key(column)} <= {self._mark}", [self._coarse(instant), self.bound(instant)]

    def _not_after(self, alias: str = "") -> str:
        return f"{alias}LOAD_DATE <= {self._mark}"

    def _coarse(self, until: datetime) -> str:
        return (local(until, self.column, self.zone) + timedelta(days=2)).date().isoformat()


def is_utc(zone: tzinfo) -> bool:
    """Tell whether local times of the zone are in UTC."""
    return zone is UTC or str(zone) in {"UTC", "Etc/UTC"}


def load_dates(dialect: SourceDialect, column: LoadDateType, zone: tzinfo) -> LoadDates:
    """Return how a dialect compares a LOAD_DATE column of this type."""
    kind = SqliteLoadDates if dialect is SQLITE_DIALECT else MySQLLoadDates
    return kind(column, zone, dialect.mark)


def marks(mark: str, values: Sequence[Any]) -> str:
    """Return as many bound parameters as there are values, in parentheses."""
    return f"({', '.join([mark] * len(values))})"


def converted_mark(dialect: SourceDialect, charset: str, collation: str) -> str:
    """Return a bound parameter for any text, to compare with a column of this character set.

    The server refuses to compare a column with a character that its set lacks. Converted, such a character is a
    question mark, and the exact comparison drops what it finds. The column's index still serves.
    """
    named = _NAME.fullmatch(charset) and _NAME.fullmatch(collation)
    if not named or charset == "utf8mb4":
        return dialect.mark
    return f"CONVERT({dialect.mark} USING {charset}) COLLATE {collation}"
