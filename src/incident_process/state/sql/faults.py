"""What the drivers' errors mean, in errors of this package: the one boundary at which they are translated.

A driver's message may quote a value (MySQL: "Duplicate entry '…'"), and values here are personal data. So a message is
made from the error's number and a sentence of our own; what the driver said stays in the chained exception only.
"""

import sqlite3

from incident_process.errors import DatabaseConnectionError, DataProcessingError, IncidentProcessError


class TransientError(DatabaseConnectionError):
    """The same transaction may well succeed at once: it was rolled back for a deadlock, or its connection was lost."""


class MissingTableError(DatabaseConnectionError):
    """A statement names a table that is not there."""


class MissingColumnError(DatabaseConnectionError):
    """A table was made by another version of this program, or by another program."""


class DuplicateError(IncidentProcessError):
    """A row of that key is there already, or a column may not be NULL: nothing of the statement was written."""


_MYSQL = {
    1040: "it has too many connections; raise max_connections or close some",
    1044: "the user may not use this database; grant it the rights, or correct the name",
    1045: "access denied; check user and password",
    1049: "there is no such database; create it, or correct the name",
    1114: "a table is full; free disk space",
    1021: "the disk is full; free disk space",
    1142: "the user lacks a right on a table; grant SELECT, INSERT, UPDATE and DELETE, and CREATE and INDEX where a "
    "table or an index is missing",
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
_MYSQL_COLUMN = {1054}
_MYSQL_DUPLICATE = {1048, 1062, 1215, 1216, 1217, 1451, 1452}
_MYSQL_UNFIT = {1171, 1230, 1263, 1264, 1265, 1292, 1366, 1367, 1406, 1441}
_MYSQL_TRANSIENT = {0, 1020, 1050, 1053, 1060, 1061, 1205, 1213, 1927, 2003, 2006, 2013, 2014, 2055, 4031}
# 0: the driver's own, the connection is of no use; 1020: changed since last read; 1050, 1060, 1061: two processes
# created a table, column or index at once; 1053, 1927, 4031: shut down, killed, closed for being idle

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


def mysql_fault(exc: Exception, place: str) -> IncidentProcessError:
    """Return what to raise ``from`` an error of asyncmy.

    Args:
        exc: the driver's error.
        place: how messages name the database.
    """
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    if number in _MYSQL_MISSING:
        return _missing(place)
    if number in _MYSQL_COLUMN:
        return _lacking(place)
    if number in _MYSQL_DUPLICATE:
        return _duplicate(place, number)
    if number in _MYSQL_UNFIT:
        return _unfit(place, number)
    kind = TransientError if number in _MYSQL_TRANSIENT else DatabaseConnectionError
    said = _MYSQL.get(number, "the statement failed" if number else "the connection failed")
    return kind(f"{place}: {said} ({type(exc).__name__}{f' {number}' if number else ''})")


def mysql_unreachable(exc: OSError, place: str) -> TransientError:
    """Return what to raise ``from`` an error of the operating system, or a limit of time that has passed."""
    return TransientError(f"{place}: {_MYSQL[2003]} ({type(exc).__name__})")


def sqlite_fault(exc: sqlite3.Error, place: str) -> IncidentProcessError:
    """Return what to raise ``from`` an error of ``sqlite3``; arguments as in ``mysql_fault``."""
    # SQLite has no number for these; its message names the table or the column only.
    if "no such table" in str(exc):
        return _missing(place)
    if "no such column" in str(exc) or "has no column" in str(exc):
        return _lacking(place)
    # The low byte is the primary code, the rest says more than is asked here.
    number = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
    if isinstance(exc, sqlite3.IntegrityError):
        return _duplicate(place, number)
    if isinstance(exc, sqlite3.DataError):
        return _unfit(place, number)
    kind = TransientError if number in _SQLITE_TRANSIENT else DatabaseConnectionError
    said = _SQLITE.get(number, "the statement failed")
    return kind(f"{place}: {said} ({type(exc).__name__}{f' {number}' if number else ''})")


def _missing(place: str) -> MissingTableError:
    return MissingTableError(f"{place} lacks the state's tables: run `incident-process init`")


def _lacking(place: str) -> MissingColumnError:
    return MissingColumnError(f"{place}: a table lacks a column; it was made by another version or another program")


def _duplicate(place: str, number: int) -> DuplicateError:
    return DuplicateError(f"{place}: an Incident_Id or key is there already (error {number})")


def _unfit(place: str, number: int) -> DataProcessingError:
    return DataProcessingError(f"{place}: a value does not fit its column (error {number})")
