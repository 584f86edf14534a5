"""One behaviour suite for the source, run over a real MariaDB server, a real MySQL server and SQLite files."""

# ruff: noqa: DTZ001 - local times without a zone are what the tables hold

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError
from incident_process.core.models import NEVER
from incident_process.document import assembly
from incident_process.source.base import (
    AccountRows,
    ExcludedRows,
    ReadRange,
    SelectedAccount,
    Source,
    Survey,
)
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.load_date import Kind
from incident_process.source.mysql import MySQLSource
from incident_process.source.sqlite import SqliteSource
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

DAY = timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")
TYPES = ["date", "datetime", "datetime(6)", "timestamp"]


def unprocessable(site: "Site") -> dict[str, int]:
    """Return, per table, how many rows can never enter a window."""
    return {table: rows.unprocessable for table, rows in site.reading(lambda source: source.excluded()).items()}


class Site:
    """A place with the two source tables, a connection that fills them, and a way to read them."""

    def __init__(self, dialect: str, connection: Any, source: Callable[..., Any]) -> None:
        self.dialect = dialect
        self.connection = connection
        self.source = source

    def tables(self, customer_type: str = "date", payment_type: str = "datetime", **more: Any) -> None:
        if self.dialect == "mysql":
            self.run("SET SESSION sql_mode = ''")
            self.run("SET SESSION time_zone = '+00:00'")
        create_tables(self.connection, self.dialect, customer_type, payment_type, **more)

    def run(self, statement: str) -> None:
        cursor = self.connection.cursor()
        cursor.execute(statement)
        cursor.close()

    def customers(self, *rows: tuple[Any, Any] | dict[str, Any]) -> None:
        insert_customers(
            self.connection,
            [row if isinstance(row, dict) else {"ACCOUNT_NUM": row[0], "LOAD_DATE": row[1]} for row in rows],
        )

    def payments(self, *rows: dict[str, Any]) -> None:
        insert_payments(self.connection, rows)

    def reading(self, work: Callable[[Any], Any], zone: str = "UTC") -> Any:
        """Open a source, do some work with it, close it."""

        async def main() -> Any:
            async with self.source(ZoneInfo(zone)) as source:
                return await work(source)

        return asyncio.run(main())

    def look(self, span: ReadRange, zone: str = "UTC") -> tuple[Survey, dict[str, bool]]:
        """Return the survey of a span and its accounts."""

        async def work(source: Source) -> tuple[Survey, dict[str, bool]]:
            survey = await source.survey(span)
            return survey, {one.account: one.in_window for one in await collect(source)}

        result: tuple[Survey, dict[str, bool]] = self.reading(work, zone)
        return result

    def read(self, accounts: list[str], as_of: datetime, zone: str = "UTC") -> list[AccountRows]:
        async def work(source: Source) -> list[AccountRows]:
            return await source.read(accounts, as_of)

        result: list[AccountRows] = self.reading(work, zone)
        return result


async def collect(source: Source, size: int = 3) -> list[SelectedAccount]:
    batches = [batch async for batch in source.selected_accounts(size)]
    assert all(len(batch) <= size for batch in batches)
    return [one for batch in batches for one in batch]


