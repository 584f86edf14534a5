"""Reads the position of a primary by GTIDs, checks replicas, and waits until they have reached a position.

A *position* is the set of all transactions that the primary has written. A replica that has applied a position has
every row that was there when the position was read, whatever its LOAD_DATE. The GTIDs of MariaDB and MySQL 8 share
nothing but the name.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError
from incident_process.core.models import Record
from incident_process.source.driver import Driver
from incident_process.source.queries import Statement

Named = Callable[[str], Awaitable[list[Mapping[str, Any]]]]
"""Returns the rows of a statement by the names of their columns."""

LEAST_SECONDS = 0.05
"""Seconds of the shortest wait: to MySQL, 0 means no limit."""

_OWN_SCHEMAS = ("mysql", "sys", "performance_schema", "information_schema", "innodb_memcache")
"""The server's own schemas. Hosted replicas filter some of their tables, which does not affect the source's."""
_TABLE_FILTERS = ("replicate_ignore_table", "replicate_wild_ignore_table")

_OWNERS = re.compile(r"#\d+")

_HALF_LOGGED = (
    "the primary logs some databases only (binlog_do_db, binlog_ignore_db), so that replicas may lack rows without "
    "knowing it: log all of them"
)
_UNLOGGED = "the primary keeps no GTIDs, so that nobody can tell how far a replica is: {remedy}"


class Position(Record, frozen=True, kw_only=True):
    """The primary's transactions at an instant."""

    sets: tuple[str, ...]
    """The transactions, in the server's own notation; a replica needs every one of them."""
    server_id: int
    mariadb: bool


async def primary_position(driver: Driver) -> Position:
    """Return the primary's position, which covers everything that any earlier snapshot could see.

    Raises:
        ConfigurationError: The primary has no position to tell, or its log leaves out databases.
    """
    mariadb, numbers = await _version(driver)
    renamed = not mariadb and numbers >= (8, 2)
    logged = await driver.fetch(Statement(sql="SHOW BINARY LOG STATUS" if renamed else "SHOW MASTER STATUS"))
    # Columns: file, position, the databases that the log includes, and those that it leaves out.
    if any(str(name or "") for row in logged for name in row[2:4]):
        raise ConfigurationError(f"[DATABASE] REPLICAS: {_HALF_LOGGED}.")
    if mariadb:
        # Either alone may lack transactions: the first those replicated to a server that has become the primary since,
        # the second those that this server wrote under another server_id.
        query = "SELECT @@GLOBAL.gtid_current_pos, @@GLOBAL.gtid_binlog_pos, @@GLOBAL.server_id"
        *found, server_id = (await driver.fetch(Statement(sql=query)))[0]
        # MariaDB writes its log, and so moves the position, before a transaction becomes visible.
        sets = [str(one) for one in found if one]
        remedy = "start it with log_bin"
    else:
        # MySQL adds a transaction to gtid_executed just after it becomes visible; until then a thread owns it. In this
        # order of reading none is lost between the two.
        owned = (await driver.fetch(Statement(sql="SELECT @@GLOBAL.gtid_owned")))[0][0]
        query = "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode, @@GLOBAL.server_id"
        executed, mode, server_id = (await driver.fetch(Statement(sql=query)))[0]
        sets = [str(executed), without_owners(str(owned))] if str(mode).upper() == "ON" and executed else []
        remedy = "start it with log_bin and gtid_mode = ON"
    if not logged or not sets:
        raise ConfigurationError(f"[DATABASE] REPLICAS: {_UNLOGGED.format(remedy=remedy)}.")
    # Sets of several sources hold line breaks.
    distinct = dict.fromkeys(re.sub(r"\s", "", one) for one in sets)
    return Position(sets=tuple(one for one in distinct if one), server_id=int(server_id), mariadb=mariadb)


async def check_replica(driver: Driver, named: Named, position: Position) -> None:
    """Check that a replica applies every transaction of the primary.

    Raises:
        ConfigurationError: It replicates from another server or from none, filters tables, or skips errors.
        DatabaseConnectionError: It cannot tell yet which server it replicates from.
    """

    def unfit(text: str) -> ConfigurationError:
        return ConfigurationError(f"{driver.place}: {driver.where} {text}.")

    mariadb, _ = await _version(driver)
    if mariadb is not position.mariadb:
        raise unfit("is no replica of the source: one of the two is MariaDB, the other MySQL")
    rows = await named("SHOW ALL SLAVES STATUS" if mariadb else "SHOW REPLICA STATUS")
    if not rows:
        raise unfit("replicates from no server: name a replica of the source, or set it up as one")
    channels = [{name.lower(): value for name, value in row.items()} for row in rows]
    filters = sorted({name for channel in channels for name in filters_of(channel)})
    if filters:
        raise unfit(f"may lack rows, because its replication is filtered ({', '.join(filters)}): remove the filter")
    # A MariaDB position does not name its server: one of another group of servers would compare as well.
    sources = {int(channel.get("master_server_id") or 0) for channel in channels}
    if mariadb and position.server_id not in sources:
        if 0 in sources:
            raise DatabaseConnectionError(f"{driver.where} has not been connected to its primary since it started.")
        raise unfit(
            f"does not replicate from the source itself (server_id {position.server_id}): name a direct replica"
        )
    prefix = "slave" if mariadb else "replica"
    query = f"SELECT @@GLOBAL.{prefix}_skip_errors, @@GLOBAL.{prefix}_exec_mode"
    skipped, mode = (await driver.fetch(Statement(sql=query)))[0]
    if str(skipped or "OFF").upper() != "OFF" or str(mode).upper() != "STRICT":
        raise unfit(
            "may lack rows, because its replication passes over errors: "
            f"set {prefix}_skip_errors = OFF and {prefix}_exec_mode = STRICT"
        )


async def wait_for(driver: Driver, one: str, seconds: float, *, mariadb: bool) -> bool:
    """Wait at most ``seconds`` until a replica has applied a set of transactions; return whether it has."""
    function = "MASTER_GTID_WAIT" if mariadb else "WAIT_FOR_EXECUTED_GTID_SET"
    statement = Statement(sql=f"SELECT {function}(%s, %s)", parameters=(one, max(seconds, LEAST_SECONDS)))
    (reached,) = (await driver.fetch(statement))[0]
    return bool(reached == 0)


def filters_of(channel: Mapping[str, Any]) -> list[str]:
    """Return the names (in lower case) of the filters that may keep rows of the source from a replica."""
    return [
        name
        for name, value in channel.items()
        if name.startswith("replicate_")
        and value
        and str(value) != "0"
        and not (name in _TABLE_FILTERS and _harmless(str(value)))
    ]


def without_owners(owned: str) -> str:
    """Return MySQL's ``gtid_owned`` (``uuid:1#12:2#13``, the numbers of threads behind ``#``) as a set of GTIDs."""
    return _OWNERS.sub("", owned)


def _harmless(tables: str) -> bool:
    """Tell whether all tables of a list belong to the server itself."""
    return all(table.strip().partition(".")[0].lower() in _OWN_SCHEMAS for table in tables.split(","))


async def _version(driver: Driver) -> tuple[bool, tuple[int, ...]]:
    """Return whether the server is MariaDB, and the first two numbers of its version."""
    version = str((await driver.fetch(Statement(sql="SELECT VERSION()")))[0][0])
    return "mariadb" in version.lower(), tuple(int(number) for number in re.findall(r"\d+", version)[:2])
