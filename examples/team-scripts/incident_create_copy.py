"""One run: ``python incident_create_copy.py`` is ``incident-process run`` with its options (``--json``, ``--now``).

``create_incident`` is here, too, for scripts that import it from this file.
"""

import os
import sys

from utils.filePath.filePath import get_filePath

from incident_process import create_incident
from incident_process.cli.commands import execute

__all__ = ["create_incident", "main"]


def main() -> int:
    """Do a run with the configuration of this folder, wherever it is started, and return the exit status."""
    os.environ.setdefault("INCIDENT_PROCESS_CONFIG", get_filePath("databaseConfig"))
    return execute(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
