"""The two source tables: each column with its type, and whether the program reads it."""

from docs_reference.table import table
from incident_process.sandbox.demo.tables import declared_types
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

_READ = {CUSTOMER_TABLE: CUSTOMER_COLUMNS, PAYMENT_TABLE: PAYMENT_COLUMNS}


def tables() -> str:
    """Return a heading and a table of columns for each source table."""
    return "\n".join(f"## `{name}`\n\n{_columns(name, types)}" for name, types in declared_types().items())


def _columns(name: str, types: dict[str, str]) -> str:
    rows = [(f"`{column}`", kind, "yes" if column in _READ[name] else "") for column, kind in types.items()]
    return table(("column", "type", "read"), rows)
