"""The commands that do the work: init and run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from incident_process.cli.options import AsJson, Config, load, set_up_log
from incident_process.cli.output import emit, emit_json, emit_pairs
from incident_process.cli.progress_bar import progress_for
from incident_process.core import logs
from incident_process.core.errors import ConfigurationError, IncidentProcessError
from incident_process.core.models import RunReport, RunStatus, failed_report

if TYPE_CHECKING:
    from incident_process.observability.listeners import Progress
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it

EXIT_STATUS = {
    RunStatus.COMPLETED: 0,
    RunStatus.NO_DATA: 0,
    RunStatus.NOT_DUE: 0,
    RunStatus.INCOMPLETE: 4,
    RunStatus.LOCKED: 5,
    RunStatus.INACTIVE: 6,
    RunStatus.TERMINATED: 6,
}
FIRST_PLACE = Path("config/databaseConfig.ini")


def init(
    config: Config = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Write no file: create the SQLite database that holds without one.")
    ] = False,
) -> int:
    """Write a commented configuration where there is none; where there is one, create what the state needs.

    Safe to repeat: what is there is kept. Example: incident-process init --config config/databaseConfig.ini
    """
    from incident_process.app.runner import in_loop
    from incident_process.core.safe_files import private_opener, writing
    from incident_process.settings import Settings
    from incident_process.settings.template import render

    path = config or Settings.find()
    if embedded:
        return _init_embedded(path)
    path = path or FIRST_PLACE
    if not path.exists():
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "w", encoding="utf-8", opener=private_opener) as file:  # it will hold passwords
                file.write(render())
        emit(f"Wrote {path}.")
        emit("Next: 1. set your databases and the API in it; 'incident-process config check' says what is missing.")
        emit("      2. run 'incident-process init' once more: it creates the state's tables and the operation's row.")
        return 0
    in_loop(_init_state(load(path)))
    return 0


def run(
    config: Config = None,
    now: Annotated[bool, typer.Option("--now", help="Run before the operation is due, too (tracking = sql).")] = False,
    as_json: AsJson = False,
) -> int:
    """Process one window; with tracking in SQL when the operation is due.

    Example: incident-process run --config config/databaseConfig.ini --json
    """
    from incident_process.app.runner import run_window

    return report_run(
        config, lambda settings, progress: run_window(settings, now=now, progress=progress), as_json=as_json
    )


def report_run(
    config: Path | None,
    work: "Callable[[Settings, Progress | None], RunReport]",
    *,
    as_json: bool,
    show: Callable[[dict[str, Any]], None] = emit_json,
) -> int:
    """Do a run with a progress bar, print its report, and return its exit status.

    With ``as_json``, ``show`` prints exactly one object, also where the configuration ends the run.
    """
    try:
        settings = load(config, runs=True)
        with progress_for(sys.stderr) as progress:
            report = work(settings, progress)
        if report.status is RunStatus.NO_DATA and settings.not_found is not None:
            report = msgspec.structs.replace(report, message=settings.not_found)  # the log may be read by nobody
    except IncidentProcessError as exc:
        if as_json:
            show((exc.report or failed_report(str(exc))).to_dict())
        raise
    except Exception as exc:
        if as_json and not isinstance(exc, typer.TyperException):
            show(failed_report(f"unexpected fault: {type(exc).__name__}").to_dict())
        raise
    if as_json:
        show(report.to_dict())
    else:
        fields = report.to_dict()
        if report.window is None:
            fields["window"] = fields["rows"] = None
        emit_pairs({name: value for name, value in fields.items() if value is not None})
    return EXIT_STATUS[report.status]


async def _init_state(settings: "Settings") -> None:
    from incident_process.app.factory import make_conditions, make_store
    from incident_process.pipeline.operation_check import nearest_names

    async with make_store(settings) as store:
        await store.prepare()
        await store.create_indexes()
        before = {item.operation for item in await store.operations()}
        created = await store.create_operation(settings.process.execution_duration)
    if settings.notify.urls:
        async with make_conditions(settings):
            pass  # opening it creates the alerts' table, for which a run's user may lack the privilege
    name = settings.process.operation_name
    logs.get_logger().debug("State prepared.", extra=logs.event("state_prepared"))
    emit("The state's tables or collections and their indexes are in place.")
    if not created:
        return
    emit(f"Operation '{name}' is created: its first run is due now.")
    before.discard(name)
    if before:
        logs.get_logger().warning(
            "Operation '%s' is new to this state, which holds %d other(s) (%s): its first run sends every account. "
            "If one of these was meant, correct [PROCESS] operation_name before a run begins.",
            name,
            len(before),
            ", ".join(repr(other) for other in nearest_names(name, before)),
            extra=logs.event("init_warning"),
        )


def _init_embedded(configured: Path | None) -> int:
    from incident_process.app.runner import in_loop
    from incident_process.database.file_connection import FILE_ERRORS
    from incident_process.sandbox.demo.tables import create_sqlite
    from incident_process.settings import Settings, embedded_database

    if configured is not None:
        raise ConfigurationError(
            f"--embedded is for where there is no configuration, and {configured} is one: leave the option out."
        )
    path = embedded_database()
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # it will hold personal data
            create_sqlite(path)
        except FILE_ERRORS as exc:
            raise ConfigurationError(
                f"{path} cannot be written ({exc}): see that the folder may be written to."
            ) from exc
        emit(f"Created {path} with both source tables, empty.")
    settings = Settings.load()
    set_up_log(settings)  # without the warning that there is no configuration: that was asked for
    in_loop(_init_state(settings))
    return 0
