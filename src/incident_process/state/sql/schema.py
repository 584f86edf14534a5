"""The tables of the SQL state (SPEC 6).

``Process_Operation`` is the team's: its form is given, other programs read and write it. All others are the
program's own. Their instants are UTC to the microsecond, their texts compare exactly.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass

from incident_process.core.errors import IncidentProcessError
from incident_process.database.errors import KeyRequiredError, MissingColumnError, MissingTableError
from incident_process.state import schema_version
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.database import SqlDatabase
from incident_process.state.sql.dialect import MYSQL, exact_text, marks


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table as it is created. In braces: types of the dialect, and what makes a text compare ``exact``ly."""

    name: str
    columns: str
    indexes: tuple[tuple[str, str], ...] = ()
    """Name and columns of each."""
    options: str = "ENGINE=InnoDB CHARSET=utf8mb4"
    """What MySQL is told beside the columns."""
    later: tuple[str, ...] = ()
    """Columns at its end, of ``_LATER``: a table that was made before there were any gets them."""


NO_SCOPE = -1
"""The operation's own value in the column Scope; parallel chunks count from 0."""

_LATER = {
    "Scope": f"INTEGER NOT NULL DEFAULT {NO_SCOPE}",
    "Rows_Digest": "VARCHAR(64) {exact} NOT NULL DEFAULT ''",
    "Earlier_Digests": "MEDIUMTEXT {exact}",
}
"""Columns that are younger than their tables, with the default for older rows."""

PROCESS_OPERATION = Table(
    name="Process_Operation",
    columns="""
    Process_Operation_Sequence INTEGER NOT NULL,
    created_dtm DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    Operation_name VARCHAR(255) NOT NULL,
    execution_duration INTEGER NOT NULL,
    Next_execution_dtm DATETIME NOT NULL,
    Last_execution_dtm DATETIME NOT NULL,
    end_dtm DATETIME""",
    options="ENGINE=InnoDB",
)
"""The team's table; created only when it is missing and tracking is SQL."""

_HIDDEN_KEY = "Process_Operation_Key BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY"
"""Its extra column where the server requires a primary key in each table."""

LEASE = Table(
    name="Process_Operation_Lease",
    # Holder NULL: free. As_Of: the latest instant as of which documents were built. Watermark: Last_execution_dtm as
    # exact as it was, see tracking.py.
    columns="""
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Holder VARCHAR(255) {exact},
    Token BIGINT NOT NULL,
    Expires_Dtm {instant} NOT NULL,
    As_Of_Dtm {instant},
    Watermark_Dtm {instant},
    PRIMARY KEY (Operation_name)""",
)

SCOPE = Table(
    name="Process_Operation_Scope",
    # The lease of a chunk. Epoch: the token of the operation's lease under which it may be claimed.
    columns="""
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Scope INTEGER NOT NULL,
    Epoch BIGINT NOT NULL,
    Holder VARCHAR(255) {exact},
    Token BIGINT NOT NULL,
    Expires_Dtm {instant} NOT NULL,
    PRIMARY KEY (Operation_name, Scope)""",
)

COUNTER = Table(
    name="Incident_Counter",
    columns="""
    Counter_Name VARCHAR(64) {exact} NOT NULL,
    Last_Incident_Id BIGINT NOT NULL,
    PRIMARY KEY (Counter_Name)""",
)

RUN = Table(
    name="Process_Operation_Run",
    # Counts: all figures, who asked for the run and why, as JSON.
    columns="""
    Run_Id VARCHAR(64) {exact} NOT NULL,
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Kind VARCHAR(16) {exact} NOT NULL,
    Status VARCHAR(16) {exact} NOT NULL,
    Window_Start_Dtm {instant},
    Window_End_Dtm {instant},
    Accounts INTEGER NOT NULL,
    Delivered INTEGER NOT NULL,
    Unchanged INTEGER NOT NULL,
    Skipped INTEGER NOT NULL,
    Dead INTEGER NOT NULL,
    Pending INTEGER NOT NULL,
    Counts TEXT NOT NULL,
    Last_Error TEXT,
    Host VARCHAR(255) {exact} NOT NULL,
    Started_Dtm {instant} NOT NULL,
    Ended_Dtm {instant},
    PRIMARY KEY (Run_Id)""",
    indexes=(("Run_By_Start", "Operation_name, Started_Dtm"), ("Run_By_Status", "Operation_name, Status")),
)

