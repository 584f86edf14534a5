"""Logging: one logger, one line a record, and the fixed messages of SPEC 7 in one place.

Nothing is configured at import. Every line is an event: ``event`` gives its name and figures as ``extra``, and the JSON
format shows them as fields, with the operation and, during a run, the run's id. ``mask`` masks personal fields before
they reach a logger.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TextIO
from urllib.parse import urlsplit

import msgspec

from incident_process.core.models import Window, iso

LOGGER = "incident_logger"
MASK = "***"
_FILE = "incident_process.file"

PERSONAL_FIELDS = frozenset(
    {
        "Company_Name",
        "Company_Registry_Number",
        "Contact",
        "Customer_Name",
        "Daytime_Contact_Tel",
        "Email_Address",
        "Full_Address",
        "Mobile_Contact_Tel",
        "Nic",
        "Service_Address",
        "Zip_Code",
    }
)
"""Properties of an incident, at any depth, that say who a customer is or how to reach one."""

# Line ends of any kind, terminal escapes, characters that change the direction of text or have no width, and
# surrogates, which a stream could not encode. U+200C and U+200D join letters in Sinhala, Arabic and Hindi: they stay.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_BY_NAME = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = frozenset({"ts", "level", "logger", "message"})
"""Fields that no event can take."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)  # shows money as it was sent: 10.50, not 10.5

_run_fields: ContextVar[Mapping[str, str] | None] = ContextVar("run_fields", default=None)
"""The fields that every line of the run at work has, in its tasks and threads, too."""


# -- set-up -----------------------------------------------------------------------------------------------------------


def get_logger(name: str = LOGGER) -> logging.Logger:
    """Return the program's logger, or another by its name (SPEC 9)."""
    return logging.getLogger(name)


def configure(
    level: str = "INFO",
    log_format: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
    file: logging.Handler | None = None,
    operation: str | None = None,
) -> None:
    """Set up the program's logger, in place of what an earlier call set up.

    Records do not propagate to the root logger, where another handler would show them a second time.

    Args:
        level: The lowest severity to write, by name.
        log_format: ``text`` is ``LEVEL:logger:message``, ``json`` is one object a line.
        stream: The stream to write to; None means ``sys.stderr`` at the time of writing, so that a progress bar can
            replace it.
        file: A further handler, for the log file; its text lines begin with the time.
        operation: The operation that each JSON line names.
    """
    logger = get_logger()
    for old in [handler for handler in logger.handlers if isinstance(handler, _Handler) or handler.name == _FILE]:
        logger.removeHandler(old)
        old.close()
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter(operation) if log_format == "json" else TextFormatter())
    logger.addHandler(handler)
    if file is not None:
        file.set_name(_FILE)
        file.setFormatter(JsonFormatter(operation) if log_format == "json" else TextFormatter(with_time=True))
        logger.addHandler(file)
    logger.setLevel(level.upper())
    logger.propagate = False
    quiet = get_logger("asyncmy")  # its warnings repeat a statement's values, which may be personal
    quiet.propagate = False
    if not quiet.handlers:
        quiet.addHandler(logging.NullHandler())


def event(name: str, /, **figures: object) -> dict[str, object]:
    """Return the ``extra`` of a log line: the event's name, in words joined by ``_``, and its figures by name."""
    return {"event": name, **figures}


@contextmanager
def run_fields(**fields: str) -> Iterator[None]:
    """Give these fields to every JSON line that is logged while the block runs, also by tasks that it starts."""
    token = _run_fields.set(fields)
    try:
        yield
    finally:
        _run_fields.reset(token)


