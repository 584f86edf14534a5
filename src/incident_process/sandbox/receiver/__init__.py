"""A local receiver that follows the field's contract (SPEC 5, 7): for trying things out, for tests, for the benchmark.

    faults.py           the faults it can be told to make, and the dice that choose them for each request
    capacity.py         how many requests it takes a second, and how many at once
    body.py             what a body must be like, and what the answer says of one that is not
    request_log.py      the SQLite file: accepted incidents, and every request
    receiver_app.py     the HTTP behaviour: one POST in, one answer (or none) out
    receiver_server.py  the process: socket, signals, uvicorn
    receiver_report.py  reads the file afterwards, for an independent comparison

Importing this package is cheap: ``receiver_server`` loads the web server and the schema library.
"""

from incident_process.sandbox.receiver.faults import Faults
from incident_process.sandbox.receiver.receiver_report import export, summary

__all__ = ["INCIDENT_PATH", "Faults", "export", "summary"]

INCIDENT_PATH = "/Request_Incident_External_information"
"""Path to which incidents are posted; the field has chosen the name."""