DELIVERY = Table(
    name="Incident_Delivery",
    columns="""
    Incident_Id BIGINT NOT NULL,
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Account_Num VARCHAR(255) {exact} NOT NULL,
    Digest VARCHAR(128) {exact} NOT NULL,
    Idempotency_Key VARCHAR(255) {exact} NOT NULL,
    Status VARCHAR(16) {exact} NOT NULL,
    Attempts INTEGER NOT NULL,
    Runs INTEGER NOT NULL,
    Last_Http_Status INTEGER,
    Last_Error TEXT,
    Run_Id VARCHAR(64) {exact} NOT NULL,
    Created_Dtm {instant} NOT NULL,
    Updated_Dtm {instant} NOT NULL,
    {later},
    PRIMARY KEY (Incident_Id)""",
    later=("Scope", "Rows_Digest", "Earlier_Digests"),  # the last: of pruned deliveries, see ``state.remembered``
    indexes=(
        # The newest entry of an account in each status is one step in this index, however long its history is.
        ("Delivery_By_Account", "Operation_name, Account_Num, Status, Incident_Id"),
        ("Delivery_By_Run", "Run_Id, Incident_Id"),
        ("Delivery_By_Status", "Operation_name, Status, Incident_Id"),
    ),
)

OUTBOX = Table(
    name="Incident_Outbox",
    # First_Incident_Id: as first written, the order of the entries. Incidents: how many are pending. Done: set instead
    # of deleting, where bodies are kept for auditors.
    columns="""
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Chunk_Id VARCHAR(128) {exact} NOT NULL,
    Part_Number INTEGER NOT NULL,
    First_Incident_Id BIGINT NOT NULL,
    Incidents INTEGER NOT NULL,
    Token BIGINT NOT NULL,
    Run_Id VARCHAR(64) {exact} NOT NULL,
    Created_Dtm {instant} NOT NULL,
    Done_Dtm {instant},
    Body {blob} NOT NULL,
    {later},
    PRIMARY KEY (Operation_name, Chunk_Id, Part_Number)""",
    # What waits of a scope is one range, so that those who claim two scopes never wait for each other's rows.
    indexes=(("Outbox_By_Scope", "Operation_name, Done_Dtm, Scope, First_Incident_Id"),),
    later=("Scope",),
)

IDENTITY = Table(
    name="Process_Operation_Identity",
    # Key_Name: with which idempotency keys are made. Source, Receiver: those of the runs, without credentials.
    # Renaming: a copy to this state that is not whole. Moved_To: where all was copied to, and runs go on.
    columns="""
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Key_Name VARCHAR(255) {exact} NOT NULL,
    Source TEXT,
    Receiver TEXT,
    Renaming VARCHAR(255) {exact},
    Moved_To TEXT,
    PRIMARY KEY (Operation_name)""",
)

VERSION = Table(
    name="Incident_State_Version",
    # One row. Needs: the lowest SCHEMA_VERSION of a program that may work on this state.
    columns="""
    Id INTEGER NOT NULL,
    Version INTEGER NOT NULL,
    Needs INTEGER NOT NULL,
    PRIMARY KEY (Id)""",
)

OWN = (LEASE, SCOPE, COUNTER, RUN, DELIVERY, OUTBOX, IDENTITY, VERSION)
"""The program's own tables."""

CONDITION = Table(
    name="Process_Operation_Condition",
    columns="""
    Operation_name VARCHAR(255) {exact} NOT NULL,
    Condition_Name VARCHAR(64) {exact} NOT NULL,
    Stage VARCHAR(16) {exact} NOT NULL,
    Since_Dtm {instant} NOT NULL,
    Claimed_Dtm {instant} NOT NULL,
    Told TEXT NOT NULL,
    PRIMARY KEY (Operation_name, Condition_Name)""",
)
"""The program's own too, where alerts are configured (``conditions.py``)."""

_MYSQL_INDEXES = """
    SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?
    ORDER BY INDEX_NAME, SEQ_IN_INDEX"""

_SQLITE_INDEXES = """
    SELECT list.name, info.name, list.partial
    FROM pragma_index_list(?) AS list JOIN pragma_index_info(list.name) AS info
    ORDER BY list.name, info.seqno"""
"""Name and columns of each index of a table, and after them what makes it of no use: it is only over a part."""

