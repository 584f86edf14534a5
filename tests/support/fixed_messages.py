"""The fixed log messages of the code, in the form in which pages write them (SPEC 7.5)."""

from incident_process.core import logs
from incident_process.core.models import NEVER, Window
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE

_INSTANT = "1900-01-01T00:00:00Z"


def fixed_messages() -> set[str]:
    """Return each message, with A, B, T, N and URL for what differs from run to run."""
    made = [
        logs.window_message(Window(start=NEVER, end=NEVER)),
        logs.fetched_message(2, CUSTOMER_TABLE),
        logs.fetched_message(2, PAYMENT_TABLE),
        logs.payload_message("…"),
        logs.sending_message("http://receiver/path"),
        logs.SENT,
        logs.updated_mongo_message(NEVER),
        logs.updated_sql_message(NEVER),
        logs.NO_DATA,
        logs.connection_error_message("…"),
    ]
    return {
        message.replace(f"{_INSTANT} to {_INSTANT}", "A to B")
        .replace(_INSTANT, "T")
        .replace("2 records", "N records")
        .replace("http://receiver/path", "URL")
        for message in made
    }
