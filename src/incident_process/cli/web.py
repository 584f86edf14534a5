"""The command that serves the web page."""

import sys
from typing import Annotated

import typer

from incident_process.cli.options import Config, load
from incident_process.cli.output import emit


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

    run_server(load(config), host, port, _print_url)
    return 0


def _print_url(url: str) -> None:
    """Print the page's URL at once, also to a pipe: the starting program waits for this line."""
    emit(f"Dashboard: {url}")
    sys.stdout.flush()
