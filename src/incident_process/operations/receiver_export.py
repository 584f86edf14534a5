"""Reads an export of the receiver's documents, in any JSON layout, and looks it up by account (SPEC 7).

The export may be JSON lines, a list, or documents one after the other in any layout; each is an incident document, or
an object that contains one. The command reads it once without holding it in memory, and keeps digests of each account
in a private temporary file.
"""

import codecs
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from incident_process.core.errors import ConfigurationError, DataProcessingError
from incident_process.core.local_places import PREFIX, temporary_space
from incident_process.core.logs import event, get_logger
from incident_process.document.returned import ReturnedDocument, documents_in, fraction, restore_content

log = get_logger()

READ_CHARACTERS = 1 << 20
LONGEST = 1 << 22
"""Characters of one JSON value at most; a document has a few thousand. In memory a character may take 30 bytes."""
_BETWEEN = " \t\r\n,\x1e[]"
"""Characters between two documents: in a list, in lines, in a sequence of RFC 7464."""
_CUT_OFF = 16
"""Characters before the end of the buffer in which an error may vanish with more text: an escape, a number, a word."""
_NAMES_SHOWN = 8
_NAMES_COUNTED = 1000
_NAME_CHARACTERS = 80
_ADD = """
INSERT INTO last VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account) DO UPDATE SET incident_id = excluded.incident_id, digest = excluded.digest,
    as_doubles = excluded.as_doubles, parts = excluded.parts
WHERE excluded.incident_id >= last.incident_id
"""
"""Of an account's documents the one with the highest Incident_Id counts; of equal ones the later in the export."""


class Last(NamedTuple):
    """The digests of an account's last document, as in ``document.returned.ReturnedDocument``."""

    digest: str
    as_doubles: str
    parts: bytes


class ReceiverLog:
    """The last document of each account in an export of the receiver.

    ``exported_at``: the time of the export's last write. ``documents`` counts its documents.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, exported_at: datetime) -> None:
        self.path = path
        self.exported_at = exported_at
        self.documents = 0
        self._connection = connection
        self._absent: Counter[str] = Counter()
        self._foreign: Counter[str] = Counter()
        self._unreadable: Counter[str] = Counter()

    def last(self, account: str) -> Last | None:
        """Return the account's last document, None where the receiver has none."""
        query = "SELECT digest, as_doubles, parts FROM last WHERE account = ?"
        row = self._connection.execute(query, (account,)).fetchone()
        return None if row is None else Last(*row)

    async def accounts(self) -> AsyncIterator[str]:
        """Yield the receiver's accounts in ascending order."""
        for (account,) in self._connection.execute("SELECT account FROM last ORDER BY account"):
            yield account

    def read(self, export: TextIO) -> None:
        """Read all documents of the export; raise ConfigurationError where it is no such export."""
        self._connection.execute("BEGIN")
        self._connection.executemany(_ADD, self._rows(export))
        self._connection.execute("COMMIT")

    def _rows(self, export: TextIO) -> Iterator[tuple[str, int, str, str, bytes]]:
        for line, value in _values(self.path, export):
            number = self.documents
            for document in documents_in(value):
                item = self._returned(document, line)
                self.documents += 1
                yield item.account, item.incident_id, item.digest, item.as_doubles, item.parts
            if number == self.documents and not _is_empty(value):
                raise unusable(self.path, f"holds no incident document in what begins at line {line}")

    def _returned(self, document: Mapping[str, Any], line: int) -> ReturnedDocument:
        try:
            item = restore_content(document)
        except DataProcessingError as exc:
            raise unusable(self.path, f"is not as it was sent (line {line}): {exc}") from exc
        _count(self._absent, item.absent)
        _count(self._foreign, item.foreign)
        _count(self._unreadable, item.unreadable)
        return item

    def tell(self) -> None:
        """Log how many documents the export has, and how they differ in form from what runs sent."""
        log.info(
            "The receiver's log holds %d document(s).",
            self.documents,
            extra=event("export_read", documents=self.documents),
        )
        if self._foreign:
            log.info(
                "Not compared, because the receiver has added it: %s.",
                _listed(self._foreign),
                extra=event("export_foreign"),
            )
        if self._absent:
            log.info(
                "The receiver does not give back, so it is compared as empty: %s.",
                _listed(self._absent),
                extra=event("export_absent"),
            )
        if self._unreadable:
            log.warning(
                "What cannot be read differs from what was sent: %s.",
                _listed(self._unreadable),
                extra=event("export_unreadable"),
            )


