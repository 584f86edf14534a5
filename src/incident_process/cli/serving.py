"""The commands that stay up: schedule, and dashboard, the web page."""

from typing import Annotated

import typer

from incident_process.cli.options import Config, load, set_up_log
from incident_process.cli.output import emit_at_once


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


def dashboard(
    config: Config = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address to listen on, instead of [DASHBOARD] host.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="TCP port, instead of [DASHBOARD] port; 0: any.", show_default=False
        ),
    ] = None,
) -> int:
    """Serve the web page: where the operation stands, its runs, accounts, dead letters, findings.

    It listens on this machine only, unless told otherwise; changes and other addresses need [DASHBOARD] token.
    Example: incident-process dashboard --port 8090
    """
    from incident_process.dashboard.web_server import run_server

    run_server(load(config), host, port, lambda url: emit_at_once(f"Dashboard: {url}"))
    return 0
