"""The commands before the first run: show and check the configuration, load sample rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from incident_process.cli.options import AsJson, Config, load
from incident_process.cli.output import emit, emit_json, emit_table
from incident_process.cli.reading import with_parts
from incident_process.core.errors import ConfigurationError, IncidentProcessError
from incident_process.core.logs import event, get_logger

if TYPE_CHECKING:
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it

config = typer.Typer(no_args_is_help=True, help="Show and check the configuration.")


@config.command("show")
def show(config: Config = None, as_json: AsJson = False) -> int:
    """Print every key in force: its value (secrets masked), and the file and line, or variable, that it comes from.

    Example: incident-process config show
    """
    from incident_process.settings.in_force import keys_in_force

    settings = load(config)
    found = keys_in_force(settings, config)
    if as_json:
        emit_json({"config": settings.config_path and str(settings.config_path), "keys": found})
        return 0
    emit(f"Configuration: {settings.config_path or 'none found, the embedded default holds'}")
    rows = [{"key": f"[{one.section}] {one.key}", "value": one.value, "from": one.origin} for one in found]
    emit_table(rows, ("key", "value", "from"), "")
    return 0


@config.command("check")
def check(config: Config = None, as_json: AsJson = False) -> int:
    """Check the configuration alone, without any database: for a pipeline, before it goes into use.

    Example: incident-process config check --config config/databaseConfig.ini
    """
    settings = load(config)
    if settings.notify.urls:
        _check_alerts(settings)
    if as_json:
        emit_json({"config": settings.config_path and str(settings.config_path), "warnings": settings.warnings})
    else:
        emit(f"{settings.config_path or 'The embedded default'}: complete, and no value is wrong in itself.")
    return 0


def _check_alerts(settings: "Settings") -> None:
    """Raise ConfigurationError, a line for each address that Apprise does not understand; warn of any other doubt."""
    from incident_process.app.runner import in_loop
    from incident_process.operations.alert_check import examine_alerts

    doubtful = [one for one in in_loop(examine_alerts(settings, send=False)) if one.remedy]
    wrong = [one for one in doubtful if one.exit_status == ConfigurationError.exit_status]
    for one in doubtful:
        if one not in wrong:
            get_logger().warning("%s", f"{one.finding} {one.remedy}", extra=event("configuration_warning"))
    if wrong:
        origin = settings.config_path or "configuration"
        raise ConfigurationError("\n".join(f"{origin}: {one.finding} {one.remedy}" for one in wrong))


def sample_data(
    config: Config = None,
    accounts: Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many invented accounts.")] = 200,
    as_json: AsJson = False,
) -> int:
    """Fill the configured source with invented accounts, to try a first run; called again, it adds a later load.

    Creates the two tables where they are missing. Tables that hold rows of anybody else are refused. Example:
    incident-process sample-data --accounts 500
    """
    from incident_process.operations.sample_data import load_sample

    settings = load(config)
    made = load_sample(settings, accounts)
    if as_json:
        emit_json(made)
        return 0
    emit(
        f"Loaded {made.customers} customer rows and {made.payments} payments of {made.accounts} invented accounts into "
        f"{made.where}. Next: incident-process {_next_command(settings)}"
    )
    return 0


def _next_command(settings: "Settings") -> str:
    """Return the command that comes after the rows: ``init`` before there is a state, else the run that takes them."""
    from incident_process.core.models import RunStatus, Tracking
    from incident_process.operations import insights

    if settings.process.tracking is not Tracking.SQL:
        return "run"
    try:
        gate = with_parts(settings, lambda parts: insights.status(settings, parts.source, parts.store))["gate"]
    except IncidentProcessError:  # no state yet; of another fault init says what it is
        return "init"
    return {RunStatus.INACTIVE: "init", RunStatus.NOT_DUE: "run --now"}.get(gate, "run")