@contextmanager
def opened(export: Path | None) -> Iterator[ReceiverLog | None]:
    """Read an export and yield it; yield None for None.

    Raises ConfigurationError when the file cannot be read, is cut off, or is no such export.
    """
    if export is None:
        yield None
        return
    try:
        exported_at = datetime.fromtimestamp(export.stat().st_mtime, UTC)
        encoding = _encoding(export)
    except OSError as exc:
        raise unusable(export, f"cannot be read ({exc.strerror})") from exc
    with temporary_space():
        temporary = tempfile.NamedTemporaryFile(prefix=PREFIX, suffix=".db")  # noqa: SIM115 - below
    with temporary as file:
        connection = sqlite3.connect(file.name, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(
                "CREATE TABLE last (account TEXT PRIMARY KEY, incident_id INTEGER, digest TEXT, as_doubles TEXT, "
                "parts BLOB) WITHOUT ROWID"
            )
            received = ReceiverLog(export, connection, exported_at)
            try:
                with export.open(encoding=encoding, newline="") as text:
                    received.read(text)
            except OSError as exc:
                raise unusable(export, f"cannot be read ({exc.strerror})") from exc
            except UnicodeError as exc:
                raise unusable(export, f"is no text in {encoding.removesuffix('-sig')}") from exc
            received.tell()
            yield received
        finally:
            connection.close()


def _is_empty(value: Any) -> bool:
    """Tell whether a value is the empty payload of a run without new data, or an object that contains it."""
    nothing: tuple[Any, ...] = ({}, [], "{}")
    return value in nothing or (isinstance(value, Mapping) and any(member in nothing for member in value.values()))


def _encoding(export: Path) -> str:
    """Return the export's encoding: a Windows shell writes UTF-16."""
    with export.open("rb") as file:
        start = file.read(4)
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _values(path: Path, text: TextIO) -> Iterator[tuple[int, Any]]:
    """Yield the JSON values of the text, each with the number of its first line."""
    decoder = json.JSONDecoder(parse_float=fraction)
    buffer, at, line, lists, ended = "", 0, 1, 0, False
    while True:
        while at < len(buffer) and buffer[at] in _BETWEEN:
            line += buffer[at] == "\n"
            lists += (buffer[at] == "[") - (buffer[at] == "]")
            at += 1
        if at == len(buffer):
            buffer, at = text.read(READ_CHARACTERS), 0
            if not buffer:
                break
            continue
        try:
            value, end = decoder.raw_decode(buffer, at)
        except (ValueError, RecursionError) as exc:
            held = len(buffer) - at
            may_go_on = _may_go_on(exc, len(buffer)) and buffer[at] == "{"
            if may_go_on and held >= LONGEST:
                raise unusable(
                    path,
                    f"has more than {LONGEST:,} characters in what begins at line {line}, where an incident document "
                    "has a few thousand",
                ) from None
            if may_go_on and not ended:
                more = text.read(min(max(READ_CHARACTERS, held), LONGEST - held))
                buffer, at, ended = buffer[at:] + more, 0, not more
                continue
            if may_go_on:
                raise unusable(path, f"ends in the middle of the document that begins at line {line}") from None
            raise unusable(path, f"is no JSON at line {line}{_within(exc, buffer, at)}") from None
        yield line, value
        line += buffer.count("\n", at, end)
        at = end
    if lists:
        raise unusable(path, "ends before the list does that it begins with: it was cut off")


def _may_go_on(exc: Exception, read: int) -> bool:
    if not isinstance(exc, json.JSONDecodeError):
        return False
    return exc.msg.startswith("Unterminated") or exc.pos >= read - _CUT_OFF


def _within(exc: Exception, buffer: str, at: int) -> str:
    """Return on which further line of its value the fault is."""
    further = buffer.count("\n", at, exc.pos) if isinstance(exc, json.JSONDecodeError) else 0
    return f", {further} line(s) on" if further else ""


def _count(counted: Counter[str], names: Iterable[str]) -> None:
    """Count names, which are the receiver's own and may be of any length and number."""
    for name in names:
        short = name[:_NAME_CHARACTERS]
        if short in counted or len(counted) < _NAMES_COUNTED:
            counted[short] += 1


def _listed(counted: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({number})" for name, number in counted.most_common(_NAMES_SHOWN))
    further = len(counted) - _NAMES_SHOWN
    return f"{shown} and {further} more" if further > 0 else shown


def unusable(export: Path, what: str) -> ConfigurationError:
    """Return the error for an export that cannot be used; ``what`` continues the sentence after the file's name."""
    return ConfigurationError(
        f"--receiver-log {export} {what}. Give an export of the receiver's documents as JSON: one a line or a list, "
        "whole, with the documents' own properties; the local receiver makes one with "
        "'incident-process receiver --export FILE'."
    )
