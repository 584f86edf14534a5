"""Everything in which MySQL, MariaDB and SQLite differ: addresses, connections, types, the clock."""

import base64
import ssl
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, String, event
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from incident_process.errors import ConfigurationError, DatabaseConnectionError

_DRIVERS = {"mysql": "mysql+asyncmy", "mariadb": "mysql+asyncmy", "sqlite": "sqlite+aiosqlite"}

BUSY_SECONDS = 30.0
"""How long SQLite waits for another process's write before it gives up."""
CONNECT_SECONDS = 10
READ_SECONDS = 75.0
"""How long an answer of MySQL may take; longer than its lock wait timeout of 50 s, so that it can say why."""

WRITES = "incident_process_writes"
"""The execution option of an engine whose transactions write."""


def engine_url(url: str | URL) -> URL:
    """Return the address with the driver that this package uses.

    Raises:
        ConfigurationError: no address, or no database that can keep the state. The address is not in the message.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        raise ConfigurationError(
            "[STATE] url is not a database address; it has the form mysql://user:password@host:3306/database "
            "or sqlite:///file.db (in a password, write @ as %40, / as %2F and % as %25)"
        ) from exc
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise ConfigurationError(
            f"[STATE] url names {parsed.get_backend_name()}, which cannot keep the state; use mysql://, mariadb:// or sqlite:///"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError("[STATE] url names no database; add /database, or /file.db for SQLite")
    parsed = parsed.set(drivername=driver)
    return parsed if is_sqlite(parsed) else parsed.update_query_dict({"charset": "utf8mb4"})


def is_sqlite(url: URL) -> bool:
    """Return whether the address is a SQLite file."""
    return url.get_backend_name() == "sqlite"


def place(url: URL) -> str:
    """Return how messages name the database: never with user or password."""
    if is_sqlite(url):
        return f"SQLite file {url.database}"
    return f"database {url.database} on {url.host or 'localhost'}:{url.port or 3306}"


def create_engine(url: URL, tls: ssl.SSLContext | None = None) -> AsyncEngine:
    """Return an engine for an address of ``engine_url``; it connects when it is first used.

    Args:
        url: where to.
        tls: for an encrypted connection to MySQL.
    """
    if is_sqlite(url):
        engine = create_async_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    connect_args: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        # A value that does not fit must be an error, whatever the server's default is.
        "init_command": "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    }
    if url.password is not None:
        # asyncmy would encode text as Latin-1, and fail on what is not in it.
        connect_args["password"] = url.password.encode()
    if tls is not None:
        connect_args["ssl"] = tls
    return create_async_engine(
        url,
        hide_parameters=True,
        # A server that was restarted, or that closed an idle connection, must not fail the next statement.
        pool_pre_ping=True,
        # The writes lock what they read; gap locks would only make operations that share the tables wait.
        isolation_level="READ COMMITTED",
        connect_args=connect_args,
    )


def require_folder(url: URL) -> None:
    """Raise DatabaseConnectionError when a SQLite file could not be created for want of its folder."""
    if is_sqlite(url) and url.database is not None and not url.database.startswith("file:"):
        folder = Path(url.database).absolute().parent
        if not folder.is_dir():
            raise DatabaseConnectionError(
                f"The folder {folder} of the state's SQLite file does not exist: create it, or correct [STATE] url"
            )


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    """Take transaction control from the driver, and let no commit be forgotten by a power cut."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a read that turned into a write could fail in the middle, its view outdated.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class UtcNow(FunctionElement[datetime]):
    """The store's own clock."""

    inherit_cache = True

    def __init__(self) -> None:
        super().__init__()
        self.type = UtcDateTime()


@compiles(UtcNow, "mysql")
def _mysql_now(_element: UtcNow, _compiler: Any, **_: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(UtcNow, "sqlite")
def _sqlite_now(_element: UtcNow, _compiler: Any, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


class ExactText(String):
    """Text that is compared exactly: case, accents, trailing spaces count, and every code point fits."""


@compiles(ExactText, "mysql")
def _mysql_exact_text(element: ExactText, compiler: Any, **_: Any) -> str:
    collation = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"VARCHAR({element.length}) CHARACTER SET utf8mb4 COLLATE {collation}"


class Exactly(FunctionElement[str]):
    """A text column of another program's table, made to compare by code point whatever its collation is."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[str]) -> None:
        super().__init__(column)
        self.type = String()


@compiles(Exactly, "mysql")
def _mysql_exactly(element: Exactly, compiler: Any, **kw: Any) -> str:
    return f"CONVERT({compiler.process(element.clauses, **kw)} USING utf8mb4) COLLATE utf8mb4_bin"


@compiles(Exactly, "sqlite")
def _sqlite_exactly(element: Exactly, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, aware UTC in Python, to the microsecond without a zone in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type with microseconds."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Take the zone off."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone on."""
        return None if value is None else value.replace(tzinfo=UTC)


class _SqliteDateTime(UserDefinedType[Any]):
    """A DATETIME of SQLite as it is stored, which is any text that some program has put there."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "DATETIME"


class LocalDateTime(TypeDecorator[datetime]):
    """A DATETIME of whole seconds without a zone, in a table that other programs write too.

    Read are also fractions, ``T`` between date and time, and dates alone; what is no date at all (a zero date, a
    word) reads as None. Written is ``YYYY-MM-DD HH:MM:SS``; a fraction is cut, because MySQL would round it up.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose MySQL's DATETIME, or SQLite's text without SQLAlchemy's opinion of its form."""
        return dialect.type_descriptor(mysql.DATETIME() if dialect.name == "mysql" else _SqliteDateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Cut to whole seconds."""
        if value is None:
            return None
        whole = value.replace(microsecond=0)
        return whole if dialect.name == "mysql" else whole.isoformat(" ")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read whatever is there."""
        if isinstance(value, datetime):
            return value.replace(tzinfo=None)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a local time, the zone follows
        try:
            return datetime.fromisoformat(value.strip()).replace(tzinfo=None)
        except (AttributeError, ValueError):
            return None


class _Unwrapped(FunctionElement[bytes]):
    """Bytes as they are to be stored, out of the form in which they travel."""

    inherit_cache = True

    def __init__(self, value: ColumnElement[bytes]) -> None:
        super().__init__(value)
        self.type = LargeBinary()


@compiles(_Unwrapped, "mysql")
def _mysql_unwrapped(element: _Unwrapped, compiler: Any, **kw: Any) -> str:
    return f"FROM_BASE64({compiler.process(element.clauses, **kw)})"


@compiles(_Unwrapped, "sqlite")
def _sqlite_unwrapped(element: _Unwrapped, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


class Blob(TypeDecorator[bytes]):
    """Bytes of any length: MySQL's plain BLOB ends at 64 KB.

    To MySQL they travel as base64: asyncmy escapes raw bytes at 12 MB/s of processor time, base64 at 95 MB/s.
    """

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type for any length."""
        return dialect.type_descriptor(mysql.LONGBLOB() if dialect.name == "mysql" else LargeBinary())

    def bind_expression(self, bindvalue: BindParameter[bytes]) -> ColumnElement[bytes]:
        """Let the database undo what ``process_bind_param`` does."""
        return _Unwrapped(bindvalue)

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Wrap the bytes for MySQL."""
        return base64.b64encode(value) if value is not None and dialect.name == "mysql" else value
