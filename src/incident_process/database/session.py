"""The session is the program's: what its promise rests on is set on every connection, and read back (SPEC 2).

A server option, an ``init_connect``, a proxy or a pool may have set anything. Seen without this: with a
``sql_select_limit`` a run sent 1,000 of 2,500 accounts and said "completed"; with a server that skips the client's
character set, names arrived as question marks.

This module speaks to no server: ``negotiate`` yields statements and is sent what they returned, so that a driver of
any kind, asynchronous or not, can carry it out (``connect``). It takes two statements; only where the server refuses
the first are the settings set one by one, to learn which of them it knows.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Record
from incident_process.database.errors import at_start

Value = int | str

UNLIMITED = 2**64 - 1
"""What MySQL and MariaDB take for no limit on rows. Their word DEFAULT would be the server's option."""

UNKNOWN_VARIABLE = 1193

_DEFAULT = "DEFAULT"
"""A word of SQL. As a value it is used only where the server's option cannot be meant."""

_CHARACTER_SET = "utf8mb4"
_COLLATION = "utf8mb4_general_ci"
"""The collation of both servers that the drivers name at login. It compares literals with each other only."""

_NAMES = {
    "character_set_client": _CHARACTER_SET,
    "character_set_connection": _CHARACTER_SET,
    "character_set_results": _CHARACTER_SET,
    "collation_connection": _COLLATION,
}
"""What SET NAMES sets. The drivers name the character set at login, which a server may skip, and decode by it."""

_COMMON: Mapping[str, Value] = {
    "sql_select_limit": UNLIMITED,
    "max_join_size": UNLIMITED,
    "sql_big_selects": 1,  # after max_join_size, which changes it
    "sql_safe_updates": 0,  # it refuses an UPDATE of a table without a key, which Process_Operation is
    "sql_auto_is_null": 0,  # it gives IS NULL another meaning
    "max_sort_length": 1024,  # bytes that are sorted and grouped by: as many as an account number may have
    "timestamp": _DEFAULT,  # else the server's clock stands still
    "time_zone": "+00:00",  # TIMESTAMP columns are instants, in UTC
    "completion_type": "NO_CHAIN",  # a COMMIT ends the transaction, begins no other, and leaves the connection open
    "unique_checks": 1,
    "foreign_key_checks": 1,
}
"""What MySQL 8 and MariaDB 10.6 alike know, and every session needs."""

_MYSQL: Mapping[str, Value] = {"max_execution_time": 0}
_MARIADB: Mapping[str, Value] = {
    "max_statement_time": 0,
    "system_versioning_asof": _DEFAULT,  # else every table that keeps versions is read as of an instant of the past
    # Their limits go before wait_timeout.
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}
"""What only one of the two has, and is left out where the server does not know it."""

_TRANSACTION = (("transaction_isolation", "tx_isolation"), ("transaction_read_only", "tx_read_only"))
"""MySQL's name, and MariaDB's until 11.1. One of each is needed."""


class Session(Record, frozen=True, kw_only=True):
    """What one kind of session has to be like beside what all have in common."""

    sql_mode: str
    isolation: str
    autocommit: bool
    read_only: bool
    timeouts: Mapping[str, int] = {}
    """Variables in seconds that bound how long somebody waits. A proxy may answer for some of them by itself: where
    one does not take, ``Opened.kept`` says so and nothing is refused."""

    def settings(self, *, mariadb: bool) -> dict[str, Value]:
        """Return what a server of this kind is set to, in an order in which one SET may do it."""
        isolation, read_only = (names[mariadb] for names in _TRANSACTION)
        return {
            **_COMMON,
            **(_MARIADB if mariadb else _MYSQL),
            "sql_mode": self.sql_mode,
            isolation: self.isolation,
            read_only: int(self.read_only),
            "autocommit": int(self.autocommit),
            **self.timeouts,
        }


SOURCE = Session(
    # No mode: a strict server refuses to compare with zero dates, others read backslashes or spaces in their own way.
    sql_mode="",
    # A snapshot is one only at this level.
    isolation="REPEATABLE-READ",
    autocommit=True,
    read_only=True,
    timeouts={
        # A run may deliver for long between two readings. A connection that is closed for it is opened again; one that
        # a vanished runner has left must not keep an ALTER TABLE of the source waiting for hours.
        "wait_timeout": 600,
        # The reader of a long answer may pause.
        "net_write_timeout": 600,
        # A load that has the table locked ends some time; the driver waits for 1800 s.
        "lock_wait_timeout": 1500,
    },
)
"""Reading customer and payment rows, from the source database or a replica."""

LOCK_SECONDS = 20
"""How long a statement of the state waits for rows or tables that another session holds."""

_NETWORK_SECONDS = 30
"""How long the server waits for the rest of a statement, or for a client that takes no more of an answer."""

_LEAST_IDLE_SECONDS, _MOST_IDLE_SECONDS = 15, 60


def state_session(lease_seconds: float) -> Session:
    """Return the session of the state for a lease of so many seconds.

    A runner that was stopped, or whose host has vanished, cannot say goodbye: its session ends by itself after about
    the lease, and lets go of the rows that it has locked (SPEC 6). A runner at work never idles for so long inside of a
    transaction; a connection that idled between two of them is opened again.
    """
    idle = min(max(int(lease_seconds), _LEAST_IDLE_SECONDS), _MOST_IDLE_SECONDS)
    return Session(
        # A value that does not fit must be an error, whatever the server's default is.
        sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
        # The writes lock what they read; gap locks would only make operations that share the tables wait.
        isolation="READ-COMMITTED",
        autocommit=False,
        read_only=False,
        timeouts={
            "wait_timeout": idle,
            "net_read_timeout": _NETWORK_SECONDS,
            "net_write_timeout": _NETWORK_SECONDS,
            "lock_wait_timeout": LOCK_SECONDS,
            "innodb_lock_wait_timeout": LOCK_SECONDS,
        },
    )


