"""The configuration: an INI file, overridden by the environment, checked as a whole before any work (SPEC 8)."""

from incident_process.settings.model import Settings
from incident_process.settings.sections import Api, Database, Mongodb, Process, State
from incident_process.settings.sources import embedded_database
from incident_process.settings.targets import MongoTarget, MySQLTarget, SqliteTarget, Target, Tls, parse_target

__all__ = [
    "Api",
    "Database",
    "MongoTarget",
    "Mongodb",
    "MySQLTarget",
    "Process",
    "Settings",
    "SqliteTarget",
    "State",
    "Target",
    "Tls",
    "embedded_database",
    "parse_target",
]
