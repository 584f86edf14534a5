"""The configuration: an INI file, overridden by the environment, checked as a whole before any work (SPEC 8)."""

from incident_process.settings.keys.api import Api
from incident_process.settings.keys.databases import Database, Mongodb
from incident_process.settings.load import embedded_database
from incident_process.settings.model import Settings

__all__ = [
    "Api",
    "Database",
    "Mongodb",
    "Settings",
    "embedded_database",
]
