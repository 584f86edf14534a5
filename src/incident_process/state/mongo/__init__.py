"""The state store on MongoDB: single-document atomic writes only, so that a standalone server will do."""

from incident_process.state.mongo.store import MongoStateStore

__all__ = ["MongoStateStore"]
