"""The source's queries for both dialects: they read only needed columns and bind every value (SPEC 2).

They compare account numbers and ASSET_IDs twice: natively, so that an index on the column serves, and in their exact
form, because a collation may consider different strings equal (case, accents, trailing spaces, emoji).

Current rows and newest payments have two queries each. The ``native`` one groups as the column's collation does, so
that the server steps from group to group in the index, however long the history is; the other groups exactly, and reads
the whole history. ``source.current_rows`` says when the native one suffices.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from incident_process.core.models import Record
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.dialects import LoadDates, SourceDialect, marks
from incident_process.source.load_date import Kind

ACCOUNT_COLUMN = {CUSTOMER_TABLE: "ACCOUNT_NUM", PAYMENT_TABLE: "AP_ACCOUNT_NUMBER"}
"""The account number's column in each table."""

NEEDED_COLUMNS = {CUSTOMER_TABLE: CUSTOMER_COLUMNS, PAYMENT_TABLE: PAYMENT_COLUMNS}
"""The columns that are read from each table."""

_LIST = 500
"""Values in one IN list."""


class Statement(Record, frozen=True, kw_only=True):
    """A text with its bound parameters, which are personal data and stay out of the ``repr``."""

    sql: str
    parameters: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        """Leave the parameters out."""
        return f"Statement({self.sql!r}, {len(self.parameters)} parameters)"


class TableQueries(Record, frozen=True, kw_only=True):
    """What the queries of one table share."""

    table: str
    dialect: SourceDialect
    dates: LoadDates
    text_columns: Collection[str]
    """The needed columns that hold text."""
    written_columns: Collection[str]
    """The needed columns of other types that are read in their text form, as the survey reads the account."""
    number_columns: Collection[str]
    """The needed columns that the server would return with too few digits, or as bytes."""
    lossy_account: bool
    """Whether the text form of an account number may match another number, or none."""
    account_mark: str
    """The bound parameter for an account number whose characters the column may lack."""
    instants: Collection[int] = ()
    """The places of TIMESTAMP columns in a row, without LOAD_DATE; empty where local times are in UTC, too."""
    payment_kind: Kind = Kind.DATETIME
    """The type of ACCOUNT_PAYMENT_DAT (payments only)."""
    payment_text: bool = False
    """Whether MySQL has to convert that column to a date, so that neither its index nor its order serves."""


def survey(of: TableQueries, watermark: datetime, since: datetime, until: datetime) -> Statement:
    """Return the query for accounts with rows in the range: exact account, rows after the watermark, newest LOAD_DATE.

    In ascending order of the account's code points. ``since`` is in the column's own type and included, ``watermark``
    and ``until`` are instants (aware). It leaves out rows whose account number is missing or cannot be queried.
    """
    account = ACCOUNT_COLUMN[of.table]
    after, after_values = of.dates.after(watermark)
    span, span_values = of.dates.span(since, until)
    return Statement(
        sql=f"""
            SELECT {of.dialect.many_groups} {of.dialect.exact.format(account)} AS exact_account,
                SUM({after}), MAX({of.dates.key("LOAD_DATE")})
            FROM {of.table}
            WHERE {span} AND TRIM({account}) <> '' {f"AND {_askable(of)}" if of.lossy_account else ""}
            GROUP BY exact_account
            ORDER BY exact_account
            """,  # noqa: S608 - names only, values are bound
        parameters=(*after_values, *span_values),
    )


def excluded(of: TableQueries, now: datetime) -> Statement:
    """Return the query for rows that no window takes (SPEC 2): unprocessable ones, those after ``now``, and their last.

    A row is unprocessable when its LOAD_DATE is NULL or no date, or its account number is NULL, blank or cannot be
    queried. One statement, because without an index it reads the whole table.
    """
    valid = of.dates.valid("LOAD_DATE", of.dates.column.kind)
    after, values = of.dates.after(now)
    never, future = _unprocessable(of, valid), f"({valid} AND {after})"
    return Statement(
        sql=f"""
            SELECT COUNT(CASE WHEN {never} THEN 1 END), COUNT(CASE WHEN {future} THEN 1 END),
                MAX(CASE WHEN {future} THEN {of.dates.key("LOAD_DATE")} END)
            FROM {of.table}
            WHERE {never} OR {future}
            """,  # noqa: S608 - names only, values are bound
        parameters=(*values, *values, *values),
    )


def unprocessable_rows(of: TableQueries) -> str:
    """Return the statement with which an operator finds unprocessable rows: one line; the program never runs it."""
    condition = _unprocessable(of, of.dates.valid_in_any_session("LOAD_DATE", of.dates.column.kind))
    return f"SELECT * FROM {of.table} WHERE {condition};"  # noqa: S608 - names only


