"""Looks at the state, at the operation in it, and at the connections that a run has to state and source at once."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime

from incident_process.app.build_pool import building_processes
from incident_process.app.factory import make_source, make_store
from incident_process.core.errors import OperationRefusedError
from incident_process.core.models import NEVER, UNFINISHED, DeliveryStatus, RunStatus, counted, iso
from incident_process.core.process_identity import is_held
from incident_process.operations.dead_letters import count_open
from incident_process.operations.doctor.finding import Finding, error, ok, parted, warning
from incident_process.operations.insights import refusal
from incident_process.pipeline.operation_check import require_receiver
from incident_process.pipeline.state_check import AHEAD_REMEDY, last_run, watermark_ahead
from incident_process.settings import Settings
from incident_process.settings.checks import LOOPBACK
from incident_process.settings.database_urls import MySQLTarget, Target
from incident_process.state.base import LedgerReader

STATE_CONNECTIONS = 5
"""Connections that a run has to the state at once: four that read, and one that writes."""


async def examine_state(settings: Settings) -> list[Finding]:
    """Look at tables or collections, privileges, indexes and lease."""
    async with make_store(settings) as store:
        await store.require()
        await store.try_writes()
        missing = await store.missing_indexes()
        there = "tables" if missing else "tables or collections and indexes"
        return [
            ok("state", f"Connected; {there} are in place, and may be written."),
            *(
                warning(
                    "state",
                    f"The index {statement.split()[2]} is missing: whole tables are read instead.",
                    f"{statement};",
                )
                for statement in missing
            ),
            await _lease(store),
            await _deliveries(store),
        ]


async def _lease(store: LedgerReader) -> Finding:
    lease = await store.lease_state()
    if lease is None or not lease.active:
        return ok("lease", "Free.")
    held = f"Held by {lease.holder} until {iso(lease.expires_at)}"
    if not is_held(lease):
        remedy = "The next run takes over and goes on; 'incident-process run --now' is one."
        return warning("lease", f"{held}, but that process is gone: the run was killed.", remedy)
    return ok("lease", f"{held}: a run is on.")


async def _deliveries(store: LedgerReader) -> Finding:
    """Tell what has not reached the receiver, and how the last run ended."""
    pending, dead = (await store.delivery_counts())[DeliveryStatus.PENDING], await count_open(store)
    last = await last_run(store)
    ended = ""
    if last is not None and last.status in UNFINISHED:
        ended = f" The last run ended {last.status.value}: {(last.error or 'no reason was noted').rstrip('.')}."
    if not (pending or dead or ended):
        return ok("deliveries", "No incident is pending, and no dead letter is open.")
    waiting = counted(pending, "incident is pending", "incidents are pending")
    letters = counted(dead, "dead letter is open", "dead letters are open")
    remedies = ["See why with 'incident-process deliveries --status pending'."] if pending else []
    if dead:
        remedies.append("What was rejected, and why: 'incident-process dead-letters list'.")
    if pending or ended:
        remedies.append("Once the cause is mended, 'incident-process run --now' goes on.")
    return warning("deliveries", f"{waiting}, {letters}.{ended}", " ".join(remedies))


async def examine_operation(settings: Settings, source_now: datetime) -> list[Finding]:
    """Tell whether a run would go ahead. Apart from the state's findings, because it needs the source's clock."""
    async with make_store(settings) as store:
        await store.require()
        operation = await store.read_operation()
        refused = await refusal(settings, store, operation, source_now)
        if refused is not None and refused.status is not RunStatus.NOT_DUE:
            return [error("operation", *parted(refused.message), OperationRefusedError.exit_status)]
        await require_receiver(store, settings, await store.identity())
    ahead = watermark_ahead(operation, source_now) if operation is not None else None
    if ahead is not None:
        return [warning("operation", ahead, AHEAD_REMEDY)]
    since = operation.last_execution if operation is not None else NEVER
    seen = f"processed through {iso(since)}" if since > NEVER else "not run yet"
    due = f" {refused.message}" if refused else ""
    return [ok("operation", f"'{settings.process.operation_name}' has {seen}.{due}")]


async def examine_connections(settings: Settings) -> list[Finding]:
    """Open as many connections at once as a run does: only the server knows whether it grants this user so many."""
    sources = 1 + building_processes(settings)
    async with AsyncExitStack() as stack:
        for _ in range(sources):
            await stack.enter_async_context(make_source(settings))
        for _ in range(STATE_CONNECTIONS):
            await stack.enter_async_context(make_store(settings))
    finding = (
        f"{sources} to the source and {STATE_CONNECTIONS} to the state can be had at once, as many as a run opens."
    )
    return [ok("connections", finding)]


def unencrypted(targets: Mapping[str, Target]) -> list[Finding]:
    """Tell once of each server that gets a password although nothing has shown that it is the server.

    Only another user of this host can answer in place of one on it, so that is no warning.
    """
    found: dict[tuple[str, int], Finding] = {}
    for subject, target in targets.items():
        if not isinstance(target, MySQLTarget) or target.tls is not None or not target.password.get_secret_value():
            continue
        server = (target.host.lower(), target.port)
        if target.host in LOOPBACK:
            said = "Without TLS, another user of this host who answers on the database's port can learn the password."
            found.setdefault(server, ok(subject, said))
        else:
            said = "Without TLS, whoever answers on the database's port can learn the password, and read along."
            remedy = (
                "Set [DATABASE] MYSQL_SSL = on; with the server's own certificates also MYSQL_SSL_CA = their ca.pem "
                "and MYSQL_SSL_VERIFY = ca."
            )
            found.setdefault(server, warning(subject, said, remedy))
    return list(found.values())
