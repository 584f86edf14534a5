"""The configuration: an INI file, overridden by the environment, checked as a whole before any work (SPEC 8)."""

from incident_process.settings.database_urls import MongoTarget, MySQLTarget, SqliteTarget, Target, Tls, parse_target
from incident_process.settings.keys import Api, Database, Mongodb, Process, State
from incident_process.settings.load import embedded_database
from incident_process.settings.model import Settings

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
