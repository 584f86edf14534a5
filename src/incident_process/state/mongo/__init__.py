"""The state store on MongoDB: only atomic writes of single documents, so that a standalone server suffices."""

from incident_process.state.mongo.store import MongoStateStore

__all__ = ["MongoStateStore"]
