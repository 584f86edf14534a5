"""From settings to open parts: the only module that names a concrete source, state store or transport."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from incident_process.app.build_pool import open_builder
from incident_process.core.crash_points import CrashPoints
from incident_process.core.errors import ConfigurationError
from incident_process.core.events import Events
from incident_process.core.models import Tracking
from incident_process.delivery.http.transport import HttpTransport
from incident_process.delivery.response_rules import ResponseRules
from incident_process.observability.listeners import log_attempts
from incident_process.pipeline.context import MakeProcessor, Parts
from incident_process.settings import Settings
from incident_process.settings.database_urls import SqliteTarget, parse_target, split_mongo_url
from incident_process.settings.load import EMBEDDED_SOURCE
from incident_process.source.base import Source
from incident_process.state.alert_store import AlertStore
from incident_process.state.base import StateStore


@asynccontextmanager
async def open_parts(settings: Settings, processor: MakeProcessor | None = None) -> AsyncIterator[Parts]:
    """Open source, state and transport for a run, and close them in the reverse order; ``processor``: as in ``Parts``.

    Raises DatabaseConnectionError when a database cannot be reached, ConfigurationError when its tables or a setting
    are not as they must be.
    """
    faults, events = CrashPoints.from_environment(os.environ), Events()
    log_attempts(events)
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(make_source(settings))
        builder = await stack.enter_async_context(open_builder(settings, source))
        store = await stack.enter_async_context(make_store(settings))
        await store.require()
        transport = await stack.enter_async_context(make_transport(settings))
        yield Parts(
            settings=settings,
            source=source,
            builder=builder,
            store=store,
            transport=transport,
            faults=faults,
            events=events,
            processor=processor,
        )


def make_source(settings: Settings) -> Source:
    """Return the source that the settings name, not yet connected."""
    target = settings.source_target
    zone = settings.process.zone
    if isinstance(target, SqliteTarget):
        from incident_process.source.sqlite import SqliteSource

        is_embedded = EMBEDDED_SOURCE in (settings.not_found or "")
        return SqliteSource(target.path, zone, is_embedded=is_embedded)
    replicas = settings.replica_targets
    if replicas:
        from incident_process.source.replicas import Primary, Replica, ReplicatedSource

        copies = [Replica(replica, zone) for replica in replicas]
        return ReplicatedSource(Primary(target, zone), copies, settings.database.replica_wait_seconds)
    from incident_process.source.mysql import MySQLSource

    return MySQLSource(target, zone)


def make_store(settings: Settings, operation: str | None = None) -> StateStore:
    """Return the state store that the settings name, not yet connected, of their operation or of ``operation``."""
    process = settings.process
    name = operation or process.operation_name
    if process.tracking is Tracking.MONGO:
        from incident_process.state.mongo import MongoStateStore

        mongo = settings.mongo_target
        return MongoStateStore(mongo.url.get_secret_value(), mongo.database, name, keep_bodies_days=process.keep_bodies)
    from incident_process.state.sql import SqlStateStore

    return SqlStateStore(
        settings.state_target,
        name,
        process.zone,
        keep_bodies_days=process.keep_bodies,
        lease_seconds=process.lease_seconds,
    )


def make_store_at(url: str, settings: Settings) -> tuple[StateStore, str]:
    """Return the operation's state in the database that a URL names, not yet connected, and its place for messages.

    Raises ConfigurationError for a URL that names none, without the URL, which may hold a password.
    """
    process = settings.process
    if url.partition("://")[0].lower() in {"mongodb", "mongodb+srv"}:
        from incident_process.state.mongo import MongoStateStore
        from incident_process.state.mongo.connection import server_name

        _, _, database = split_mongo_url(url)
        if not database:
            raise ConfigurationError("--to names no database: write mongodb://user:password@host:27017/database.")
        return MongoStateStore(url, database, process.operation_name), f"mongodb://{server_name(url)}/{database}"
    from incident_process.state.sql import SqlStateStore

    try:
        target = parse_target(url)
    except ValueError as exc:
        raise ConfigurationError(f"--to {exc}, or mongodb://host:27017/database.") from None
    return SqlStateStore(
        target, process.operation_name, process.zone, lease_seconds=process.lease_seconds
    ), target.place


def make_conditions(settings: Settings) -> AlertStore:
    """Return the store of alert conditions, beside the state, not yet connected."""
    process = settings.process
    if process.tracking is Tracking.MONGO:
        from incident_process.state.mongo.conditions import MongoConditions

        mongo = settings.mongo_target
        return MongoConditions(mongo.url.get_secret_value(), mongo.database, process.operation_name)
    from incident_process.state.sql.conditions import SqlConditions

    return SqlConditions(settings.state_target, process.operation_name)


def make_transport(settings: Settings, url: str | None = None) -> HttpTransport:
    """Return the transport to the configured receiver, not yet opened.

    Another ``url`` does not get the configured credentials.
    """
    api = settings.api
    headers = api.request_headers if url is None or url == api.api_url else {}
    read_from = ResponseRules.of(api).read_from
    return HttpTransport(url or api.api_url, headers, api.timeout_seconds, api.ca_file, read_from=read_from)
