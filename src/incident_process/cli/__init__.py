"""The command line: thin, over the engine and the read service (SPEC 7)."""

import sys


def main() -> None:
    """Run the command and end the process with its exit status."""
    from incident_process.cli.app import execute

    sys.exit(execute(sys.argv[1:]))