SCRIPT = Session(
    sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
    isolation="REPEATABLE-READ",
    autocommit=False,  # as the DB-API has it
    read_only=False,
)
"""A connection that is handed to the team's scripts, whose statements are theirs (SPEC 9)."""


class Reply(Record, frozen=True, kw_only=True):
    """What a server answered."""

    rows: Sequence[Sequence[Any]] = ()
    in_transaction: bool = False
    """Whether a transaction is open after the statement."""


class StatementRefusedError(Exception):
    """The server refused a statement, and the connection is still good; ``number`` is the server's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Opened(Record, frozen=True, kw_only=True):
    """A session that is as it has to be."""

    packet_bytes: int
    """``max_allowed_packet``: no statement may be longer."""
    kept: Mapping[str, Any] = {}
    """Time-outs that stayed as they were, with their values."""


Negotiation = Generator[str, Reply, Opened]
"""Yields a statement and is sent its reply, or has a StatementRefusedError thrown at it."""


def negotiate(session: Session, database: str, where: str, *, mariadb: bool) -> Negotiation:
    """Set the session, read it back, and return what the server said of itself.

    ``database``: the one that unqualified names mean. ``where``: the server in words, for the message: no user, no
    password. ``mariadb``: which kind the server says that it is; behind a proxy that is not certain, and nothing rests
    on it.

    Raises:
        ConfigurationError: A setting did not take; the message names it.
        StatementRefusedError: The server refuses to be asked.
    """
    wanted = session.settings(mariadb=mariadb)
    try:
        open_transaction = (yield _set(wanted)).in_transaction
    except StatementRefusedError:
        wanted, open_transaction = yield from _one_by_one(session)
    if open_transaction:
        # Left by a pool, or begun by init_connect. What is set for transactions counts from the next one.
        yield "ROLLBACK"
        yield _set(wanted)
    names: dict[str, Value] = {
        name: value for name, value in {**_NAMES, **wanted}.items() if name != "timestamp"
    }  # which goes on
    query = f"SELECT @@max_allowed_packet, DATABASE(), {', '.join(f'@@SESSION.{name}' for name in names)}"
    packet, current, *values = _only_row((yield query), where)
    if current != database:
        yield f"USE `{database.replace('`', '``')}`"
        packet, current, *values = _only_row((yield query), where)
    found = dict(zip(names, values, strict=True))
    wrong = {name: value for name, value in found.items() if not _is(value, names[name])}
    kept = {name: wrong.pop(name) for name in session.timeouts if name in wrong}
    faults = [f"{name} is {_shown(value)} and has to be {_shown(names[name])}" for name, value in wrong.items()]
    faults += [f"there is no {either[0]} to be set" for either in _TRANSACTION if not found.keys() & set(either)]
    if str(current).lower() != database.lower():  # some servers keep names in lower case
        faults.append(f"the database in use is {current}")
    if faults:
        raise _refusal(where, "; ".join(faults))
    return Opened(packet_bytes=int(packet), kept=kept)


def _one_by_one(session: Session) -> Generator[str, Reply, tuple[dict[str, Value], bool]]:
    """Set each variable by itself; return those that the server knows, and whether a transaction is open."""
    known: dict[str, Value] = {}
    open_transaction = False
    with suppress(StatementRefusedError):  # which shows when it is read back
        yield _set({})
    for name, value in (session.settings(mariadb=False) | session.settings(mariadb=True)).items():
        try:
            open_transaction = (yield f"SET {_assignment(name, value)}").in_transaction
        except StatementRefusedError as exc:
            if exc.number == UNKNOWN_VARIABLE:
                continue
        known[name] = value
    return known, open_transaction


def _set(wanted: Mapping[str, Value]) -> str:
    assignments = [_assignment(name, value) for name, value in wanted.items()]
    return ", ".join([f"SET NAMES {_CHARACTER_SET} COLLATE {_COLLATION}", *assignments])


def _assignment(name: str, value: Value) -> str:
    return f"SESSION {name} = {value}" if isinstance(value, int) or value == _DEFAULT else f"SESSION {name} = '{value}'"


def _only_row(reply: Reply, where: str) -> Sequence[Any]:
    if len(reply.rows) != 1:
        raise _refusal(where, "its settings cannot be read")
    return reply.rows[0]


def _refusal(where: str, faults: str) -> ConfigurationError:
    return ConfigurationError(
        f"{at_start(where)} does not let the session be set, on which a complete result rests: {faults}. "
        "Let the user set it at the server, and in the rules of a proxy before it, or name the server itself."
    )


def _is(found: object, wanted: Value) -> bool:
    """Tell whether a variable has a value: servers and proxies give numbers and switches in several forms."""
    if isinstance(wanted, str):
        return str(found) == wanted
    try:
        return Decimal({"ON": "1", "OFF": "0"}.get(str(found).upper(), str(found))) == wanted
    except InvalidOperation:
        return False


def _shown(value: object) -> str:
    return "no limit" if value == UNLIMITED else str(value) or "empty"
