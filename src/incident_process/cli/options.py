"""Options that several commands share, and how a command loads its settings."""

import functools
import inspect
import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from incident_process.core import logs
from incident_process.core.arguments import NO_TIME, instant, relative_instant

if TYPE_CHECKING:
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file; otherwise INCIDENT_PROCESS_CONFIG, config/databaseConfig.ini, DB_Config.ini.",
        show_default=False,
        readable=False,  # Settings.load reports an unreadable file in one sentence, and in the report with --json
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="At most so many, the newest first.")
]

ListLimit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, metavar="N", help="At most so many; without it, 100 on a terminal and otherwise all."
    ),
]

TIMES = "2026-01-31, 2026-01-31T10:00:00, yesterday, today, now, or how long ago: 30m, 2h, 7d"
"""The forms of a time that an option takes, for its help."""

Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help=f"Only what began at or after this time, by this host's clock: {TIMES}."
    ),
]

Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Log warnings and errors only, and show no progress.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log every step (log_level DEBUG).", show_default=False)]

level_asked: ContextVar[str | None] = ContextVar("level_asked", default=None)
"""The level that -q or -v asks for, which wins over the configured one; None: neither does."""


def with_verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the options -q and -v."""

    @functools.wraps(command)
    def called(*args: Any, quiet: bool = False, verbose: bool = False, **given: Any) -> Any:
        if quiet and verbose:
            raise typer.BadParameter("-q and -v contradict each other: give one of them.")
        level = "WARNING" if quiet else "DEBUG" if verbose else None
        level_asked.set(level)
        if level is not None:
            logs.configure(level)  # for what is logged before the configuration is read
        return command(*args, **given)

    own = inspect.signature(command)
    added = {"quiet": Quiet, "verbose": Verbose}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in added.items()
    ]
    called.__signature__ = own.replace(parameters=[*own.parameters.values(), *parameters])  # type: ignore[attr-defined]
    called.__annotations__ = command.__annotations__ | added
    return called


def moment(text: str, option: str, zone: ZoneInfo, *, now: datetime | None = None, whole_day: bool = False) -> datetime:
    """Return a time of the command line as an instant; raise typer.BadParameter for what is none.

    ``now``: what relative times count from; None is this host's clock.
    """
    now = datetime.now(UTC) if now is None else now
    try:
        found = relative_instant(text, option, zone, now, whole_day=whole_day)
        return instant(text, option, zone, whole_day=whole_day) if found is None else found
    except ValueError as exc:
        hint = ", yesterday, or 2h for two hours ago" if NO_TIME in str(exc) else ""
        raise typer.BadParameter(f"{exc}{hint}.") from None


def began_from(since: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the instant that --since names, None without it; raise typer.BadParameter for what is none."""
    return None if since is None else moment(since, "--since", zone)


def load(config: Path | None, *, runs: bool = False, warns: bool = True) -> "Settings":
    """Read the settings, set up logging as they say, and log their file and their warnings.

    ``runs``: the command runs, so a file that is not the current folder's is worth a line that everybody sees.
    ``warns``: log the warnings; the command does not show them itself.
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
    for warning in settings.warnings if warns else ():
        logs.get_logger().warning("%s", warning, extra=logs.event("configuration_warning"))
    return settings


def set_up_log(settings: "Settings") -> None:
    """Let the logger write to stderr and to the configured file, if any."""
    process, kept = settings.process, settings.log
    file = None
    if kept.file is not None:
        from incident_process.core.log_file import open_log_file

        file = open_log_file(kept.file, kept.rotation, kept.max_bytes, kept.backups)
    logs.configure(
        level_asked.get() or process.log_level, process.log_format, file=file, operation=process.operation_name
    )