_READ_VERSION = "SELECT Version, Needs FROM Incident_State_Version"
_WRITE_VERSION = "INSERT {or_ignore} INTO Incident_State_Version (Id, Version, Needs) VALUES (1, ?, ?)"
_RAISE_VERSION = "UPDATE Incident_State_Version SET Version = ?, Needs = ? WHERE Version < ?"

_CREATED_SECONDS = 0.5
_CREATED_LOOKS = 4
"""Times that ``require`` reads a state again that another process is creating."""


async def require(database: SqlDatabase) -> None:
    """See that the state is as this version needs it, and create one of which nothing is there; see ``contract``."""
    for look in range(_CREATED_LOOKS + 1):
        version = await database.read(_version)
        schema_version.require(version, database.place)
        lacking = await database.read(_lacking)
        if version is not None and not lacking:
            if version.number < schema_version.CURRENT:
                raise schema_version.outdated(database.place, version, ())
            return
        if len(lacking) == len(OWN) or (version is None and not lacking):
            await bring_up_to_date(database)
            return
        if look < _CREATED_LOOKS:
            await asyncio.sleep(_CREATED_SECONDS)
    raise schema_version.outdated(database.place, version, lacking)


async def bring_up_to_date(database: SqlDatabase) -> None:
    """Create what is missing of the program's own, and note the version; where nothing is, nothing is written."""
    version = await database.read(_version)
    schema_version.require(version, database.place)

    async def note(connection: Connection) -> None:
        if await _version(connection) is None:
            await connection.execute(_WRITE_VERSION, (schema_version.CURRENT, schema_version.NEEDS))
        await connection.execute(_RAISE_VERSION, (schema_version.CURRENT, schema_version.NEEDS, schema_version.CURRENT))

    async with undone_where_it_fails(database, OWN):
        await prepare(database, OWN)
        if version is None or version.number < schema_version.CURRENT:
            await database.write(note)


@asynccontextmanager
async def undone_where_it_fails(database: SqlDatabase, tables: Sequence[Table]) -> AsyncIterator[None]:
    """Drop those of the tables that are new, and empty, when the block raises: MySQL commits each statement of DDL.

    A server may let tables be created and then forbid to write to them (binlog_format = STATEMENT), or allow some only.
    """

    async def present(connection: Connection) -> list[Table]:
        return [table for table in tables if await _answers(connection, f"SELECT 1 FROM {table.name} WHERE 1 = 0")]

    before = await database.read(present)
    try:
        yield
    except BaseException:

        async def drop(connection: Connection) -> None:
            for table in await present(connection):
                # What holds a row is somebody else's, who created it at the same time.
                if table not in before and await connection.row(f"SELECT 1 FROM {table.name} LIMIT 1") is None:
                    await connection.execute(f"DROP TABLE {table.name}")

        with suppress(IncidentProcessError):  # the first fault is the one to tell
            await database.write(drop)
        raise


async def _version(connection: Connection) -> schema_version.Version | None:
    try:
        row = await connection.row(_READ_VERSION)
    except MissingTableError:
        return None
    return None if row is None else schema_version.stored(*row)


async def _lacking(connection: Connection) -> list[str]:
    """Return what is missing: tables by their names, columns as ``table.column``."""
    found = []
    for table in OWN:
        if not await _exists(connection, table):
            there = await _answers(connection, f"SELECT 1 FROM {table.name} WHERE 1 = 0")
            columns = [name for name in table.later if not await _has(connection, table, name)] if there else []
            found += [f"{table.name}.{column}" for column in columns] or [table.name]
    return found


async def prepare(database: SqlDatabase, tables: Sequence[Table]) -> None:
    """Create those of the tables that are missing; where none is, nothing is written and no right to create is used."""

    async def missing(connection: Connection) -> bool:
        return not all([await _exists(connection, table) for table in tables])

    async def create_all(connection: Connection) -> None:
        for table in tables:
            await create(connection, table)

    if await database.read(missing):
        await database.write(create_all)


async def missing_indexes(connection: Connection) -> list[str]:
    """Return the statements that create the indexes which tables that are there lack; one of another name counts."""
    statements = []
    for table in OWN:
        present = await _indexes(connection, table)
        for name, columns in table.indexes:
            wanted = columns.split(", ")
            if not any(of[: len(wanted)] == wanted for of in present):
                statements.append(f"CREATE INDEX {name} ON {table.name} ({columns})")
    return statements


async def create_indexes(database: SqlDatabase) -> None:
    """Create the indexes that are missing; where none is, nothing is written and no right to create is used."""

    async def create_all(connection: Connection) -> None:
        for statement in await missing_indexes(connection):
            await connection.execute(statement)

    if await database.read(missing_indexes):
        await database.write(create_all)


