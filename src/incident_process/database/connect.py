"""Brings a connection into the state that ``session`` describes, whichever driver it is one of."""

from typing import TYPE_CHECKING, Any

from incident_process.core.errors import DatabaseConnectionError, IncidentProcessError
from incident_process.core.logs import event, get_logger
from incident_process.database.errors import at_start, explained
from incident_process.database.login import logins
from incident_process.database.server_errors import NO_MYSQL, meaning_of, meaning_of_error
from incident_process.database.session import SCRIPT, Opened, Reply, Session, StatementRefusedError, negotiate
from incident_process.settings.database_urls import MySQLTarget

if TYPE_CHECKING:
    import pymysql

log = get_logger()

CONNECT_SECONDS = 10.0
"""The limit for connecting, the handshake and the session included, for saying goodbye, and for a ping."""

_SERVER_ERRORS = (range(1000, 2000), range(3000, 10_000))
"""The numbers of errors that a server or a proxy answers with; others are the driver's, and the connection is lost."""

_IN_TRANSACTION = 1
"""In ``server_status``."""

_warned_places: set[str] = set()
"""What has been warned of: a run opens several connections."""


async def set_up(connection: Any, session: Session, database: str, where: str) -> Opened:
    """Set the session of a connection of asyncmy that has just been made, and make sure that it took.

    ``database``: the one that unqualified names mean. ``where``: the server in words, for messages.

    Raises:
        ConfigurationError: A setting did not take.
        asyncmy.MySQLError: The connection was lost, or the server refuses to be asked.
    """
    import asyncmy

    dialogue = _Dialogue(connection, session, database, where)
    while dialogue.opened is None:
        try:
            if dialogue.asks:
                async with connection.cursor() as cursor:
                    await cursor.execute(dialogue.statement)
                    rows = list(await cursor.fetchall())
            else:
                rows = []
                await connection.query(dialogue.statement)  # a cursor would ask for the warnings, and log them
        except asyncmy.MySQLError as exc:
            dialogue.refused(exc)
        else:
            dialogue.answered(rows)
    return dialogue.opened


def connect_blocking(target: MySQLTarget, where: str) -> "pymysql.Connection[Any]":
    """Return an open connection of pymysql with the session of a script; the caller closes it.

    ``where``: the database in words, for messages.

    Raises:
        ConfigurationError: A setting of the session did not take.
        DatabaseConnectionError: The database cannot be reached, or lets the user not in.
    """
    import pymysql

    try:
        connection = pymysql.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            # As bytes: pymysql would encode text as Latin-1, and fail on what is not in it.
            password=target.password.get_secret_value().encode(),
            database=target.database,
            charset="utf8mb4",
            ssl=target.ssl_context(),
            auth_plugin_map=logins(encrypted=target.tls is not None),
            connect_timeout=CONNECT_SECONDS,
            read_timeout=CONNECT_SECONDS,
            autocommit=None,  # set with the session
        )
        try:
            set_up_blocking(connection, SCRIPT, target.database, where)
            # A script's statement may take as long as it likes; the driver has no other way to say so.
            connection._read_timeout = None  # type: ignore[attr-defined]
        except BaseException:
            connection.close()  # nobody else can: the caller never gets it
            raise
    except IncidentProcessError:
        raise
    except Exception as exc:  # pymysql raises whatever it meets in an answer that is no MySQL server's
        raise explained(DatabaseConnectionError, where, meaning_of_error(exc) or meaning_of(NO_MYSQL)) from exc
    return connection


def set_up_blocking(connection: "pymysql.Connection[Any]", session: Session, database: str, where: str) -> Opened:
    """Do the same for a connection of pymysql; raises its ``MySQLError``."""
    import pymysql

    dialogue = _Dialogue(connection, session, database, where)
    while dialogue.opened is None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(dialogue.statement)
                rows = list(cursor.fetchall()) if dialogue.asks else []
        except pymysql.MySQLError as exc:
            dialogue.refused(exc)
        else:
            dialogue.answered(rows)
    return dialogue.opened


class _Dialogue:
    """What is to be said next, until the session is as it has to be."""

    def __init__(self, connection: Any, session: Session, database: str, where: str) -> None:
        self._connection = connection
        self._where = where
        is_mariadb = "mariadb" in str(connection.get_server_info()).lower()
        self._negotiation = negotiate(session, database, where, mariadb=is_mariadb)
        self.statement = next(self._negotiation)
        self.opened: Opened | None = None

    @property
    def asks(self) -> bool:
        """Whether the statement has rows."""
        return self.statement.startswith("SELECT")

    def answered(self, rows: list[Any]) -> None:
        reply = Reply(rows=rows, in_transaction=bool(self._connection.server_status & _IN_TRANSACTION))
        try:
            self.statement = self._negotiation.send(reply)
        except StopIteration as end:
            self.opened = end.value
            self._tell(end.value)

    def refused(self, error: Exception) -> None:
        """Go on after an error that the server answered with; raise it if nothing else is to be said, or it is lost."""
        number = error.args[0] if error.args else None
        if not isinstance(number, int) or not any(number in numbers for numbers in _SERVER_ERRORS):
            raise error
        try:
            self.statement = self._negotiation.throw(StatementRefusedError(number))
        except StatementRefusedError:
            raise error from None

    def _tell(self, opened: Opened) -> None:
        if not opened.kept or self._where in _warned_places:
            return
        _warned_places.add(self._where)
        log.warning(
            "%s does not let these time-outs be set: %s. A runner that stands still may keep others waiting for longer "
            "than its lease. Let the user set them at the server, and in the rules of a proxy before it.",
            at_start(self._where),
            ", ".join(f"{name} stays {value}" for name, value in opened.kept.items()),
            extra=event("timeouts_kept"),
        )
