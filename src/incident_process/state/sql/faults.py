"""The one boundary at which errors of SQLAlchemy and its drivers become errors of this package.

A driver's message may quote a value (MySQL: "Duplicate entry '…'"), and values here are personal data. So a message is
made from the error's number and a sentence of our own; what the driver said stays in the chained exception only.
"""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NoSuchTableError, SQLAlchemyError

from incident_process.errors import DatabaseConnectionError, DataProcessingError, IncidentProcessError


class TransientError(DatabaseConnectionError):
    """The same transaction may well succeed at once: it was rolled back for a deadlock, or its connection was lost."""


_MYSQL = {
    1040: "it has too many connections; raise max_connections or close some",
    1044: "the user may not use this database; grant it the rights, or correct the name",
    1045: "access denied; check user and password",
    1049: "there is no such database; create it, or correct the name",
    1054: "a table lacks a column; it was made by another version or another program",
    1114: "a table is full; free disk space",
    1021: "the disk is full; free disk space",
    1142: "the user lacks a right on a table; grant SELECT, INSERT, UPDATE and DELETE",
    1205: "a lock was waited for in vain; another program holds the state's rows",
    1213: "a deadlock with another program",
    1290: "it is read-only; name a server that may be written",
    1836: "it is read-only; name a server that may be written",
    1698: "access denied; check user and password",
    2003: "it cannot be reached; check host and port, and whether the server runs",
    2006: "the connection was lost",
    2013: "the connection was lost",
    3159: "it wants an encrypted connection; add ssl_ca to the address",
}
_MYSQL_MISSING = {1146}
_MYSQL_TRANSIENT = {1020, 1050, 1053, 1205, 1213, 1927, 2003, 2006, 2013, 2014, 2055}
# 1020: changed since last read; 1050: two processes created a table at once; 1053, 1927: shut down, killed

_SQLITE = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another connection keeps it locked",
    sqlite3.SQLITE_READONLY: "it is read-only; make file and folder writable",
    sqlite3.SQLITE_IOERR: "the disk gave an input/output error",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy",
    sqlite3.SQLITE_FULL: "the disk is full; free disk space",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that it exists and may be written",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; correct the path",
    sqlite3.SQLITE_AUTH: "access denied",
}
_SQLITE_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def missing_table(exc: Exception) -> bool:
    """Return whether a statement failed because a table is not there."""
    if isinstance(exc, NoSuchTableError):
        return True
    if not isinstance(exc, DBAPIError):
        return False
    if isinstance(exc.orig, sqlite3.Error):
        # SQLite has no number for it; its message names the table only.
        return "no such table" in str(exc.orig)
    return _number(exc) in _MYSQL_MISSING


def translated(exc: Exception, place: str) -> IncidentProcessError:
    """Return what to raise ``from`` a driver's error.

    Args:
        exc: from SQLAlchemy, the driver or the operating system.
        place: how messages name the database.
    """
    if missing_table(exc):
        return DatabaseConnectionError(f"{place} lacks the state's tables: run `incident-process init`")
    number = _number(exc)
    if isinstance(exc, IntegrityError):
        return IncidentProcessError(f"{place}: an Incident_Id or key is there already (error {number})")
    if isinstance(exc, DataError):
        return DataProcessingError(f"{place}: a value does not fit its column (error {number})")
    if isinstance(exc, DBAPIError) and isinstance(exc.orig, sqlite3.Error):
        said, transient = _SQLITE.get(number, "the statement failed"), number in _SQLITE_TRANSIENT
    else:
        # Without a number it comes from the operating system or the pool: no connection.
        lost = isinstance(exc, DBAPIError) and exc.connection_invalidated
        unreachable = _MYSQL[2003] if not isinstance(exc, SQLAlchemyError) else "the connection failed"
        said = _MYSQL.get(number, "the statement failed" if number else unreachable)
        transient = lost or number in _MYSQL_TRANSIENT or isinstance(exc, OSError)
    kind = TransientError if transient else DatabaseConnectionError
    name = type(getattr(exc, "orig", None) or exc).__name__
    return kind(f"{place}: {said} ({name}{f' {number}' if number else ''})")


def _number(exc: Exception) -> int:
    """Return the driver's error number, 0 when it has none."""
    original = getattr(exc, "orig", None)
    if isinstance(original, sqlite3.Error):
        # The low byte is the primary code, the rest says more than is asked here.
        return getattr(original, "sqlite_errorcode", 0) & 0xFF
    args = getattr(original, "args", ())
    return args[0] if args and isinstance(args[0], int) else 0