class _Handler(logging.StreamHandler[TextIO]):
    """The handler of this program, known by its class."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream or sys.stderr)
        self._fixed = stream is not None

    def emit(self, record: logging.LogRecord) -> None:
        if not self._fixed:
            self.stream = sys.stderr
        super().emit(record)


class TextFormatter(logging.Formatter):
    """``LEVEL:logger:message`` on one line; characters that would break the line or steer a terminal are escaped."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, *, with_time: bool = False) -> None:
        super().__init__(f"{'%(asctime)s ' if with_time else ''}%(levelname)s:%(name)s:%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, a traceback included."""
        return one_line(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, operation, run_id, the event and its figures, exception.

    Args:
        operation: Of a line that no run has logged; None leaves it out.
    """

    def __init__(self, operation: str | None = None) -> None:
        super().__init__()
        self._operation = operation

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        event: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._operation is not None:
            event["operation"] = self._operation
        event |= _run_fields.get() or {}
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in _OWN:
                event[name] = _plain(value)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack"] = record.stack_info
        return json.dumps(event, ensure_ascii=True)


def one_line(text: str) -> str:
    """Return the text as one line, safe for a terminal: characters that would forge a line or steer it are escaped.

    Everything that the program prints or logs for people goes through this: values come from rows and receivers.
    """
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _BY_NAME.get(found.group(), f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}")


def safe_json(text: str) -> str:
    """Return JSON text with the same characters written as JSON's own escapes: every value stays exact.

    What stands between the values, such as line ends, stays as it is: JSON has none of these within a string.
    """
    return _UNSAFE.sub(_escape_json, text)


def _escape_json(found: re.Match[str]) -> str:
    character = found.group()
    return character if character in _BY_NAME else json.dumps(character)[1:-1]


def _plain(value: Any) -> Any:
    """Return a field as JSON has it; a value that JSON has no form for becomes text."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
    except (TypeError, ValueError, RecursionError):
        return str(value)


# -- masking ----------------------------------------------------------------------------------------------------------


def mask(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of an incident document with ``***`` in every personal field that has a value."""
    return {name: _masked(name, value) for name, value in document.items()}


def mask_body(body: bytes) -> str:
    """Return an encoded body as JSON text with its personal fields masked; never raise, whatever the body holds."""
    try:
        document = _DECODER.decode(body)
        return _ENCODER.encode(_masked("", document)).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return f"({len(body)} bytes that are no JSON)"


def _masked(name: str, value: Any) -> Any:
    if name in PERSONAL_FIELDS:
        return value if value is None or value in ("", [], {}, ()) else MASK
    if isinstance(value, Mapping):
        return mask(value)
    if isinstance(value, list | tuple):
        return [_masked("", item) for item in value]
    return value


# -- messages ---------------------------------------------------------------------------------------------------------
# Other programs read these from the log, so their wording is fixed (SPEC 7).

SENT = "Successfully sent data to API."
NO_DATA = "No new data in the time window."


def window_message(span: Window) -> str:
    """Return the message about the window of a run."""
    return f"Processing time window: {iso(span.start)} to {iso(span.end)}"


def fetched_message(count: int, table: str) -> str:
    """Return the message about the rows read from one table."""
    return f"Fetched {count} record{'' if count == 1 else 's'} from {table}."


def payload_message(masked: str) -> str:
    """Return the message about a body, as ``mask_body`` returns it. Check ``isEnabledFor(DEBUG)`` before masking."""
    return f"Generated JSON payload: {masked}"


def sending_message(url: str) -> str:
    """Return the message about the receiver, without what may be a credential: user, password, query, fragment."""
    parts = urlsplit(url)
    return f"Sending data to API: {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def updated_mongo_message(watermark: datetime) -> str:
    """Return the message about the new watermark in MongoDB."""
    return f"Updated MongoDB with newest timestamp: {iso(watermark)}"


def updated_sql_message(watermark: datetime) -> str:
    """Return the message about the new watermark in the SQL table."""
    return f"Updated Process_Operation with Last_execution_dtm: {iso(watermark)}"


def next_run_message(due: datetime) -> str:
    """Return the message of a run without new data, which moves only Next_execution_dtm (SQL)."""
    return f"Updated Process_Operation with Next_execution_dtm: {iso(due)}"


def connection_error_message(reason: object) -> str:
    """Return the message about a database that cannot be reached; the reason must hold no credential."""
    return f"Database connection error during incident processing: {reason}"
