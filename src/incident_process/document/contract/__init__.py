"""The contract of a body: ``incident.schema.json``, the one file on which sender and receiver both rely."""

from functools import cache
from importlib.resources import files


@cache
def incident_schema() -> str:
    """Return the JSON Schema (draft 2020-12) of an incident document as text (SPEC 4)."""
    return files(__name__).joinpath("incident.schema.json").read_text(encoding="utf-8")