def _unprocessable(of: TableQueries, valid: str) -> str:
    account = ACCOUNT_COLUMN[of.table]
    # A blank sorts before '0' in every collation, so an index on the account finds the few that need TRIM.
    condition = f"LOAD_DATE IS NULL OR NOT ({valid}) OR {account} IS NULL OR ({account} < '0' AND TRIM({account}) = '')"
    return f"{condition} OR NOT {_askable(of)}" if of.lossy_account else condition


def current_customers(of: TableQueries, accounts: Sequence[str], as_of: datetime) -> Statement:
    """Return the query for accounts' current rows, in the order of ``CUSTOMER_COLUMNS``, equal rows once (SPEC 4).

    For each account and ASSET_ID (NULL is one) the rows of its newest LOAD_DATE at or before ``as_of``. The server
    first finds the newest, by an index if there is one, so that it reads only these rows of a history.
    """
    exact = of.dialect.exact.format
    key = of.dates.key
    among = account_marks(of, accounts)
    until, until_values = of.dates.until(as_of)
    return Statement(
        sql=f"""
            SELECT DISTINCT {_select(of, "c.")}
            FROM {CUSTOMER_TABLE} AS c
            {of.dialect.join} (
                SELECT MIN(ACCOUNT_NUM) AS same_account, MIN(ASSET_ID) AS same_asset,
                    {exact("ACCOUNT_NUM")} AS exact_account, {exact("ASSET_ID")} AS exact_asset,
                    MAX({key("LOAD_DATE")}) AS newest
                FROM {CUSTOMER_TABLE}
                WHERE ACCOUNT_NUM IN {among} AND {until}
                GROUP BY exact_account, exact_asset
            ) AS n
                ON c.ACCOUNT_NUM = n.same_account AND c.ASSET_ID {of.dialect.same} n.same_asset
                AND {key("c.LOAD_DATE")} = n.newest
                AND {exact("c.ACCOUNT_NUM")} = n.exact_account
                AND {exact("c.ASSET_ID")} {of.dialect.same} n.exact_asset
            WHERE c.ACCOUNT_NUM IN {among}
            """,  # noqa: S608 - names only, values are bound
        parameters=(*accounts, *until_values, *accounts),
    )


def native_customers(of: TableQueries, accounts: Sequence[str], as_of: datetime) -> Statement:
    """Return the query for the newest rows at or before ``as_of`` of each native group of account and ASSET_ID.

    In the order of ``CUSTOMER_COLUMNS``, equal rows once; a last column is 1 where the group has older rows, else 0.
    """
    until, until_values = of.dates.until(as_of)
    among = _among(of, accounts)
    return Statement(
        sql=f"""
            SELECT DISTINCT {_select(of, "c.")}, n.oldest < n.newest
            FROM (
                SELECT ACCOUNT_NUM, ASSET_ID, MIN(LOAD_DATE) AS oldest, MAX(LOAD_DATE) AS newest
                FROM {CUSTOMER_TABLE}
                WHERE {among} AND {until}
                GROUP BY ACCOUNT_NUM, ASSET_ID
            ) AS n
            JOIN {CUSTOMER_TABLE} AS c
                ON c.ACCOUNT_NUM = n.ACCOUNT_NUM AND c.ASSET_ID {of.dialect.same} n.ASSET_ID
                AND c.LOAD_DATE = n.newest
            """,  # noqa: S608 - names only, values are bound
        parameters=(*accounts, *until_values),
    )


def mixed_accounts(of: TableQueries, accounts: Sequence[str]) -> Statement:
    """Return the query for pairs of exact accounts (bytes) that share a native group with another account or ASSET_ID.

    For these accounts, in any spelling that the collation considers equal. It compares each index entry with the one
    that the server returns for its group; where all are equal, the group has one account and ASSET_ID.
    """
    exact, plain = of.dialect.exact.format, of.dialect.plain.format
    return Statement(
        sql=f"""
            SELECT DISTINCT {exact("n.ACCOUNT_NUM")}, {exact("c.ACCOUNT_NUM")}
            FROM (
                SELECT ACCOUNT_NUM, ASSET_ID, MAX(LOAD_DATE) AS newest
                FROM {CUSTOMER_TABLE}
                WHERE {_among(of, accounts)}
                GROUP BY ACCOUNT_NUM, ASSET_ID
            ) AS n
            JOIN {CUSTOMER_TABLE} AS c
                ON c.ACCOUNT_NUM = n.ACCOUNT_NUM AND c.ASSET_ID {of.dialect.same} n.ASSET_ID
            WHERE {plain("c.ACCOUNT_NUM")} <> {plain("n.ACCOUNT_NUM")}
                OR {plain("c.ASSET_ID")} <> {plain("n.ASSET_ID")}
            """,  # noqa: S608 - names only, values are bound
        parameters=tuple(accounts),
    )


