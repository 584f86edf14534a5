"""Time-Gapped Incident Processing System: every account with new rows reaches an API as one incident document.

The names below are the public interface (SPEC 9); they are loaded when first used, so that importing the package, and
with it every start of the command, costs nothing.

    core        what everything stands on                 settings    where everything is configured
    database    one session for MySQL and MariaDB         source      customer and payment rows
    document    rows to a checked body                    delivery    bodies to the receiver
    state       tracking, ledger, outbox, lease, audit    pipeline    one run, in the order that keeps the promise
    cluster     the same run over Dask                    app         puts concrete parts together

``observability``, ``operations``, ``schedule``, ``dashboard``, ``cli`` and ``compat`` stand around it.
"""

from incident_process.core import safe_path

safe_path.leave_working_directory()  # before anything else is imported

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from incident_process.core.version import __version__ as __version__  # noqa: E402

if TYPE_CHECKING:
    from incident_process.app.runner import run_window
    from incident_process.compat.team_scripts import (
        ProcessOperation,
        create_incident,
        get_mongo_collection,
        get_mysql_connection,
        read_api_config,
    )
    from incident_process.core.errors import (
        APIConfigError,
        ConfigurationError,
        DatabaseConnectionError,
        DataProcessingError,
        DeliveryIncompleteError,
        IncidentCreationError,
        IncidentProcessError,
        LeaseHeldError,
        LeaseLostError,
        OperationRefusedError,
    )
    from incident_process.core.logs import get_logger
    from incident_process.core.models import RunReport
    from incident_process.settings import Settings

_HOME = {
    "RunReport": "core.models",
    "Settings": "settings",
    "get_logger": "core.logs",
    "run_window": "app.runner",
    **dict.fromkeys(
        ("ProcessOperation", "create_incident", "get_mongo_collection", "get_mysql_connection", "read_api_config"),
        "compat.team_scripts",
    ),
}
"""The modules of the public names that are no errors."""

__all__ = [
    "APIConfigError",
    "ConfigurationError",
    "DataProcessingError",
    "DatabaseConnectionError",
    "DeliveryIncompleteError",
    "IncidentCreationError",
    "IncidentProcessError",
    "LeaseHeldError",
    "LeaseLostError",
    "OperationRefusedError",
    "ProcessOperation",
    "RunReport",
    "Settings",
    "create_incident",
    "get_logger",
    "get_mongo_collection",
    "get_mysql_connection",
    "read_api_config",
    "run_window",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'core.errors')}"), name)
    globals()[name] = value
    return value
