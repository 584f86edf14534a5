"""``python -m incident_process`` is ``incident-process``."""

from incident_process.cli import main

if __name__ == "__main__":
    main()