async def _indexes(connection: Connection, table: Table) -> Iterable[list[str]]:
    """Return the columns of each index."""
    query = _MYSQL_INDEXES if connection.dialect is MYSQL else _SQLITE_INDEXES
    found: dict[str, list[str]] = {}
    for name, column, partial in await connection.rows(query, (table.name,)):
        found.setdefault(name, []).append("" if partial else column)
    return found.values()


async def try_writes(connection: Connection) -> None:
    """Write no row to each table in each way that a run does: the server checks privileges before rows."""
    for table in OWN:
        first = table.columns.split(maxsplit=1)[0]
        await connection.execute(f"INSERT INTO {table.name} SELECT * FROM {table.name} WHERE 1 = 0")
        await connection.execute(f"UPDATE {table.name} SET {first} = {first} WHERE 1 = 0")
    await connection.execute(f"DELETE FROM {OUTBOX.name} WHERE 1 = 0")
    if await _exists(connection, PROCESS_OPERATION):
        await connection.execute("UPDATE Process_Operation SET Operation_name = Operation_name WHERE 1 = 0")


async def create(connection: Connection, table: Table) -> None:
    """Create the table with its indexes if it is missing; of two that try at once, both succeed."""
    if await _exists(connection, table):
        return
    is_mysql = connection.dialect is MYSQL
    exact = exact_text(str(await connection.value("SELECT VERSION()"))) if is_mysql else ""
    if table.later and await _answers(connection, f"SELECT 1 FROM {table.name} WHERE 1 = 0"):
        for column in table.later:
            if not await _has(connection, table, column):
                await _add(connection, table, column, exact)
        return
    columns = table.columns.format_map(
        {
            **asdict(connection.dialect),
            "exact": exact,
            "later": ", ".join(_column(column, exact) for column in table.later),
        }
    )
    # In one statement on MySQL, because each would be a transaction of its own.
    indexes = "".join(f", INDEX {name} ({of})" for name, of in table.indexes) if is_mysql else ""
    options = table.options if is_mysql else ""
    try:
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({columns}{indexes}) {options}")
    except KeyRequiredError:
        if table is not PROCESS_OPERATION:
            raise
        # The team's table has no key by contract. One that is invisible is in no SELECT * and no INSERT without names.
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({columns}, {_HIDDEN_KEY}) {options}")
    await _index(connection, table)


async def _add(connection: Connection, table: Table, column: str, exact: str) -> None:
    """Give a table of before the column and the indexes that hold it; what is in it has the column's default."""
    added = [(name, of) for name, of in table.indexes if column in of]
    # In one statement, as above.
    also = "".join(f", ADD INDEX {name} ({of})" for name, of in added) if connection.dialect is MYSQL else ""
    await connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {_column(column, exact)}{also}")
    await _index(connection, table)


async def _index(connection: Connection, table: Table) -> None:
    if connection.dialect is not MYSQL:
        for name, columns in table.indexes:
            await connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table.name} ({columns})")


def _column(name: str, exact: str) -> str:
    return f"{name} {_LATER[name].format(exact=exact)}"


async def _exists(connection: Connection, table: Table) -> bool:
    return await _has(connection, table, ", ".join(table.later) or "1")


async def _has(connection: Connection, table: Table, column: str) -> bool:
    return await _answers(connection, f"SELECT {column} FROM {table.name} WHERE 1 = 0")


async def _answers(connection: Connection, query: str) -> bool:
    try:
        await connection.rows(query)
    except (MissingTableError, MissingColumnError):
        return False
    return True


ERROR_CHARACTERS = 4000
"""Characters of an error that the state keeps; MySQL's TEXT would refuse more than 64 KB."""


def shortened(error: str | None) -> str | None:
    """Return an error as it fits its column."""
    return None if error is None else error[:ERROR_CHARACTERS]


async def stored_bytes(connection: Connection) -> int:
    """Return about how many bytes the state takes: of its tables on a server, of the whole file of SQLite."""
    if connection.dialect is MYSQL:
        sql = "SELECT SUM(DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        tables = [table.name for table in (PROCESS_OPERATION, *OWN)]
        found = await connection.rows(f"{sql} AND TABLE_NAME IN ({marks(len(tables))})", tables)
    else:
        found = await connection.rows("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", ())
    return int(found[0][0] or 0)
