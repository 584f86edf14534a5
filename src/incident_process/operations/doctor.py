"""Checks what a run needs before it starts: connections, privileges, indexes, types, clocks, rows (SPEC 7).

Each finding says what is and, where that is wrong, what to do. The doctor posts nothing, and changes nothing but what
every command creates: the state's own tables or collections where they are missing.
"""

import asyncio
import os
import re
import shlex
import shutil
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from incident_process.app.build_pool import building_processes
from incident_process.app.factory import make_source, make_store, make_transport
from incident_process.app.observers import require
from incident_process.core.errors import (
    ConfigurationError,
    DeliveryIncompleteError,
    IncidentProcessError,
    OperationRefusedError,
)
from incident_process.core.local_places import (
    closed_to_others,
    hidden_home,
    installation,
    temporary_file,
    temporary_space,
)
from incident_process.core.models import (
    NEVER,
    Record,
    RunStatus,
    Tracking,
    iso,
)
from incident_process.core.safe_files import open_to_others
from incident_process.core.window import refusal, system_date
from incident_process.delivery.endpoint import parse_address
from incident_process.document.contract import incident_schema
from incident_process.operations import openapi_drift
from incident_process.operations.openapi_fetch import descriptions
from incident_process.pipeline.operation_check import require_receiver, unknown_operation
from incident_process.pipeline.state_check import AHEAD_REMEDY, future_rows, watermark_ahead
from incident_process.settings import Settings
from incident_process.settings.database_urls import MySQLTarget, SqliteTarget, Target
from incident_process.source.base import ExcludedRows, Source
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.state.base import LedgerReader

SKEW_SECONDS = 5.0
"""Seconds by which the host's clock may be off without a warning. No window depends on it."""
CONNECT_SECONDS = 5.0
STATE_CONNECTIONS = 5
"""Connections that a run has to the state at once: four that read, and one that writes."""
LEAST_SPACE = 64 << 20
"""Bytes of temporary space below which the doctor warns: enough for a window of one or two million accounts."""


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"  # nothing to do
    WARNING = "warning"  # works, but slower or less protected than it could be
    ERROR = "error"  # a run would fail


class Finding(Record, frozen=True, kw_only=True):
    """The result of one check. ``remedy`` is empty where there is nothing to do.

    An error's ``exit_status`` is the one with which a run would end because of it (SPEC 7).
    """

    subject: str
    level: Level
    finding: str
    remedy: str = ""
    exit_status: int = 0


async def examine(settings: Settings) -> list[Finding]:
    """Check everything that a run depends on; where one part fails, go on with the rest."""
    findings = [
        Finding(subject="configuration", level=Level.WARNING, finding=warning, remedy="Correct the configuration.")
        for warning in settings.warnings
    ]
    if settings.config_path is not None:
        in_force = f"{settings.config_path.absolute()} is in force."
        findings.append(Finding(subject="configuration", level=Level.OK, finding=in_force))
    findings += await _guarded("configuration", lambda: _exposed(settings))
    lacking = await _guarded("configuration", lambda: _extras(settings))
    findings += lacking
    findings += await _guarded("source", lambda: _with_source(settings))
    findings += await _guarded("state", lambda: _with_store(settings))
    if not any(one.level is Level.ERROR and one.subject in ("source", "state") for one in findings):
        findings += await _guarded("connections", lambda: _connections(settings))
    findings += await _guarded("temporary space", _temporary_space)
    if settings.engine.engine == "dask" and not lacking:
        findings += await _guarded("workers", lambda: _workers(settings))
    findings += await _guarded("receiver", lambda: _receiver(settings))
    if settings.tracing.endpoint and not lacking:
        findings.append(await _collector(settings.tracing.endpoint))
    return findings


async def _extras(settings: Settings) -> list[Finding]:
    require(settings)
    return []


async def _exposed(settings: Settings) -> list[Finding]:
    """Find files with credentials or personal data that every user of this host can read."""
    files = {}
    if settings.config_path is not None and settings.file_holds_secrets:
        files["configuration"] = settings.config_path
    if settings.process.tracking == Tracking.SQL and isinstance(settings.state_target, SqliteTarget):
        files["state"] = settings.state_target.path
    return [
        Finding(
            subject=subject,
            level=Level.WARNING,
            finding=f"Every user of this host can {what} {path}.",
            remedy=f"chmod o-rwx {shlex.quote(str(path))}",
        )
        for subject, path in files.items()
        if (what := open_to_others(path)) is not None
    ]


