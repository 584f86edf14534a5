"""The commands, their exit statuses, and their errors as one sentence (SPEC 7)."""

import io
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from typing import IO, Annotated, Any, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from incident_process.cli import (
    pruning,
    reading,
    repairing,
    running,
    sandbox_commands,
    serving,
    setting_up,
    state_commands,
    streams,
)
from incident_process.cli.options import with_verbosity
from incident_process.core import logs
from incident_process.core.arguments import is_utf8
from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError, where_raised

INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        from incident_process.core.version import __version__

        sys.stdout.write(f"incident-process {__version__}\n")
        raise typer.Exit


def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Read the options before the command."""


class _Grouped(TyperGroup):
    """The commands in the help by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group, in the order in which the commands were added."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            section = groups.setdefault(str(getattr(command, "rich_help_panel", "")), [])
            section.append((name, command.get_short_help_str(formatter.width - 6 - _NAME_WIDTH)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{_NAME_WIDTH}}", text) for name, text in rows])


_NAME_WIDTH = len("dead-letters")

app = typer.Typer(
    name="incident-process",
    cls=_Grouped,
    callback=common,
    help="Every account with new rows reaches the API as one incident document: none missed, none duplicated.",
    epilog="Exit status: 0 done · 1 unexpected fault · 2 usage or configuration · 3 a database cannot be reached · "
    "4 delivery incomplete, the next run resumes · 5 another runner holds the lease · 6 inactive or terminated. "
    "Example: incident-process run --config config/databaseConfig.ini",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: dict[str, dict[str, Any]] = {
    "Set up": {"init": running.init, "config": setting_up.config, "sample-data": setting_up.sample_data},
    "Look": {
        "status": reading.status,
        "history": reading.history,
        "deliveries": reading.deliveries,
        "preview": reading.preview,
        "doctor": reading.doctor,
    },
    "Send": {"run": running.run, "backfill": repairing.backfill},
    "Repair": {
        "dead-letters": repairing.dead_letters,
        "reconcile": repairing.reconcile,
        "prune": pruning.prune,
        "state": state_commands.state,
    },
    "Serve": {"schedule": serving.schedule, "dashboard": serving.dashboard},
    "Try out": {"receiver": sandbox_commands.receiver, "demo": sandbox_commands.demo},
}
"""By what they are for, as the help lists them: a function, or a group of commands."""

for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(_command)
for _group in (app, *(added.typer_instance for added in app.registered_groups)):
    for _registered in _group.registered_commands if _group is not None else ():
        assert _registered.callback is not None  # noqa: S101  # for the type checker: each was added with its function
        _registered.callback = with_verbosity(_registered.callback)


@runtime_checkable
class _Shown(Protocol):
    """A usage error that shows itself with the usage of its command."""

    def show(self, file: IO[Any] | None = None) -> None: ...


_CREDENTIALS = re.compile(r"([A-Za-z][\w+.-]*:/)/?.*@|[^\s('\"]+:\S+@", re.DOTALL)
"""What stands before the host of an address, to the last @ of the text: a password may hold any character."""


def _without_credentials(text: str) -> str:
    """Return a usage error, which repeats arguments, without the passwords of addresses among them."""
    return _CREDENTIALS.sub(lambda found: f"{found[1]}/…@" if found[1] else "…@", text)


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status of the process; no error leaves here as a traceback.

    Nor does a line of a library, which would be no JSON among lines of JSON, unless Python is told to warn (``-W``).
    """
    if not sys.warnoptions:
        logging.lastResort = logging.NullHandler()
        warnings.simplefilter("ignore")
    for place, argument in enumerate(arguments, start=1):
        if not is_utf8(argument):
            sys.stderr.write(f"Argument {place} of the command is no UTF-8 text: correct it.\n")
            return ConfigurationError.exit_status
    try:
        status = _perform(arguments)
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    fault = streams.fault()
    if fault is None or isinstance(fault, BrokenPipeError):  # the reader has what it wanted
        return status
    _log().error(f"Stdout cannot be written ({fault.strerror}): what the command printed is not complete.")
    return 1


def _perform(arguments: Sequence[str]) -> int:
    try:
        status = app(list(arguments), standalone_mode=False)
    except typer.TyperException as exc:  # typer brings a click of its own: the class in `click` is another one
        if isinstance(exc, _Shown):
            shown = io.StringIO()
            exc.show(shown)
            said = shown.getvalue().replace(": Value error, ", ": ", 1)  # typer puts this before its own sentence
            sys.stderr.write(_without_credentials(said))
        else:
            sys.stderr.write(f"{_without_credentials(logs.one_line(exc.format_message()))}\n")
        return exc.exit_code
    except typer.Abort:
        raise
    except Exception as exc:
        return _explain(exc)
    return status if isinstance(status, int) else 0


def _log() -> logging.Logger:
    log = logs.get_logger()
    if not log.handlers:  # the command failed before it knew the configured form
        logs.configure()
    return log


def _explain(exc: Exception) -> int:
    """Log an error as one sentence and return its exit status."""
    log = _log()
    if isinstance(exc, IncidentProcessError):
        run = {"run_id": exc.report.run_id} if exc.report is not None and exc.report.run_id is not None else {}
        if isinstance(exc, DatabaseConnectionError):
            log.error(logs.connection_error_message(str(exc)), extra=logs.event("connection_failed", **run))
        else:
            for line in str(exc).splitlines():  # a configuration reports all its mistakes at once, a line each
                log.error("%s", line, extra=logs.event("command_failed", **run))
        return exc.exit_status
    if isinstance(exc, OSError) and exc.strerror:
        where = f" ({exc.filename})" if exc.filename else ""
        log.error(
            "The operating system refuses: %s%s. Nothing is lost; the next run resumes.",
            exc.strerror,
            where,
            extra=logs.event("system_refused"),
        )
    else:
        log.error(
            "Unexpected fault: %s. Nothing is lost; the next run resumes. Please report it.",
            where_raised(exc),
            extra=logs.event("unexpected_fault"),
        )
    log.debug("Traceback:", exc_info=exc, extra=logs.event("traceback"))
    return 1
