"""What a database's error means to the state: its tables are made by ``init``, and its rows have a key."""

import re

from incident_process.core.errors import DatabaseConnectionError, DataProcessingError, IncidentProcessError
from incident_process.database.errors import (
    DuplicateError,
    ErrorKind,
    ErrorMeaning,
    MissingColumnError,
    MissingTableError,
    database_error,
    explained,
)

_PRIVILEGES = "Grant SELECT, INSERT, UPDATE and DELETE on the state's tables"
_FORMS = ("CREATE", "ALTER", "INDEX", "DROP")
"""What only ``init`` uses, to create what is missing."""
_DENIED = re.compile(r"([A-Z, ]+) command denied to user .* for table (\S+)")


def state_error(place: str, meaning: ErrorMeaning) -> IncidentProcessError:
    """Return what to raise ``from`` a driver's error of this meaning; ``place`` is how messages name the database."""
    match meaning.kind:
        case ErrorKind.NO_TABLE:
            return MissingTableError(f"{place} lacks its tables: run `incident-process init`")
        case ErrorKind.NO_COLUMN:
            return MissingColumnError(
                f"{place}: a table lacks a column; it was made by another version or another program"
            )
        case ErrorKind.DUPLICATE:
            return DuplicateError(f"{place}: an Incident_Id or key is there already (error {meaning.number})")
        case ErrorKind.UNFIT:
            return DataProcessingError(f"{place}: a value does not fit its column (error {meaning.number})")
        case ErrorKind.PRIVILEGE:
            return explained(DatabaseConnectionError, place, meaning.with_remedy(_grant(meaning.words)))
        case _:
            return database_error(place, meaning)


def _grant(words: str) -> str:
    """Return what to grant: exactly what the server has denied where that is something to create."""
    denied = _DENIED.search(words)
    if denied is None or not any(command in denied[1] for command in _FORMS):
        return _PRIVILEGES
    return (
        f"Grant {denied[1].strip()} on {denied[2]} to this user, or on the whole database, for as long as "
        "`incident-process init` works (it may need CREATE, ALTER and INDEX)"
    )