def examine_installation() -> list[Finding]:
    """Find what keeps a service's user from starting this program, though the caller can start it.

    A virtual environment links to an interpreter, which may lie in a user's home. Root hears of everything closed to
    others, because services run as other users. Other users hear of it only where the environment itself is open, as
    if meant for others.
    """
    environment, *needed = installation()
    private = closed_to_others(environment) is not None
    for path in needed:
        closed = closed_to_others(path) if os.geteuid() == 0 or not private else None
        home = hidden_home(path) if hidden_home(environment) is None else None
        if closed is None and home is None:
            continue
        why = f"{closed} is closed to them" if closed else f"ProtectHome= of the systemd units hides {home}"
        return [
            Finding(
                subject="installation",
                level=Level.WARNING,
                finding=f"Services and users other than you cannot reach {path}, which this program needs: {why}.",
                remedy="Where a service is to run it, install it where all users can reach it, with an interpreter "
                "that all can reach: make PYTHON=/usr/bin/python3 setup",
            )
        ]
    return []


async def _guarded(subject: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await look()
    except IncidentProcessError as exc:
        finding, remedy = _parted(exc)
        return [
            Finding(subject=subject, level=Level.ERROR, finding=finding, remedy=remedy, exit_status=exc.exit_status)
        ]


_SENTENCES = re.compile(r"(.+[.?!]) ([A-Z][^.]*(?:\.\S[^.]*)*\.)", re.DOTALL)
"""A message whose last sentence is the remedy; that sentence may contain a file's name or an address."""


def _parted(exc: IncidentProcessError) -> tuple[str, str]:
    """Return what is wrong and the remedy: the error's own, else the last of several sentences."""
    message = str(exc)
    if exc.remedy:
        return message.removesuffix(exc.remedy).rstrip(), exc.remedy
    found = _SENTENCES.fullmatch(message)
    return (found[1], found[2]) if found else (message, "")


async def _with_source(settings: Settings) -> list[Finding]:
    async with make_source(settings) as source:
        now = await source.now()
        findings = [
            Finding(subject="source", level=Level.OK, finding="Connected; both tables have the needed columns."),
            _clock(now, datetime.now(UTC)),
            *_types(source),
            *await _indexes(source),
            await _open_transactions(source),
            *await _excluded(source, settings.process.source_timezone),
            *(await _replicas(source) if settings.replica_targets else []),
            *_unencrypted("source", settings.source_target),
        ]
        findings += await _guarded("operation", lambda: _operation(settings, now))
        return findings


def _clock(source_now: datetime, here: datetime) -> Finding:
    skew = (here - source_now).total_seconds()
    text = f"This host's clock differs from the source's by {skew:+.1f} s"
    if abs(skew) <= SKEW_SECONDS:
        return Finding(subject="clock", level=Level.OK, finding=f"{text}.")
    return Finding(
        subject="clock",
        level=Level.WARNING,
        finding=f"{text}. No window depends on it: the source's clock counts.",
        remedy="Let the host keep its time (systemd-timesyncd, chrony), so that log lines can be compared.",
    )


def _types(source: Source) -> list[Finding]:
    return [
        Finding(subject=table, level=Level.OK, finding=f"LOAD_DATE is of type {declared}.")
        for table, declared in source.load_date_types.items()
    ]


async def _indexes(source: Source) -> list[Finding]:
    present = await source.indexes()
    findings = []
    for advice in INDEX_ADVICE:
        serves = any(columns[: len(advice.columns)] == advice.columns for columns in present[advice.table])
        columns = ", ".join(advice.columns)
        findings.append(
            Finding(subject=advice.table, level=Level.OK, finding=f"There is an index on ({columns}).")
            if serves
            else Finding(
                subject=advice.table,
                level=Level.WARNING,
                finding=f"No index on ({columns}): it {advice.purpose}.",
                remedy=f"{advice.statement};",
            )
        )
    return findings


async def _open_transactions(source: Source) -> Finding:
    writers = await source.writers()
    if writers is None:
        return Finding(
            subject="source",
            level=Level.WARNING,
            finding="Open transactions cannot be seen, so rows that are committed late are left to the lookback.",
            remedy="GRANT PROCESS ON *.* TO the user of [DATABASE] MYSQL_USER;",
        )
    if not writers:
        return Finding(subject="source", level=Level.OK, finding="No open transaction has changed rows.")
    return Finding(
        subject="source",
        level=Level.OK,
        finding=f"{len(writers)} open transaction(s) have changed rows, the oldest since {iso(min(writers))}; "
        "a window ends before it.",
    )


async def _excluded(source: Source, zone: str) -> list[Finding]:
    findings = []
    for table, excluded in (await source.excluded()).items():
        rows = excluded.unprocessable
        if excluded.latest is not None:
            findings.append(_future(table, excluded, zone))
        if not rows:
            findings.append(Finding(subject=table, level=Level.OK, finding="Every row can be processed."))
            continue
        findings.append(
            Finding(
                subject=table,
                level=Level.WARNING,
                finding=f"{rows} row(s) can never be processed: LOAD_DATE is NULL or no date, or no usable account.",
                remedy="Give them a LOAD_DATE of today and an account number, or delete them. They are found with: "
                f"{source.unprocessable_rows[table]}",
            )
        )
    return findings


def _future(table: str, rows: ExcludedRows, zone: str) -> Finding:
    finding, _, remedy = future_rows(table, rows, zone).partition(". ")
    return Finding(subject=table, level=Level.WARNING, finding=f"{finding}.", remedy=remedy)


async def _replicas(source: Source) -> list[Finding]:
    """Tell of each replica whether it would serve a run; where it would not, the run reads from the primary."""
    from incident_process.source.replicas import ReplicatedSource

    assert isinstance(source, ReplicatedSource)  # noqa: S101 - there are replicas
    remedy = "Correct that; until then rows are read from the primary."
    try:
        conditions = await source.look()
    except IncidentProcessError as exc:
        return [Finding(subject="replicas", level=Level.WARNING, finding=str(exc), remedy=remedy)]
    return [
        Finding(subject=f"replica {place}", level=Level.WARNING, finding=of.fault, remedy=remedy)
        if of.fault
        else Finding(
            subject=f"replica {place}",
            level=Level.OK,
            finding=f"{of.where[:1].upper()}{of.where[1:]} has all that it needs, and caught up with the primary "
            f"within {of.seconds:.2f} s.",
        )
        for place, of in enumerate(conditions, start=1)
    ]


async def _operation(settings: Settings, source_now: datetime) -> list[Finding]:
    """Tell whether a run would go ahead. Apart from the state's findings, because it needs the source's clock."""
    process = settings.process
    tracking = Tracking(process.tracking)
    async with make_store(settings) as store:
        await store.require()
        operation = await store.read_operation()
        refused = await unknown_operation(store, settings) or refusal(
            tracking, process.operation_name, operation, system_date(source_now, process.time_gap_seconds, tracking)
        )
        if refused is None or refused.status is RunStatus.NOT_DUE:
            await require_receiver(store, settings, await store.identity())
    if refused is None or refused.status is RunStatus.NOT_DUE:
        ahead = watermark_ahead(operation, source_now) if operation is not None else None
        if ahead is not None:
            return [Finding(subject="operation", level=Level.WARNING, finding=ahead, remedy=AHEAD_REMEDY)]
        since = operation.last_execution if operation is not None else NEVER
        seen = f"processed through {iso(since)}" if since > NEVER else "not run yet"
        due = f" {refused.message}" if refused else ""
        return [Finding(subject="operation", level=Level.OK, finding=f"'{process.operation_name}' has {seen}.{due}")]
    return [
        Finding(
            subject="operation",
            level=Level.ERROR,
            finding=refused.message,
            remedy="The message says what to do.",
            exit_status=OperationRefusedError.exit_status,
        )
    ]


async def _with_store(settings: Settings) -> list[Finding]:
    async with make_store(settings) as store:
        await store.require()
        await store.try_writes()
        missing = await store.missing_indexes()
        there = "tables" if missing else "tables or collections and indexes"
        return [
            Finding(subject="state", level=Level.OK, finding=f"Connected; {there} are in place, and may be written."),
            *(
                Finding(
                    subject="state",
                    level=Level.WARNING,
                    finding=f"The index {statement.split()[2]} is missing: whole tables are read instead.",
                    remedy=f"{statement};",
                )
                for statement in missing
            ),
            await _lease(store),
            *(_unencrypted("state", settings.state_target) if settings.process.tracking == Tracking.SQL else []),
        ]


def _unencrypted(subject: str, target: Target) -> list[Finding]:
    """Warn of a password that is given to a server which nothing has shown to be the server."""
    if not isinstance(target, MySQLTarget) or target.tls is not None or not target.password.get_secret_value():
        return []
    return [
        Finding(
            subject=subject,
            level=Level.WARNING,
            finding="Without TLS, whoever answers on the database's port can learn the password, and read along.",
            remedy="Set [DATABASE] MYSQL_SSL = on; with the server's own certificates also MYSQL_SSL_CA = their ca.pem "
            "and MYSQL_SSL_VERIFY = ca.",
        )
    ]


async def _connections(settings: Settings) -> list[Finding]:
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
    return [Finding(subject="connections", level=Level.OK, finding=finding)]


async def _temporary_space() -> list[Finding]:
    """Write a temporary file and measure the free space beside it: a survey keeps its accounts there."""
    with temporary_file() as file, temporary_space():
        file.write(bytes(LEAST_SPACE // 1024))
        file.flush()
        free = shutil.disk_usage(tempfile.gettempdir()).free
    folder = tempfile.gettempdir()
    if free >= LEAST_SPACE:
        return [Finding(subject="temporary space", level=Level.OK, finding=f"{folder} has room ({free >> 20} MiB).")]
    return [
        Finding(
            subject="temporary space",
            level=Level.WARNING,
            finding=f"{folder} has {free >> 20} MiB left; a run keeps the accounts of its window there.",
            remedy="Free some, or set TMPDIR to a folder with more.",
        )
    ]


async def _lease(store: LedgerReader) -> Finding:
    lease = await store.lease_state()
    if lease is None or not lease.active:
        return Finding(subject="lease", level=Level.OK, finding="Free.")
    return Finding(
        subject="lease", level=Level.OK, finding=f"Held by {lease.holder} until {iso(lease.expires_at)}: a run is on."
    )


async def _receiver(settings: Settings) -> list[Finding]:
    """Connect as a run would and hang up: only an incident could show whether the receiver accepts incidents."""
    address = parse_address(settings.api.api_url)
    where = f"{address.host}:{address.port}"
    try:
        async with make_transport(settings) as transport, asyncio.timeout(CONNECT_SECONDS):
            await transport.connect()
    except ssl.SSLError as exc:
        said = getattr(exc, "verify_message", "") or exc.reason or type(exc).__name__
        finding = f"{where} accepts connections, but no TLS comes about ({said})."
        remedy = "Correct [API] api_url, or name in [API] ca_file the authority that signed the receiver's certificate."
    except (socket.gaierror, UnicodeError) as exc:  # the second: no resolver accepts such a name
        why = exc.strerror if isinstance(exc, socket.gaierror) else "no name of a host has this form"
        finding = f"The name {address.host} does not resolve ({why})."
        remedy = "Correct the host in [API] api_url, or see to the DNS server or /etc/hosts of this host."
    except (OSError, ValueError) as exc:
        finding = f"{where} does not answer ({type(exc).__name__})."
        remedy = "Correct [API] api_url, or see that the receiver runs and can be reached from here."
    else:
        finding = f"{where} accepts connections; path and credentials were not tried."
        accepts = Finding(subject="receiver", level=Level.OK, finding=finding)
        return [accepts, *await _described(settings)]
    return [
        Finding(
            subject="receiver",
            level=Level.ERROR,
            finding=finding,
            remedy=remedy,
            exit_status=DeliveryIncompleteError.exit_status,
        )
    ]


async def _workers(settings: Settings) -> list[Finding]:
    """Ask the workers of a scheduler what a run asks them; a cluster of this machine is not started."""
    engine = settings.engine
    if engine.scheduler is None:
        said = f"Dask is installed. That a run can start {engine.workers} worker process(es) was not tried."
        return [Finding(subject="workers", level=Level.OK, finding=said)]
    from incident_process.app.cluster_worker import unfit
    from incident_process.cluster.dask import WORKERLESS_SECONDS, look_at_workers

    threads, faults = await look_at_workers(settings, unfit)
    if not threads:
        return [
            Finding(
                subject="workers",
                level=Level.ERROR,
                finding=f"{engine.scheduler} has no worker: a run ends when it has had none for "
                f"{WORKERLESS_SECONDS:g} s.",
                remedy="Start one with `dask worker`.",
                exit_status=DeliveryIncompleteError.exit_status,
            )
        ]
    fit = threads.keys() - faults.keys()
    found = [
        Finding(
            subject="workers",
            level=Level.WARNING if fit else Level.ERROR,
            finding=f"{worker}: {fault}",
            remedy="Until that is corrected, runs leave this worker out.",
            exit_status=0 if fit else ConfigurationError.exit_status,
        )
        for worker, fault in sorted(faults.items())
    ]
    if fit:
        said = (
            f"{engine.scheduler} has {len(fit)} worker(s) that fit, with {sum(threads[one] for one in fit)} thread(s)."
        )
        found.append(Finding(subject="workers", level=Level.OK, finding=f"{said} No chunk was tried."))
    return found


async def _collector(endpoint: str) -> Finding:
    """Connect to the collector of traces and hang up. A run goes on without it."""
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
    except (OSError, ValueError) as exc:
        return Finding(
            subject="traces",
            level=Level.WARNING,
            finding=f"{parts.hostname}:{port} does not answer ({type(exc).__name__}): the spans of runs are lost.",
            remedy="Correct [TRACING] endpoint, or see that the collector runs and can be reached from here.",
        )
    said = f"{parts.hostname}:{port} accepts connections. Whether it takes spans was not tried."
    return Finding(subject="traces", level=Level.OK, finding=said)


async def _described(settings: Settings) -> list[Finding]:
    """Compare the contract with the receiver's OpenAPI description, where it publishes one."""
    path = urlsplit(settings.api.api_url).path or "/"
    found = await descriptions(settings.api)
    for one in found:
        described = openapi_drift.operation(one.document, path, one.folder)
        if described is not None:
            try:
                differences = openapi_drift.compare(msgspec.json.decode(incident_schema()), described)
            except openapi_drift.TooLargeError:
                return [
                    Finding(
                        subject=CONTRACT,
                        level=Level.WARNING,
                        finding=f"The receiver's description {one.url} is too large to be compared with the contract.",
                        remedy="Ask the receiver's owner whether it takes what the contract sends.",
                    )
                ]
            return [_drift(one.url, differences)]
    for one in found[:1]:
        if paths := openapi_drift.posts(one.document):
            return [
                Finding(
                    subject=CONTRACT,
                    level=Level.WARNING,
                    finding=f"The receiver's description {one.url} has no POST to {path}; it has {_listed(paths)}.",
                    remedy="Correct [API] api_url, unless that describes another service.",
                )
            ]
    return []


CONTRACT = "receiver's contract"
MOST_NAMED = 8
"""Properties that a finding names for each kind of difference."""


def _drift(url: str, differences: openapi_drift.Differences) -> Finding:
    """Tell how the contract and the description at this address differ."""
    if not differences:
        agrees = f"The receiver's description {url} asks for what the contract sends."
        return Finding(subject=CONTRACT, level=Level.OK, finding=agrees)
    said = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("required and never sent", differences.required),
            ("of another type", differences.of_type),
            ("sent and not allowed", differences.refused),
            ("sent and missing there", differences.missing),
            ("unknown here and optional", differences.unknown),
        )
        if names
    ]
    if differences.rejections:
        remedy = "by the description, it turns such incidents away."
    elif differences.missing:
        remedy = "by the description, it takes such incidents and drops a part."
    else:
        return Finding(
            subject=CONTRACT,
            level=Level.OK,
            finding=f"The receiver's description {url} asks for what the contract sends. {'; '.join(said)}.",
        )
    return Finding(
        subject=CONTRACT,
        level=Level.WARNING,
        finding=f"The receiver's description {url} differs from the contract. {'; '.join(said)}.",
        remedy=f"Ask the receiver's owner which of both holds: {remedy}",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…" for name in names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"


MOST_LETTERS = 120
"""Characters shown of a name: the description is foreign text."""
