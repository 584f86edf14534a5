"""Options that several commands share, and how a command loads its settings."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incident_process.core import logs

if TYPE_CHECKING:
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file; otherwise INCIDENT_PROCESS_CONFIG, config/databaseConfig.ini, DB_Config.ini.",
        show_default=False,
        readable=False,  # Settings.load reports an unreadable file in one sentence, and in the report with --json
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest first.")]

ListLimit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most so many; without it, 100 on a terminal and otherwise all."),
]


def load(config: Path | None, *, runs: bool = False) -> "Settings":
    """Read the settings, set up logging as they say, and log their file and their warnings.

    ``runs``: the command runs, so a file that is not the current folder's is worth a line that everybody sees.
    """
    from incident_process.settings import Settings
    from incident_process.settings.load import USUAL_PLACES

    settings = Settings.load(config)
    set_up_log(settings)
    if (path := settings.config_path) is not None:
        is_elsewhere = path.absolute() not in {place.absolute() for place in USUAL_PLACES}
        level = logging.INFO if runs and is_elsewhere else logging.DEBUG
        logs.get_logger().log(
            level, "The configuration is %s.", path.absolute(), extra=logs.event("configuration_read", path=str(path))
        )
    for warning in settings.warnings:
        logs.get_logger().warning("%s", warning, extra=logs.event("configuration_warning"))
    return settings


def set_up_log(settings: "Settings") -> None:
    """Let the logger write to stderr and to the configured file, if any."""
    process, kept = settings.process, settings.log
    file = None
    if kept.file is not None:
        from incident_process.core.log_file import open_log_file

        file = open_log_file(kept.file, kept.rotation, kept.max_bytes, kept.backups)
    logs.configure(process.log_level, process.log_format, file=file, operation=process.operation_name)
