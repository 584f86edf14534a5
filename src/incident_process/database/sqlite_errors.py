"""What the error codes of SQLite mean, for source and state: words, whether trying again helps, and a remedy."""

import sqlite3

from incident_process.database.errors import ErrorKind, ErrorMeaning

_T, _L, _U = ErrorKind.TRANSIENT, ErrorKind.LOCKED, ErrorKind.UNAVAILABLE
_CLOSE = "End the program that has it open (sqlite3, a backup, another run)"

_TABLE: dict[int, tuple[ErrorKind, str, str]] = {
    sqlite3.SQLITE_BUSY: (_L, "another program keeps it locked", _CLOSE),
    sqlite3.SQLITE_LOCKED: (_L, "another connection keeps it locked", _CLOSE),
    sqlite3.SQLITE_SCHEMA: (_T, "the tables were altered while they were read", "Let the run come after that"),
    sqlite3.SQLITE_READONLY: (_U, "it is read-only", "Make file and folder writable for this user"),
    sqlite3.SQLITE_PERM: (_U, "access denied", "Let this user read and write file and folder"),
    sqlite3.SQLITE_AUTH: (_U, "access denied", "Let this user read and write file and folder"),
    sqlite3.SQLITE_IOERR: (_U, "the disk gave an input/output error", "Look into the system's log: is the disk whole?"),
    sqlite3.SQLITE_CORRUPT: (_U, "the file is damaged", "Restore it from a copy"),
    sqlite3.SQLITE_FULL: (_U, "its disk, or the one of SQLite's temporary files, is full", "Free disk space"),
    sqlite3.SQLITE_NOMEM: (_U, "there is not enough memory", "Give the process more memory"),
    sqlite3.SQLITE_CANTOPEN: (_U, "the file cannot be opened", "See that it is there and may be read and written"),
    sqlite3.SQLITE_NOTADB: (_U, "the file is not a SQLite database", "Correct the path"),
    sqlite3.SQLITE_TOOBIG: (_U, "a value is larger than SQLite takes", "Lower [PROCESS] chunk_accounts"),
    sqlite3.SQLITE_PROTOCOL: (_T, "another program holds its locks in another way", _CLOSE),
}


def meaning_of_sqlite(error: sqlite3.Error) -> ErrorMeaning:
    """Return what an error of ``sqlite3`` means; its own message may quote a value, and is not repeated."""
    number = getattr(error, "sqlite_errorcode", None) or 0
    unknown = _U, "the statement failed", "Nothing is lost, the next run resumes; if it fails again, report it"
    # The low byte is the primary code, the rest says more than is asked here.
    kind, words, remedy = _TABLE.get(number & 0xFF, unknown)
    return ErrorMeaning(
        number=number,
        kind=_kind_without_code(error) or kind,
        words=words,
        remedy=remedy,
        name=getattr(error, "sqlite_errorname", type(error).__name__),
    )


def _kind_without_code(error: sqlite3.Error) -> ErrorKind | None:
    """Return the kind of an error for which SQLite has no code of its own; its message names the table or column."""
    message = str(error)
    if "no such table" in message:
        return ErrorKind.NO_TABLE
    if "no such column" in message or "has no column" in message:
        return ErrorKind.NO_COLUMN
    if isinstance(error, sqlite3.IntegrityError):
        return ErrorKind.DUPLICATE
    return ErrorKind.UNFIT if isinstance(error, sqlite3.DataError) else None