@pytest.fixture(params=["mariadb", "mysql", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with opened(request, tmp_path, request.param) as one:
        yield one


@contextmanager
def opened(request: pytest.FixtureRequest, tmp_path: Path, product: str) -> Iterator[Site]:
    if product == "sqlite":
        path = tmp_path / "source.db"
        with closing(sqlite3.connect(path)) as connection:
            yield Site("sqlite", connection, lambda zone: SqliteSource(path, zone))
        return
    server: SqlServer = request.getfixturevalue(product)
    database = request.getfixturevalue(f"{product}_database")
    with closing(server.connect(database)) as connection:
        yield Site("mysql", connection, lambda zone: mysql_source(server, database, zone))


def mysql_source(server: SqlServer, database: str, zone: ZoneInfo = UTC_ZONE) -> MySQLSource:
    return MySQLSource(server.target(database), zone)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def span(watermark: datetime, until: datetime, lookback: float = 0) -> ReadRange:
    return ReadRange(watermark=watermark, lookback_seconds=lookback, until=until)


def value(rows: AccountRows, name: str) -> list[Any]:
    return [row[CUSTOMER_COLUMNS.index(name)] for row in rows.customers]


def paid(rows: AccountRows, name: str) -> list[Any]:
    return [row[PAYMENT_COLUMNS.index(name)] for row in rows.payments]


# -- the clock and the types ------------------------------------------------------------------------------------------


def test_now_is_the_database_clock(site: Site) -> None:
    site.tables()
    now = site.reading(lambda source: source.now())
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize("kind", TYPES)
def test_types_are_read_from_the_database(site: Site, kind: str) -> None:
    site.tables(kind, kind)

    async def work(source: Any) -> Any:
        return source.load_date_types

    for column in site.reading(work).values():
        assert column.kind is Kind(kind.partition("(")[0])
        assert column.digits == (6 if "6" in kind else 0)


@pytest.mark.parametrize("kind", TYPES)
def test_window_boundaries(site: Site, kind: str) -> None:
    """``watermark < LOAD_DATE <= until``: equal to the watermark is out, equal to the end is in."""
    site.tables(kind)
    site.customers(*((f"0{day}", f"2026-03-0{day}") for day in range(1, 6)))
    survey, accounts = site.look(span(utc(2026, 3, 2), utc(2026, 3, 4)))
    assert {account for account, fresh in accounts.items() if fresh} == {"03", "04"}
    assert survey.rows == {"debt_cust_detail": 2, "debt_payment": 0}
    assert survey.accounts == 2
    assert survey.newest == utc(2026, 3, 4)


@pytest.mark.parametrize(("kind", "step"), [("datetime", 1_000_000), ("datetime(6)", 1), ("timestamp", 1_000_000)])
def test_boundaries_to_the_unit(site: Site, kind: str, step: int) -> None:
    site.tables(kind)
    middle = datetime(2026, 3, 2, 12, 0, 0)
    unit = timedelta(microseconds=step)
    for name, moment in (("before", middle - unit), ("at", middle), ("after", middle + unit)):
        site.customers((name, moment.isoformat(" ")))
    _, accounts = site.look(span(middle.replace(tzinfo=UTC), utc(2026, 3, 3)))
    assert accounts == {"after": True, "at": False, "before": False}
    survey, accounts = site.look(span(NEVER, middle.replace(tzinfo=UTC)))
    assert accounts == {"at": True, "before": True}
    assert survey.newest == middle.replace(tzinfo=UTC)


def test_bounds_finer_than_the_column(site: Site) -> None:
    """An end between two values of the column takes the earlier, not the later."""
    site.tables("datetime", "date")
    site.customers(("a", "2026-03-02 12:00:00"), ("b", "2026-03-02 12:00:01"))
    site.payments({"AP_ACCOUNT_NUMBER": "p", "LOAD_DATE": "2026-03-02"})
    end = utc(2026, 3, 2, 12, 0, 0, 900_000)
    assert site.look(span(NEVER, end))[1] == {"a": True, "p": True}
    assert site.look(span(end, utc(2026, 3, 3)))[1] == {"a": False, "b": True, "p": False}


@pytest.mark.parametrize("kind", TYPES)
def test_lookback_is_rounded_down_and_never_less_than_a_unit(site: Site, kind: str) -> None:
    site.tables(kind)
    site.customers(*((f"0{day}", f"2026-03-0{day}") for day in range(1, 6)))
    watermark = utc(2026, 3, 4, 6) if kind != "date" else utc(2026, 3, 4)
    survey, accounts = site.look(span(watermark, utc(2026, 3, 5), lookback=2 * 86400))
    expected = {"02", "03", "04"} if kind == "date" else {"03", "04"}
    assert {account for account, fresh in accounts.items() if not fresh} == expected
    assert survey.reread == len(expected)
    _, accounts = site.look(span(utc(2026, 3, 4), utc(2026, 3, 5), lookback=0))
    assert accounts == ({"03": False} if kind == "date" else {}) | {"04": False, "05": True}


def test_zone_of_local_times(site: Site) -> None:
    """DATE and DATETIME are local to the zone, a TIMESTAMP is not."""
    site.tables("datetime", "timestamp")
    site.customers(("a", "2026-03-02 12:00:00"))
    site.payments({"AP_ACCOUNT_NUMBER": "b", "LOAD_DATE": "2026-03-02 12:00:00"})
    noon, earlier = utc(2026, 3, 2, 12), utc(2026, 3, 2, 6, 30)
    assert site.look(span(NEVER, earlier), "Asia/Colombo") == (
        Survey(rows={"debt_cust_detail": 1, "debt_payment": 0}, newest=earlier, accounts=1, reread=0),
        {"a": True},
    )
    assert site.look(span(earlier, noon), "Asia/Colombo")[1] == {"a": False, "b": True}
    (rows,) = site.read(["a"], noon, "Asia/Colombo")
    assert value(rows, "LOAD_DATE") == [earlier]


def test_clock_set_back(site: Site) -> None:
    """A row of the repeated hour bears a time before the watermark: the lookback is long enough to see it."""
    site.tables("datetime")
    # New York, 2026-11-01: 02:00 becomes 01:00 again at 06:00Z. The watermark is 01:50 of the first pass.
    site.customers(("late", "2026-11-01 01:10:00"))
    _, accounts = site.look(span(utc(2026, 11, 1, 5, 50), utc(2026, 11, 1, 6, 20)), "America/New_York")
    assert accounts == {"late": False}


@pytest.mark.parametrize("kind", ["datetime", "datetime(6)"])
def test_a_row_of_the_repeated_hour_is_never_taken_back(site: Site, kind: str) -> None:
    """What was current in the first pass is current in the second, and counts in one window only."""
    site.tables(kind)
    site.customers(("a", "2026-11-01 00:30:00"), ("a", "2026-11-01 01:40:00"))
    night = utc(2026, 11, 1, 5, 30)
    ends = [night + timedelta(minutes=20 * step) for step in range(8)]  # to 08:00Z, 03:00 by the clock
    counted = 0
    for start, end in pairwise(ends):
        counted += site.look(span(start, end), "America/New_York")[0].rows["debt_cust_detail"]
        (rows,) = site.read(["a"], end, "America/New_York")
        assert value(rows, "LOAD_DATE") == [utc(2026, 11, 1, 5, 40)]
    assert counted == 1


# -- rows that cannot or not yet enter a window -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_unprocessable_rows_are_counted_and_left_out(site: Site, kind: str) -> None:
    site.tables(kind, kind)
    zero = "0000-00-00" if kind == "date" else "0000-00-00 00:00:00"
    site.customers(
        ("ok", "2026-03-01"), ("null", None), ("zero", zero), (None, "2026-03-01"), ("", "2026-03-02"), ("  ", None)
    )
    site.payments({"AP_ACCOUNT_NUMBER": "ok", "LOAD_DATE": zero})
    assert unprocessable(site) == {"debt_cust_detail": 5, "debt_payment": 1}
    survey, accounts = site.look(span(NEVER, utc(2026, 4, 1), lookback=86400))
    assert accounts == {"ok": True}
    assert survey.newest == utc(2026, 3, 1)
    ok, null, nobody = site.read(["ok", "zero", "nobody"], utc(2026, 4, 1))
    assert (len(ok.customers), len(ok.payments)) == (1, 0)
    assert (null.customers, nobody.customers, nobody.payments) == ([], [], [])


def test_partial_zero_date_is_read_as_its_first_moment(site: Site) -> None:
    site.tables()
    site.customers(("a", "2026-00-15"))
    assert site.look(span(NEVER, utc(2026, 4, 1)))[0].newest == utc(2026, 1, 15)


def test_future_rows_wait(site: Site) -> None:
    site.tables()
    site.customers(("now", "2026-03-01"), ("future", "2030-01-01"), ("now", "2030-01-01"))
    survey, accounts = site.look(span(NEVER, utc(2026, 3, 1)))
    assert (accounts, survey.newest) == ({"now": True}, utc(2026, 3, 1))
    (rows,) = site.read(["now"], utc(2026, 3, 1))
    assert value(rows, "LOAD_DATE") == [utc(2026, 3, 1)]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Colombo", "America/New_York"])
def test_future_rows_are_counted_with_the_last_of_them(site: Site, kind: str, zone: str) -> None:
    site.tables(kind, kind)
    here = datetime.now(UTC if kind.startswith("timestamp") else ZoneInfo(zone)).replace(tzinfo=None, microsecond=0)
    assert site.reading(lambda source: source.excluded(), zone) == dict.fromkeys(
        ("debt_cust_detail", "debt_payment"), ExcludedRows()
    )
    loaded = [here + timedelta(days=day, minutes=-1) for day in (-1, 0, 2, 3)]
    written = [str(one.date()) if kind == "date" else one.isoformat(" ") for one in loaded]
    site.customers(*(("a", one) for one in written), (None, None))
    site.payments({"AP_ACCOUNT_NUMBER": "a", "LOAD_DATE": (here - timedelta(minutes=1)).isoformat(" ")})
    found = site.reading(lambda source: source.excluded(), zone)
    last = loaded[-1]
    if kind == "date":
        last = last.replace(hour=0, minute=0, second=0)
    zoned = last.replace(tzinfo=UTC if kind.startswith("timestamp") else ZoneInfo(zone))
    assert found["debt_cust_detail"] == ExcludedRows(unprocessable=1, future=2, latest=zoned.astimezone(UTC))
    assert found["debt_payment"] == ExcludedRows()


def test_empty_tables(site: Site) -> None:
    site.tables()
    survey, accounts = site.look(span(NEVER, utc(2026, 3, 1)))
    assert (survey.newest, survey.accounts, survey.reread, accounts) == (None, 0, 0, {})
    assert site.read([], utc(2026, 3, 1)) == []


# -- account numbers --------------------------------------------------------------------------------------------------

HARD_NAMES = [
    "00123", "123", "abc", "ABC", "Abc ", "abc  ", "äbc", "straße", "strasse", "😀", "😁", "a'b", 'a"b', "a\\b", "%",
    "_",
    "x'; DROP TABLE t", "line\nbreak", "tab\t", "?", "%s", "ﬀ",
    "\U0010ffff", "\uffff",
]  # fmt: skip


def test_accounts_are_exact(site: Site) -> None:
    """Strings that a collation holds to be equal are different accounts, in both tables and in every order."""
    site.tables()
    for name in HARD_NAMES:
        site.customers({"ACCOUNT_NUM": name, "LOAD_DATE": "2026-03-01", "CUSTOMER_REF": f"of {name}"})
    for name in HARD_NAMES[::2]:
        site.payments({"AP_ACCOUNT_NUMBER": name, "LOAD_DATE": "2026-03-02", "AP_ACCOUNT_PAYMENT_MNY": 1})
    site.payments({"AP_ACCOUNT_NUMBER": "payer only", "LOAD_DATE": "2026-03-02"})

    seen: list[int] = []

    async def work(source: Source) -> tuple[Survey, list[SelectedAccount], list[SelectedAccount], list[AccountRows]]:
        survey = await source.survey(span(NEVER, utc(2026, 4, 1)), seen.append)
        first, again = await collect(source), await collect(source, 1000)
        return survey, first, again, await source.read([*reversed(HARD_NAMES), "payer only", "äBC"], utc(2026, 4, 1))

    survey, first, again, rows = site.reading(work)
    assert [one.account for one in first] == sorted([*HARD_NAMES, "payer only"])
    assert first == again
    assert seen == [len(HARD_NAMES)]
    assert survey.accounts == len(HARD_NAMES) + 1
    assert [one.account for one in rows] == [*reversed(HARD_NAMES), "payer only", "äBC"]
    for one in rows[: len(HARD_NAMES)]:
        assert value(one, "CUSTOMER_REF") == [f"of {one.account}"]
        assert len(one.payments) == (HARD_NAMES.index(one.account) % 2 == 0)
    assert (len(rows[-2].customers), len(rows[-2].payments), rows[-1].customers) == (0, 1, [])


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ascii", "ucs2"])
def test_an_account_whose_characters_a_column_has_not(sql_server: SqlServer, sql_database: str, charset: str) -> None:
    """One table knows characters that the other has not: neither the odd account nor the others hinder each other."""
    odd = ["0712\u200b", "😀", "?", "0712?"]
    plain = [f"{number:06d}" for number in range(200)]
    with closing(sql_server.connect(sql_database)) as connection:
        site = Site("mysql", connection, lambda zone: mysql_source(sql_server, sql_database, zone))
        site.tables(account_type=f"varchar(40) CHARACTER SET {charset}")
        site.run("ALTER TABLE debt_payment MODIFY AP_ACCOUNT_NUMBER varchar(40) CHARACTER SET utf8mb4")
        site.customers(*((account, "2026-03-01") for account in (*plain, "?", "0712?")))
        site.payments(*({"AP_ACCOUNT_NUMBER": account, "LOAD_DATE": "2026-03-01"} for account in (*plain, *odd)))
        assert set(site.look(span(NEVER, utc(2026, 4, 1)))[1]) == {*plain, *odd}
        for accounts in (odd, [*odd, *plain]):  # picked by the server, and picked here
            rows = site.read(accounts, utc(2026, 4, 1))
            assert [len(one.customers) for one in rows] == [0, 0, 1, 1] + [1] * (len(accounts) - 4)
            assert [len(one.payments) for one in rows] == [1] * len(accounts)


COLUMNS_OF_SERVERS: list[tuple[str, dict[Any, str], list[Any]]] = [
    ("int", {"71": "71", "123456789": "123456789"}, []),
    ("int(10) zerofill", {"71": "0000000071"}, []),
    ("decimal(20,0)", {"71": "71"}, []),
    ("double", {"71": "71", "1e20": "1e20"}, []),
    ("float", {"71": "71", "71.5": "71.5"}, ["123456789"]),
    ("varbinary(20)", {b"a1": "a1", b"A1": "A1", "ä".encode(): "ä", b"a?1": "a?1"}, [b"a\xff1"]),
    ("blob", {b"a1": "a1"}, [b"a\xff1"]),
]


@pytest.mark.parametrize(
    ("product", "declared", "asked", "lost"),
    [
        *((product, *column) for product in ("mariadb", "mysql") for column in COLUMNS_OF_SERVERS),
        ("sqlite", "integer", {"0071": "71"}, []),
        ("sqlite", "real", {71: "71.0", 1e20: "1.0e+20"}, [123456789012345678]),
        ("sqlite", "", {"0071": "0071"}, [71, 71.5]),
        ("sqlite", "blob", {"a1": "a1"}, [b"a1", b"a\xff1"]),
    ],
)
def test_an_account_column_that_holds_no_text(
    request: pytest.FixtureRequest, tmp_path: Path, product: str, declared: str, asked: dict[Any, str], lost: list[Any]
) -> None:
    """An account is asked for as the survey names it; what cannot be asked for is counted, not passed over."""
    with opened(request, tmp_path, product) as site:
        site.tables(account_type=declared)
        for account in (*asked, *lost):
            site.customers((account, "2026-03-01"), (account, "2026-03-02"))
            site.payments({"AP_ACCOUNT_NUMBER": account, "LOAD_DATE": "2026-03-01"})
        assert set(site.look(span(NEVER, utc(2026, 4, 1)))[1]) == set(asked.values())
        counted = {"debt_cust_detail": 2 * len(lost), "debt_payment": len(lost)}
        assert unprocessable(site) == counted
        for others in ([], [f"{number}" for number in range(900_000, 900_200)]):  # picked by the server, and here
            rows = site.read([*asked.values(), *others], utc(2026, 4, 1))
            for one, account in zip(rows, asked.values(), strict=False):
                assert value(one, "LOAD_DATE") == [utc(2026, 3, 2)]
                assert value(one, "ACCOUNT_NUM") == paid(one, "AP_ACCOUNT_NUMBER") == [account]


def test_a_timestamp_is_an_instant_in_every_column(site: Site) -> None:
    """``source_timezone`` is that of local times; zero dates and text that says its zone stay as they are."""
    dates = ("ACCOUNT_EFFECTIVE_DTM_BSS", "LAST_BILL_DTM", "LAST_PAYMENT_DAT")
    site.tables(more_types=dict.fromkeys((*dates, "ACCOUNT_PAYMENT_DAT"), "timestamp"))
    noon = "2026-02-03 12:00:00"
    site.customers({"ACCOUNT_NUM": "1", "LOAD_DATE": "2026-03-01"} | dict.fromkeys(dates[:2], noon))
    site.run(f"UPDATE debt_cust_detail SET {dates[1]} = '0000-00-00 00:00:00'")
    site.payments({"AP_ACCOUNT_NUMBER": "1", "LOAD_DATE": "2026-03-01", "ACCOUNT_PAYMENT_DAT": noon})
    for accounts in (["1"], [f"{number}" for number in range(1, 201)]):  # picked by the server, and here
        rows = site.read(accounts, utc(2026, 4, 1), "Asia/Colombo")[0]
        assert [value(rows, name) for name in dates] == [[utc(2026, 2, 3, 12)], ["0000-00-00 00:00:00"], [None]]
        assert paid(rows, "ACCOUNT_PAYMENT_DAT") == [utc(2026, 2, 3, 12)]
        body = assembly.render_body(
            assembly.build_content("1", rows.customers, rows.payments, ZoneInfo("Asia/Colombo")), 1, NEVER, "me"
        )
        assert b'"Payment_Created":"2026-02-03T12:00:00.000Z"' in body
    assert paid(site.read(["1"], utc(2026, 4, 1))[0], "ACCOUNT_PAYMENT_DAT")[0] in (datetime(2026, 2, 3, 12), noon)


@pytest.mark.parametrize("number", [3, 20])
def test_dates_of_payments_that_are_text(site: Site, number: int) -> None:
    """The newest is so by time, in every form of text, and however long the history is."""
    site.tables(more_types={"ACCOUNT_PAYMENT_DAT": "varchar(30)", "ACCOUNT_PAYMENT_SEQ": "varchar(10)"})
    newest = {"2026-10-01": "9", "2026-10-01 00:00:00": "1", "2026-10-01T00:00:00": "10"}
    older = {(datetime(2026, 9, 1) + timedelta(days=day)).isoformat(" "): "99" for day in range(number)}
    accounts = [f"{one}" for one in range(1, 201)]
    for account in accounts[:2]:
        site.payments(
            *(
                {"AP_ACCOUNT_NUMBER": account, "LOAD_DATE": "2026-11-01"}
                | {"ACCOUNT_PAYMENT_DAT": paid, "ACCOUNT_PAYMENT_SEQ": seq}
                for paid, seq in (older | newest).items()
            )
        )
    for asked in (["1"], accounts):
        rows = site.read(asked, utc(2026, 12, 1))[0]
        assert sorted(map(str, paid(rows, "ACCOUNT_PAYMENT_SEQ"))) == ["1", "10", "9"]


def test_zeros_that_the_type_fills_in_belong_to_the_value(sql_server: SqlServer, sql_database: str) -> None:
    with closing(sql_server.connect(sql_database)) as connection:
        site = Site("mysql", connection, lambda zone: mysql_source(sql_server, sql_database, zone))
        site.tables()
        site.run("ALTER TABLE debt_cust_detail MODIFY ASSET_ID int(6) zerofill")
        site.customers(*({"ACCOUNT_NUM": "1", "ASSET_ID": one, "LOAD_DATE": "2026-03-01"} for one in (10, 9, None)))
        for accounts in (["1"], [f"{number}" for number in range(1, 201)]):
            assert set(value(site.read(accounts, utc(2026, 4, 1))[0], "ASSET_ID")) == {"000010", "000009", None}


def test_assets_are_exact_and_null_is_one(site: Site) -> None:
    site.tables()
    assets = ["a", "A", "a ", "ä", "😀", "😁", None]
    for asset in assets:
        for day in (1, 2):
            site.customers({"ACCOUNT_NUM": "1", "ASSET_ID": asset, "LOAD_DATE": f"2026-03-0{day}"})
    (rows,) = site.read(["1"], utc(2026, 4, 1))
    assert sorted(map(str, value(rows, "ASSET_ID"))) == sorted(map(str, assets))
    assert set(value(rows, "LOAD_DATE")) == {utc(2026, 3, 2)}


def test_window_flag_comes_from_either_table(site: Site) -> None:
    site.tables()
    site.customers(*((name, "2026-03-01") for name in "abc"), ("d", "2026-03-03"))
    site.payments(*({"AP_ACCOUNT_NUMBER": name, "LOAD_DATE": "2026-03-02 08:00:00"} for name in "bd"))
    survey, accounts = site.look(span(utc(2026, 3, 1, 12), utc(2026, 3, 3), lookback=86400))
    assert accounts == {"a": False, "b": True, "c": False, "d": True}
    assert (survey.accounts, survey.reread) == (2, 2)
    assert survey.rows == {"debt_cust_detail": 1, "debt_payment": 2}
    assert survey.newest == utc(2026, 3, 3)


def test_more_accounts_than_a_statement_takes(site: Site) -> None:
    site.tables()
    names = [f"{number:08d}" for number in range(2500)]
    site.customers(*((name, "2026-03-01") for name in names))
    rows = site.read(names, utc(2026, 4, 1))
    assert [one.account for one in rows] == names
    assert all(len(one.customers) == 1 for one in rows)


# -- current rows -----------------------------------------------------------------------------------------------------


def test_only_current_rows_travel(site: Site) -> None:
    """Of a history of 200 loads, only the newest row of each asset is read, repeated rows once."""
    site.tables("datetime(6)")
    start = datetime(2025, 1, 1)
    site.customers(
        *(
            {"ACCOUNT_NUM": "1", "ASSET_ID": f"A{asset}", "LOAD_DATE": (start + day * DAY).isoformat(" ")}
            for day in range(200)
            for asset in range(3)
            for _ in range(2)
        )
    )
    site.payments(
        *(
            {"AP_ACCOUNT_NUMBER": "1", "ACCOUNT_PAYMENT_DAT": moment, "LOAD_DATE": moment}
            for moment in ((start + day * DAY).isoformat(" ") for day in range(200))
            for _ in range(2)
        )
    )

    async def work(source: Any) -> tuple[list[AccountRows], int]:
        travelled = 0
        fetch = source._driver.fetch

        async def counted(statement: Any) -> Any:
            nonlocal travelled
            rows = await fetch(statement)
            travelled += len(rows)
            return rows

        source._driver.fetch = counted
        return await source.read(["1"], utc(2026, 4, 1)), travelled

    (rows,), travelled = site.reading(work)
    assert travelled == 4
    assert sorted(value(rows, "ASSET_ID")) == ["A0", "A1", "A2"]
    assert set(value(rows, "LOAD_DATE")) == {(start + 199 * DAY).replace(tzinfo=UTC)}
    assert len(rows.payments) == 1


def test_as_of_the_past(site: Site) -> None:
    site.tables()
    for day in (1, 2, 3):
        site.customers({"ACCOUNT_NUM": "1", "LOAD_DATE": f"2026-03-0{day}", "CUSTOMER_REF": f"c{day}"})
        # Paid in the reverse order of loading.
        stamp = {"ACCOUNT_PAYMENT_DAT": f"2026-02-0{4 - day} 00:00:00", "LOAD_DATE": f"2026-03-0{day} 12:00:00"}
        site.payments({"AP_ACCOUNT_NUMBER": "1", "ACCOUNT_PAYMENT_SEQ": day} | stamp)
    (rows,) = site.read(["1"], utc(2026, 3, 2, 12))
    assert value(rows, "CUSTOMER_REF") == ["c2"]
    assert paid(rows, "ACCOUNT_PAYMENT_SEQ") == [1]
    (rows,) = site.read(["1"], utc(2026, 3, 1, 6))
    assert (value(rows, "CUSTOMER_REF"), rows.payments) == (["c1"], [])


def test_ties_travel_and_differ_by_every_character(site: Site) -> None:
    """All rows that share the newest LOAD_DATE come, also those that differ by case or a trailing space only."""
    site.tables()
    names = ["Nimal", "nimal", "NIMAL ", "nimál"]
    site.customers(
        *({"ACCOUNT_NUM": "1", "LOAD_DATE": "2026-03-01", "CONTACT_PERSON": name} for name in names for _ in range(3))
    )
    (rows,) = site.read(["1"], utc(2026, 4, 1))
    assert sorted(value(rows, "CONTACT_PERSON")) == sorted(names)


def test_payments_without_a_date_are_the_oldest(site: Site) -> None:
    site.tables()
    load = "2026-03-01 00:00:00"
    for account, dates in {
        "some": [None, "0000-00-00 00:00:00", "1990-01-01 00:00:00"],
        "none": [None, "0000-00-00 00:00:00"],
    }.items():
        for sequence, moment in enumerate(dates):
            site.payments(
                {
                    "AP_ACCOUNT_NUMBER": account,
                    "ACCOUNT_PAYMENT_SEQ": sequence,
                    "ACCOUNT_PAYMENT_DAT": moment,
                    "LOAD_DATE": load,
                }
            )
    some, none = site.read(["some", "none"], utc(2026, 4, 1))
    assert paid(some, "ACCOUNT_PAYMENT_SEQ") == [2]
    assert sorted(paid(none, "ACCOUNT_PAYMENT_SEQ")) == [0, 1]


def test_values_are_native(site: Site) -> None:
    site.tables()
    site.customers(
        {
            "ACCOUNT_NUM": "007",
            "LOAD_DATE": "2026-03-01",
            "OUTSTANDING": "-1234567890123456.78" if site.dialect == "mysql" else "-12.50",
            "ASSET_ADDRESS": "é" * 300,
            "BSS_PRODUCT_SEQ": 5,
            "LAST_BILL_DTM": "2026-02-28",
        }
    )
    (rows,) = site.read(["007"], utc(2026, 4, 1))
    assert value(rows, "ACCOUNT_NUM") == ["007"]
    assert value(rows, "ASSET_ADDRESS") == ["é" * 300]
    assert value(rows, "BSS_PRODUCT_SEQ") == [5]
    assert value(rows, "ZIP_CODE") == [None]
    if site.dialect == "mysql":
        assert value(rows, "OUTSTANDING") == [Decimal("-1234567890123456.78")]
        assert value(rows, "LAST_BILL_DTM") == [date(2026, 2, 28)]


def test_survey_is_one_view(site: Site) -> None:
    """Rows that are committed between the two tables' reads are not half seen: reading is repeatable."""
    if site.dialect == "sqlite":
        site.run("PRAGMA journal_mode = WAL")
    site.tables()
    site.customers(("old", "2026-03-01"))

    async def work(source: Any) -> tuple[Survey, Survey]:
        stream = source._driver.stream

        async def interrupted(statement: Any, size: int) -> Any:
            async for batch in stream(statement, size):
                yield batch
            site.payments({"AP_ACCOUNT_NUMBER": "new", "LOAD_DATE": "2026-03-01 00:00:00"})

        source._driver.stream = interrupted
        first = await source.survey(span(NEVER, utc(2026, 4, 1)))
        source._driver.stream = stream
        return first, await source.survey(span(NEVER, utc(2026, 4, 1)))

    first, second = site.reading(work)
    assert (first.accounts, second.accounts) == (1, 2)


# -- mistakes and faults ----------------------------------------------------------------------------------------------


def test_missing_table(site: Site) -> None:
    site.tables()
    site.run("DROP TABLE debt_payment")
    with pytest.raises(ConfigurationError, match=r"has no table debt_payment.*grant SELECT"):
        site.reading(lambda source: source.now())


def test_missing_column(site: Site) -> None:
    site.tables()
    site.run("ALTER TABLE debt_cust_detail DROP COLUMN NIC")
    with pytest.raises(ConfigurationError, match=r"table debt_cust_detail .* has no column NIC"):
        site.reading(lambda source: source.now())


def test_column_that_goes_missing_later(site: Site) -> None:
    site.tables()

    async def work(source: Source) -> None:
        site.run("ALTER TABLE debt_cust_detail DROP COLUMN NIC")
        await source.read(["1"], utc(2026, 4, 1))

    with pytest.raises(ConfigurationError, match="NIC"):
        site.reading(work)


def test_source_still_works_after_an_error(site: Site) -> None:
    site.tables()
    site.customers(("a", "2026-03-01"))

    async def work(source: Any) -> list[AccountRows]:
        with pytest.raises(ZeroDivisionError):
            await source._attempt(fail)
        rows: list[AccountRows] = await source.read(["a"], utc(2026, 4, 1))
        return rows

    async def fail() -> None:
        raise ZeroDivisionError

    (rows,) = site.reading(work)
    assert len(rows.customers) == 1


def test_cancelled_read_leaves_a_working_source(site: Site) -> None:
    site.tables()
    site.customers(*((f"{number:05d}", "2026-03-01") for number in range(3000)))

    async def work(source: Source) -> Survey:
        for delay in (0, 0.001, 0.005):
            task = asyncio.create_task(source.survey(span(NEVER, utc(2026, 4, 1))))
            await asyncio.sleep(delay)
            task.cancel()
            await asyncio.wait([task])
        return await source.survey(span(NEVER, utc(2026, 4, 1)))

    assert site.reading(work).accounts == 3000


def test_reconnects_after_the_server_was_killed(sql_server: SqlServer, sql_database: str) -> None:
    with closing(sql_server.connect(sql_database)) as connection:
        create_tables(connection, "mysql")
        insert_customers(connection, [{"ACCOUNT_NUM": "1", "LOAD_DATE": "2026-03-01"}])

    async def main() -> None:
        async with mysql_source(sql_server, sql_database) as source:
            survey = await source.survey(span(NEVER, utc(2026, 4, 1)))
            sql_server.kill()
            try:
                with pytest.raises(DatabaseConnectionError, match="cannot be reached") as caught:
                    await source.now()
            finally:
                sql_server.start()
            assert sql_server.password not in str(caught.value)
            assert [one.account for one in await collect(source)] == ["1"]
            assert await source.survey(span(NEVER, utc(2026, 4, 1))) == survey
            sql_server.kill()
            sql_server.start()
            (rows,) = await source.read(["1"], utc(2026, 4, 1))
            assert len(rows.customers) == 1

    asyncio.run(main())


def test_wrong_password_and_database(sql_server: SqlServer) -> None:
    async def enter(source: MySQLSource) -> None:
        async with source:
            pass

    wrong = MySQLSource(sql_server.target("x", password="pä$$ → word"))
    with pytest.raises(DatabaseConnectionError, match="MYSQL_PASSWORD") as caught:
        asyncio.run(enter(wrong))
    assert "pä$$" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="Unknown database 'nowhere'"):
        asyncio.run(enter(mysql_source(sql_server, "nowhere")))


def test_missing_and_foreign_file(tmp_path: Path) -> None:
    async def enter(path: Path) -> None:
        async with SqliteSource(path):
            pass

    with pytest.raises(DatabaseConnectionError, match=r"there is no file .*nothing\.db"):
        asyncio.run(enter(tmp_path / "nothing.db"))
    assert not (tmp_path / "nothing.db").exists()
    (tmp_path / "letter.txt").write_text("Dear reader, this is no database. " * 100)
    with pytest.raises(DatabaseConnectionError, match="is no SQLite database"):
        asyncio.run(enter(tmp_path / "letter.txt"))
