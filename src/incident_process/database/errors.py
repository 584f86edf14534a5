"""What can go wrong at a database: one tree for the source and the state, and what a driver's error means.

    DatabaseConnectionError
     ├── TransientDatabaseError    run the same work once more
     │    └── LockedError          … when those who hold the lock let go of it
     ├── KeyRequiredError          create the table with a primary key
     ├── MissingTableError         run `incident-process init`
     └── MissingColumnError        another version or another program made the table
    ConfigurationError
     └── MissingPrivilegeError     grant the privilege
    IncidentProcessError
     └── DuplicateError            the row is there already

A driver's message may quote a value (``Duplicate entry '…'``), and values here are personal data. So a message is made
of an ``ErrorMeaning``: the words and the remedy of the one table for each kind of database (``server_errors``,
``sqlite_errors``). What the driver said stays in the chained exception alone.
"""

from enum import StrEnum
from typing import Self, TypeVar

import msgspec

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.core.models import Record

E = TypeVar("E", bound=IncidentProcessError)


class TransientDatabaseError(DatabaseConnectionError):
    """The same work may succeed at once: it ended in a deadlock, or its connection was lost."""


class LockedError(TransientDatabaseError):
    """Another session or program holds the rows, the table or the file, and did not let go of them in time."""


class KeyRequiredError(DatabaseConnectionError):
    """The server asks each table to have a primary key."""


class MissingTableError(DatabaseConnectionError):
    """A statement names a table that is not there."""


class MissingColumnError(DatabaseConnectionError):
    """A table was made by another version of this program, or by another program."""


class MissingPrivilegeError(ConfigurationError):
    """The user lacks a privilege."""


class DuplicateError(IncidentProcessError):
    """A row of that key is there already, or a column may not be NULL: nothing of the statement was written."""


class ErrorKind(StrEnum):
    """What a caller can do about an error."""

    TRANSIENT = "transient"  # the connection is gone or a deadlock was in the way: the same work may succeed at once
    LOCKED = "locked"  # transient as well: another session or program held a lock for too long
    UNAVAILABLE = "unavailable"  # the server gives up, and goes on doing so until somebody or time mends it
    ACCESS = "access"  # it lets this user in from nowhere, or not now
    PRIVILEGE = "privilege"  # the user lacks a privilege on a table or a database
    NO_DATABASE = "no database"  # the database that the configuration names is not there
    NO_TABLE = "no table"
    NO_COLUMN = "no column"
    DUPLICATE = "duplicate"  # a key is there already, or a constraint forbids the row
    UNFIT = "unfit"  # a value does not fit its column
    KEY_REQUIRED = "key required"  # a table has to have a primary key
    SETTING = "setting"  # the server's or the program's configuration forbids what the program needs


class ErrorMeaning(Record, frozen=True, kw_only=True):
    """One error in words. ``words`` follow the name of a database, ``remedy`` is a sentence without its full stop."""

    number: int
    """The server's, the driver's or SQLite's; 0 where there is none."""
    kind: ErrorKind
    words: str
    remedy: str
    name: str = ""
    """What messages call the error, where that is not its number."""

    def __str__(self) -> str:
        """Return words, name or number, and remedy, as they follow ``database: ``."""
        name = self.name or (f"error {self.number}" if self.number else "")
        return f"{self.words} ({name}). {self.remedy}." if name else f"{self.words}. {self.remedy}."

    def with_remedy(self, remedy: str) -> Self:
        """Return the same meaning with the remedy that the caller knows better."""
        return msgspec.structs.replace(self, remedy=remedy)


def at_start(where: str) -> str:
    """Return the name of a database as a sentence begins with it."""
    return where[0].upper() + where[1:]


def explained(kind: type[E], where: str, meaning: ErrorMeaning) -> E:
    """Return an error of a class in the words of a meaning; ``where`` names the database."""
    error = kind(f"{where}: {meaning}")
    error.remedy = f"{meaning.remedy}."
    return error


def database_error(where: str, meaning: ErrorMeaning) -> DatabaseConnectionError:
    """Return the error that a meaning is for source and state alike; ``where`` names the database."""
    return explained(_CLASSES.get(meaning.kind, DatabaseConnectionError), where, meaning)


_CLASSES: dict[ErrorKind, type[DatabaseConnectionError]] = {
    ErrorKind.TRANSIENT: TransientDatabaseError,
    ErrorKind.LOCKED: LockedError,
    ErrorKind.KEY_REQUIRED: KeyRequiredError,
}
