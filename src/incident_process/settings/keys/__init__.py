"""The sections of the configuration and their keys: the one place that defines a key, its default and its meaning.

Reference, template and error messages are made from these fields. An attribute is the key's name in lower case; the
file may write names in any case.
"""

from incident_process.settings.keys.api import Api
from incident_process.settings.keys.dashboard_keys import Dashboard
from incident_process.settings.keys.databases import Database, Mongodb, State
from incident_process.settings.keys.engine import Engine
from incident_process.settings.keys.operating import Log, Metrics, Notify, Schedule, Tracing
from incident_process.settings.keys.process import Process
from incident_process.settings.keys.section import Section

SECTIONS: dict[str, type[Section]] = {
    "mongodb": Mongodb,
    "database": Database,
    "api": Api,
    "process": Process,
    "state": State,
    "engine": Engine,
    "dashboard": Dashboard,
    "schedule": Schedule,
    "log": Log,
    "metrics": Metrics,
    "notify": Notify,
    "tracing": Tracing,
}
"""The sections in the order of the file, by their names in lower case."""
