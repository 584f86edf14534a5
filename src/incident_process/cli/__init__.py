"""The command line: thin, over the engine and the read service (SPEC 7)."""

import gc
import os
import sys

from incident_process.cli import streams

COLLECT_AFTER = 50_000
"""New objects after which the collector looks for cycles. The modules of a start are hundreds of thousands that stay,
and to go through them after every 700, as Python does, takes a tenth of the start."""


def main() -> None:
    """Run the command and end the process with its exit status."""
    streams.prepare()
    gc.set_threshold(COLLECT_AFTER)
    # pydantic looks for plugins of its own in every installed package; a command has none, and needs not wait for that.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from incident_process.cli.commands import execute

    status = execute(sys.argv[1:])
    gc.freeze()  # at its end Python looks for cycles in all that is left, though all of it goes: another tenth
    sys.exit(status)
