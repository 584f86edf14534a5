"""The command line: thin, over the engine and the read service (SPEC 7)."""

import gc
import os
import sys

from incident_process.cli import streams

COLLECT_AFTER = 50_000
"""New objects between two garbage collections. A start creates hundreds of thousands that stay; collecting after every
700, as Python does, takes a tenth of the start."""


def main() -> None:
    """Run the command and end the process with its exit status."""
    streams.prepare()
    gc.set_threshold(COLLECT_AFTER)
    # pydantic searches every installed package for its plugins; the command has none and saves the time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from incident_process.cli.commands import execute

    status = execute(sys.argv[1:])
    gc.freeze()  # spares the collection at exit: another tenth
    sys.exit(status)
