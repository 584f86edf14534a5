"""What the drivers' errors mean, in errors of this package: the one boundary at which they are translated.

A driver's message may quote a value (MySQL: "Duplicate entry '…'"), and values here are personal data. So a message is
made from the error's number and a sentence of our own; what the driver said stays in the chained exception only.
"""

import re
import sqlite3

from incident_process.core.errors import DatabaseConnectionError, DataProcessingError, IncidentProcessError
from incident_process.database.server_errors import ErrorKind, explained, meaning_of_error
from incident_process.database.sqlite_errors import meaning_of_sqlite


class TransientStateError(DatabaseConnectionError):
    """The same transaction may well succeed at once: it was rolled back for a deadlock, or its connection was lost."""


class LockedError(TransientStateError):
    """Another session or program holds the rows, the table or the file, and did not let go of them in time."""


class KeyRequiredError(DatabaseConnectionError):
    """The server asks each table to have a primary key."""


class MissingTableError(DatabaseConnectionError):
    """A statement names a table that is not there."""


class MissingColumnError(DatabaseConnectionError):
    """A table was made by another version of this program, or by another program."""


class DuplicateError(IncidentProcessError):
    """A row of that key is there already, or a column may not be NULL: nothing of the statement was written."""


_DDL_RACE = frozenset({1050, 1060, 1061})
"""Two processes created a table, column or index at once: the loser looks again and finds it."""
_KEY_REQUIRED = frozenset({1173, 3750})
_LOCKED = frozenset({1205, 3572})
_SQLITE_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIVILEGES = "Grant SELECT, INSERT, UPDATE and DELETE on the state's tables"
_FORMS = ("CREATE", "ALTER", "INDEX", "DROP")
"""What only ``init`` uses, to create what is missing."""
_DENIED = re.compile(r"([A-Z, ]+) command denied to user .* for table (\S+)")


def mysql_fault(exc: Exception, place: str) -> IncidentProcessError | None:
    """Return what to raise ``from`` an error of asyncmy or of the network; None for any other.

    Args:
        exc: the error.
        place: how messages name the database.
    """
    meaning = meaning_of_error(exc)
    if meaning is None:
        return None
    match meaning.kind:
        case ErrorKind.NO_TABLE:
            fault: IncidentProcessError = _missing(place)
        case ErrorKind.NO_COLUMN:
            fault = _lacking(place)
        case ErrorKind.DUPLICATE:
            fault = _duplicate(place, meaning.number)
        case ErrorKind.UNFIT:
            fault = _unfit(place, meaning.number)
        case ErrorKind.PRIVILEGE:
            fault = explained(DatabaseConnectionError, place, meaning.with_remedy(_grant(meaning.words)))
        case kind:
            transient = kind is ErrorKind.TRANSIENT or meaning.number in _DDL_RACE
            passing = LockedError if meaning.number in _LOCKED else TransientStateError
            lasting = KeyRequiredError if meaning.number in _KEY_REQUIRED else DatabaseConnectionError
            fault = explained(passing if transient else lasting, place, meaning)
    return fault


def _grant(words: str) -> str:
    """Return what to grant: exactly what the server has denied where that is something to create."""
    denied = _DENIED.search(words)
    if denied is None or not any(command in denied[1] for command in _FORMS):
        return _PRIVILEGES
    return (
        f"Grant {denied[1].strip()} on {denied[2]} to this user, or on the whole database, for as long as "
        "`incident-process init` works (it may need CREATE, ALTER and INDEX)"
    )


def sqlite_fault(exc: sqlite3.Error, place: str) -> IncidentProcessError:
    """Return what to raise ``from`` an error of ``sqlite3``; arguments as in ``mysql_fault``."""
    # SQLite has no number for these; its message names the table or the column only.
    if "no such table" in str(exc):
        return _missing(place)
    if "no such column" in str(exc) or "has no column" in str(exc):
        return _lacking(place)
    number = getattr(exc, "sqlite_errorcode", None) or 0
    if isinstance(exc, sqlite3.IntegrityError):
        return _duplicate(place, number)
    if isinstance(exc, sqlite3.DataError):
        return _unfit(place, number)
    meaning = meaning_of_sqlite(exc)
    transient = meaning.kind is ErrorKind.TRANSIENT
    locked = LockedError if number & 0xFF in _SQLITE_LOCKED else TransientStateError
    return explained(locked if transient else DatabaseConnectionError, place, meaning)


def _missing(place: str) -> MissingTableError:
    return MissingTableError(f"{place} lacks the state's tables: run `incident-process init`")


def _lacking(place: str) -> MissingColumnError:
    return MissingColumnError(f"{place}: a table lacks a column; it was made by another version or another program")


def _duplicate(place: str, number: int) -> DuplicateError:
    return DuplicateError(f"{place}: an Incident_Id or key is there already (error {number})")


def _unfit(place: str, number: int) -> DataProcessingError:
    return DataProcessingError(f"{place}: a value does not fit its column (error {number})")