def native_payments(of: TableQueries, accounts: Sequence[str], as_of: datetime) -> Statement:
    """Return the query for the payments of the newest ACCOUNT_PAYMENT_DAT of each native group, loaded at any time.

    In the order of ``PAYMENT_COLUMNS``, equal rows once; of them only those with LOAD_DATE at or before ``as_of`` and
    a payment date. A returned account has all its newest payments here; the result says nothing about the others.
    """
    until, until_values = of.dates.until(as_of, "c.")
    return Statement(
        sql=f"""
            SELECT DISTINCT {_select(of, "c.")}
            FROM (
                SELECT AP_ACCOUNT_NUMBER, MAX(ACCOUNT_PAYMENT_DAT) AS newest
                FROM {PAYMENT_TABLE}
                WHERE {_among(of, accounts)}
                GROUP BY AP_ACCOUNT_NUMBER
            ) AS n
            JOIN {PAYMENT_TABLE} AS c
                ON c.AP_ACCOUNT_NUMBER = n.AP_ACCOUNT_NUMBER AND c.ACCOUNT_PAYMENT_DAT = n.newest
            WHERE {until} AND {of.dates.valid("c.ACCOUNT_PAYMENT_DAT", of.payment_kind)}
            """,  # noqa: S608 - names only, values are bound
        parameters=(*accounts, *until_values),
    )


def newest_payments(of: TableQueries, accounts: Sequence[str], as_of: datetime) -> Statement:
    """Return the query for accounts' newest payments, in the order of ``PAYMENT_COLUMNS``, equal rows once (SPEC 4).

    For each account the rows of its newest ACCOUNT_PAYMENT_DAT among those with LOAD_DATE at or before ``as_of``. NULL
    and zero dates are the oldest, and equal: they count only where an account has no other.
    """
    exact = of.dialect.exact.format
    among = account_marks(of, accounts)
    until, until_values = of.dates.until(as_of)
    until_c, until_c_values = of.dates.until(as_of, "c.")
    return Statement(
        sql=f"""
            SELECT DISTINCT {_select(of, "c.")}
            FROM {PAYMENT_TABLE} AS c
            {of.dialect.join} (
                SELECT MIN(AP_ACCOUNT_NUMBER) AS same_account, {exact("AP_ACCOUNT_NUMBER")} AS exact_account,
                    MAX({_paid(of, "")}) AS newest
                FROM {PAYMENT_TABLE}
                WHERE AP_ACCOUNT_NUMBER IN {among} AND {until}
                GROUP BY exact_account
            ) AS n
                ON c.AP_ACCOUNT_NUMBER = n.same_account AND {_paid(of, "c.")} {of.dialect.same} n.newest
                AND {exact("c.AP_ACCOUNT_NUMBER")} = n.exact_account
            WHERE c.AP_ACCOUNT_NUMBER IN {among} AND {until_c}
            """,  # noqa: S608 - names only, values are bound
        parameters=(*accounts, *until_values, *accounts, *until_c_values),
    )


def account_marks(of: TableQueries, accounts: Sequence[str]) -> str:
    """Return a bound parameter for each of these account numbers, in parentheses."""
    # Every character set in the field includes ASCII.
    return marks(of.dialect.mark if all(map(str.isascii, accounts)) else of.account_mark, accounts)


def _among(of: TableQueries, accounts: Sequence[str]) -> str:
    """Return the condition that the account is natively equal to one of these."""
    # Lists stay below 1000: MariaDB turns a longer one into a join and stops stepping through the index.
    lists = [account_marks(of, accounts[start : start + _LIST]) for start in range(0, len(accounts), _LIST)]
    return f"({' OR '.join(f'{ACCOUNT_COLUMN[of.table]} IN {one}' for one in lists)})"


def plain_columns(of: TableQueries) -> str:
    """Return the needed columns as the document needs them."""
    return ", ".join(_column(of, name, name) for name in NEEDED_COLUMNS[of.table])


def _select(of: TableQueries, alias: str) -> str:
    """Return the needed columns, text in the form that DISTINCT tells apart exactly."""
    return ", ".join(
        f"{of.dialect.distinct.format(alias + name)} AS {name}"
        if name in of.text_columns
        else _column(of, name, alias + name)
        for name in NEEDED_COLUMNS[of.table]
    )


def _column(of: TableQueries, name: str, column: str) -> str:
    value = f"({column} + 0)" if name in of.number_columns else column
    if name in of.written_columns:
        return f"{of.dialect.text.format(value)} AS {name}"
    return column if value is column else f"{value} AS {name}"


def _askable(of: TableQueries) -> str:
    """Return the condition that an account number equals its text form, by which queries ask for its rows."""
    account = ACCOUNT_COLUMN[of.table]
    return f"{account} = {of.dialect.exact.format(account)}"


def _paid(of: TableQueries, alias: str) -> str:
    """Return ACCOUNT_PAYMENT_DAT as the queries compare it, NULL where it is no date."""
    column = f"{alias}ACCOUNT_PAYMENT_DAT"
    if of.payment_text:
        column = f"CAST({column} AS DATETIME(6))"
    return f"CASE WHEN {of.dates.valid(column, of.payment_kind)} THEN {of.dates.key(column, of.payment_kind)} END"
