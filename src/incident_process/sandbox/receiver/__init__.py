"""A local receiver that keeps the field's contract (SPEC 5, 7): for trying things out, for tests, for the benchmark.

    faults.py   what it can be told to do wrong, and the dice that decide it request by request
    limits.py   how many requests it takes a second, and how many at once
    body.py     what a body must be like, and what is said of one that is not
    log.py      the SQLite file: what was accepted, and every request
    app.py      the HTTP behaviour: one POST in, one answer (or none) out
    server.py   the process: socket, signals, uvicorn
    report.py   reading the file afterwards, for a third party that compares

Importing this package is cheap: the web server and the schema library are loaded when ``serve`` is called.
"""

from collections.abc import Callable
from pathlib import Path

from incident_process.sandbox.receiver.faults import Faults
from incident_process.sandbox.receiver.receiver_report import export, summary

__all__ = ["INCIDENT_PATH", "Faults", "export", "serve", "summary"]

INCIDENT_PATH = "/Request_Incident_External_information"
"""Where incidents are posted; the name is the field's."""


def serve(host: str, port: int, database: Path, faults: Faults, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then return. Call it from the main thread of a process.

    Args:
        host: Name or address to listen on.
        port: TCP port, 0 for a free one.
        database: SQLite file that holds what was accepted; made when missing, gone on with when there.
        faults: What to do wrong from the start; ``POST /_control`` changes it while the server runs.
        on_ready: Called once, when connections are answered, with the full URL to post incidents to.

    Raises:
        ConfigurationError: The port is in use, the address cannot be listened on, the file is not a receiver's, or
            a fault setting is out of its range.
    """
    from incident_process.sandbox.receiver.receiver_server import run_server

    run_server(host, port, database, faults, on_ready)
