"""``python -m incident_process.sandbox.receiver``: the receiver alone, for tests and scripts.

It prints one line, its URL. The command for people is ``incident-process receiver``.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.core.logs import one_line
from incident_process.sandbox.receiver.faults import Faults, with_changes
from incident_process.sandbox.receiver.receiver_server import serve


def main() -> int:
    """Serve until a signal comes; return the exit status: 0, or 2 for a mistake of the caller."""
    program = "python -m incident_process.sandbox.receiver"
    parser = argparse.ArgumentParser(prog=program, description="A local receiver.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="TCP port (0: any free one)")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file for what is accepted")
    parser.add_argument("--faults", default="{}", help='what to do wrong, as JSON: {"latency_ms": 20}')
    arguments = parser.parse_args()
    try:
        faults = with_changes(Faults(), msgspec.json.decode(arguments.faults, type=dict[str, object]))
        serve(arguments.host, arguments.port, arguments.database, faults, _say)
    except (ConfigurationError, msgspec.DecodeError) as exc:
        sys.stderr.write(f"{one_line(str(exc))}\n")
        return ConfigurationError.exit_status
    return 0


def _say(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
