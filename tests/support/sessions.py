"""Servers whose sessions are set to anything, in the three ways in which a database administrator may do it.

Each option changes, loses or blocks something for a program that leaves it as it is (SPEC 2).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.mariadb import MariaDBServer
from tests.support.sql_server import SqlServer

PLAIN = "plain"
PASSWORD = "synthetic"
"""An ordinary user: for one who may administer connections, ``init_connect`` is not run."""

WAYS = ("set_global", "init_connect", "command_line")

Value = int | float | str
Options = Mapping[str, Value]

SQL_MODE = "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH"

_BOTH: Options = {
    # results
    "sql_select_limit": 2,
    "max_sort_length": 4,
    "sql_auto_is_null": 1,
    "time_zone": "+09:30",
    "sql_mode": SQL_MODE,
    "div_precision_increment": 0,
    "group_concat_max_len": 4,
    "default_week_format": 3,
    "lc_time_names": "de_DE",
    # writes and transactions
    "sql_safe_updates": 1,
    "completion_type": "RELEASE",
    "autocommit": 0,
    "unique_checks": 0,
    "foreign_key_checks": 0,
    # limits
    "max_join_size": 1,
    "sql_big_selects": 0,
    "wait_timeout": 1,
    "net_write_timeout": 1,
    "lock_wait_timeout": 1,
    "innodb_lock_wait_timeout": 1,
    # what a driver reads
    "session_track_schema": 1,
    "session_track_state_change": 1,
    "session_track_transaction_info": "CHARACTERISTICS",
    "session_track_system_variables": "*",
}
_MYSQL: Options = {
    "transaction_isolation": "SERIALIZABLE",
    "transaction_read_only": 1,
    "max_execution_time": 1,
}
_MARIADB: Options = {
    "tx_isolation": "SERIALIZABLE",
    "tx_read_only": 1,
    "system_versioning_asof": "2001-01-01 00:00:00",
    "idle_transaction_timeout": 1,
    "idle_readonly_transaction_timeout": 1,
    "idle_write_transaction_timeout": 1,
    "old_mode": "",
    "standard_compliant_cte": 0,
    "sql_if_exists": 1,
    "max_statement_time": 0.001,  # the last: it counts for all that follow
}
_AT_START = {
    "time_zone": "default-time-zone",
    "tx_isolation": "transaction-isolation",
    "tx_read_only": "transaction-read-only",
    "sql_select_limit": "",
    "sql_safe_updates": "",
    "sql_auto_is_null": "",
    "sql_big_selects": "",
    "unique_checks": "",
    "foreign_key_checks": "",
    "system_versioning_asof": "",
    "sql_if_exists": "",
}
"""Variables that a command line calls otherwise, or does not take."""


def options_of(server: SqlServer) -> dict[str, Value]:
    """Return all options that a server of this product has."""
    return {**_BOTH, **(_MARIADB if isinstance(server, MariaDBServer) else _MYSQL)}


def ordinary_user(server: SqlServer, database: str) -> str:
    """Create the ordinary user, with every privilege on one database, and return its URL there."""
    server.ask(f"CREATE USER IF NOT EXISTS '{PLAIN}'@'%' IDENTIFIED BY '{PASSWORD}'")
    server.ask(f"GRANT ALL ON {database}.* TO '{PLAIN}'@'%'")
    server.ask(f"GRANT PROCESS ON *.* TO '{PLAIN}'@'%'")
    return f"mysql://{PLAIN}:{PASSWORD}@{server.host}:{server.port}/{database}"


@contextmanager
def hostile(server: SqlServer, way: str, options: Options | None = None) -> Iterator[None]:
    """Have every session of the ordinary user begin with these options, by default with all; then start anew."""
    options = options_of(server) if options is None else options
    if way == "command_line":
        server.kill()
        server.start(*_command_line(server, options))
    else:
        with server.connect(None) as administrator, administrator.cursor() as cursor:
            for statement in _globals(options) if way == "set_global" else [_init_connect(options)]:
                cursor.execute(statement)
    try:
        yield
    finally:
        server.kill()
        server.start()


def _globals(options: Options) -> list[str]:
    return [f"SET GLOBAL {name} = {_literal(value)}" for name, value in options.items()]


def _init_connect(options: Options) -> str:
    commands = [
        "SET NAMES latin1",
        "SET SESSION timestamp = 1000000000",
        "USE information_schema",
        # For the next transaction alone, and that one is begun: no program would expect to be in it.
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "START TRANSACTION READ ONLY",
        *(f"SET SESSION {name} = {_literal(value)}" for name, value in options.items()),
    ]
    return f"SET GLOBAL init_connect = {_literal('; '.join(commands))}"


def _command_line(server: SqlServer, options: Options) -> list[str]:
    named = {_AT_START.get(name, name.replace("_", "-")): value for name, value in options.items()}
    given = [f"--{name}={value}" for name, value in named.items() if name]
    # The client names its character set at login, and MariaDB does not listen; MySQL 9 always does.
    deaf = ["--skip-character-set-client-handshake"] if isinstance(server, MariaDBServer) else []
    return [*given, *deaf, "--character-set-server=latin1", "--collation-server=latin1_swedish_ci"]


def _literal(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
