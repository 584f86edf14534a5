"""Reads the receiver's file afterwards, for a comparison that needs neither the receiver nor this program."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.sandbox.receiver.request_log import require_receiver_file

_ACCEPTED = """
SELECT seq, received_at, incident_id, account_num, idempotency_key, body FROM accepted ORDER BY seq
"""


def export(database: Path, out: TextIO, *, bodies: bool = True) -> int:
    """Write one JSON object a line for each accepted incident, in the order of acceptance; the receiver may run.

    Args:
        database: The receiver's SQLite file.
        out: The stream for the lines; memory does not grow with their number.
        bodies: False leaves out ``body``, which is personal data; ``sha256`` of the exact bytes received stays.

    Returns:
        The number of lines.

    Raises:
        ConfigurationError: The file is missing or is not a receiver's.
    """
    count = 0
    with _reading(database) as connection:
        for seq, received_at, incident_id, account, key, body in connection.execute(_ACCEPTED):
            line: dict[str, Any] = {
                "seq": seq,
                "received_at": received_at,
                "Incident_Id": incident_id,
                "Account_Num": account,
                "Idempotency_Key": key,
                "sha256": hashlib.sha256(body).hexdigest(),
            }
            if bodies:
                # put on one line without parsing: every number keeps its spelling
                line["body"] = msgspec.Raw(msgspec.json.format(body, indent=-1))
            out.write(msgspec.json.encode(line).decode() + "\n")
            count += 1
    return count


def summary(database: Path) -> dict[str, Any]:
    """Return ``accepted`` incidents, distinct ``accounts``, and ``requests`` by answer (a status, or ``dropped``).

    Raises:
        ConfigurationError: The file is missing or is not a receiver's.
    """
    with _reading(database) as connection:
        connection.execute("BEGIN")  # all figures are of one instant
        accepted, accounts = connection.execute("SELECT count(*), count(DISTINCT account_num) FROM accepted").fetchone()
        answers = connection.execute("SELECT answer, count(*) FROM request GROUP BY answer ORDER BY answer").fetchall()
        connection.execute("COMMIT")
    requests = {str(answer) if answer else "dropped": count for answer, count in answers}
    return {"accepted": accepted, "accounts": accounts, "requests": requests}


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    if not database.is_file():
        raise ConfigurationError(
            f"receiver database {database.absolute()}: there is no such file; name the receiver's file with "
            "--database, or start the receiver first"
        )
    try:
        connection = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, isolation_level=None, timeout=30)
    except sqlite3.Error as exc:
        raise ConfigurationError(f"receiver database {database}: cannot be opened ({exc})") from exc
    try:
        require_receiver_file(connection, database)
        yield connection
    except sqlite3.Error as exc:
        raise ConfigurationError(f"receiver database {database}: cannot be read ({exc})") from exc
    finally:
        connection.close()
