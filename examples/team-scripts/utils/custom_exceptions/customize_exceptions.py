"""The errors that the scripts catch."""

from incident_process import APIConfigError, DatabaseConnectionError, DataProcessingError, IncidentCreationError

__all__ = ["APIConfigError", "DataProcessingError", "DatabaseConnectionError", "IncidentCreationError"]
