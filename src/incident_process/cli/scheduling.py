"""The command that stays up: schedule."""

from incident_process.cli.options import Config, load, set_up_log


def schedule(config: Config = None) -> int:
    """Stay up and process a window whenever one is due, until SIGTERM or Ctrl-C; SIGHUP rereads the configuration.

    Several may run, on several hosts: one does the work, the others stand by.
    Example: incident-process schedule --config config/databaseConfig.ini
    """
    from incident_process.schedule.signal_requests import leave_at_once

    leave_at_once()
    from incident_process.app.runner import in_loop
    from incident_process.schedule.service import Scheduler
    from incident_process.settings import Settings

    settings = load(config, runs=True)
    in_loop(Scheduler(settings, lambda: Settings.load(config), set_up_log).serve())
    return 0
