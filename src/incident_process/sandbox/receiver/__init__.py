"""A local receiver that follows the field's contract (SPEC 5, 7): for trying things out, for tests, for the benchmark.

    faults.py           the faults it can be told to make, and the dice that choose them for each request
    capacity.py         how many requests it takes a second, and how many at once
    body.py             what a body must be like, and what the answer says of one that is not
    request_log.py      the SQLite file: accepted incidents, and every request
    receiver_app.py     the HTTP behaviour: one POST in, one answer (or none) out
    receiver_server.py  the process: socket, signals, uvicorn
    receiver_report.py  reads the file afterwards, for an independent comparison

Importing this package is cheap: ``serve`` loads the web server and the schema library.
"""

from collections.abc import Callable
from pathlib import Path

from incident_process.sandbox.receiver.faults import Faults
from incident_process.sandbox.receiver.receiver_report import export, summary

__all__ = ["INCIDENT_PATH", "Faults", "export", "serve", "summary"]

INCIDENT_PATH = "/Request_Incident_External_information"
"""Path to which incidents are posted; the field has chosen the name."""


def serve(host: str, port: int, database: Path, faults: Faults, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then return. Call it from the main thread of a process.

    Args:
        host: Name or address to listen on.
        port: TCP port, 0 for a free one.
        database: SQLite file for accepted incidents; created when missing, continued when it exists.
        faults: Faults from the start; ``POST /_control`` changes them while the server runs.
        on_ready: Called once, when the server answers, with the full URL to post incidents to.

    Raises:
        ConfigurationError: The port is in use, the address cannot be listened on, the file is not a receiver's, or
            a fault setting is out of its range.
    """
    from incident_process.sandbox.receiver.receiver_server import run_server

    run_server(host, port, database, faults, on_ready)
