"""The configured MongoDB database."""

from incident_process import get_mongo_collection

__all__ = ["get_mongo_collection"]
