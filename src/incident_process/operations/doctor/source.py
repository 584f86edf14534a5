"""Looks at the source: columns, types, indexes, clock, open transactions, rows, replicas."""

from datetime import UTC, datetime

from incident_process.app.factory import make_source
from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import iso
from incident_process.operations.doctor.finding import Finding, guarded, ok, warning
from incident_process.operations.doctor.state import examine_operation
from incident_process.pipeline.state_check import future_rows
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.source.indexes import INDEX_ADVICE

SKEW_SECONDS = 5.0
"""Seconds by which the host's clock may be off without a warning. No window depends on it."""


async def examine_source(settings: Settings) -> list[Finding]:
    """Look at tables, rows and server, and with their clock at the operation."""
    async with make_source(settings) as source:
        now = await source.now()
        findings = [
            ok("source", "Connected; both tables have the needed columns."),
            _clock(now, datetime.now(UTC)),
            *(ok(table, f"LOAD_DATE is of type {declared}.") for table, declared in source.load_date_types.items()),
            *await _indexes(source),
            await _open_transactions(source),
            *await _excluded(source, settings.process.source_timezone),
            *(await _replicas(source) if settings.replica_targets else []),
        ]
        findings += await guarded("operation", lambda: examine_operation(settings, now))
        return findings


def _clock(source_now: datetime, here: datetime) -> Finding:
    skew = (here - source_now).total_seconds()
    text = f"This host's clock differs from the source's by {skew:+.1f} s"
    if abs(skew) <= SKEW_SECONDS:
        return ok("clock", f"{text}.")
    return warning(
        "clock",
        f"{text}. No window depends on it: the source's clock counts.",
        "Let the host keep its time (systemd-timesyncd, chrony), so that log lines can be compared.",
    )


async def _indexes(source: Source) -> list[Finding]:
    present = await source.indexes()
    findings = []
    for advice in INDEX_ADVICE:
        serves = any(columns[: len(advice.columns)] == advice.columns for columns in present[advice.table])
        columns = ", ".join(advice.columns)
        findings.append(
            ok(advice.table, f"There is an index on ({columns}).")
            if serves
            else warning(advice.table, f"No index on ({columns}): it {advice.purpose}.", f"{advice.statement};")
        )
    return findings


async def _open_transactions(source: Source) -> Finding:
    writers = await source.writers()
    if writers is None:
        return warning(
            "source",
            "Open transactions cannot be seen, so rows that are committed late are left to the lookback.",
            "GRANT PROCESS ON *.* TO the user of [DATABASE] MYSQL_USER;",
        )
    if not writers:
        return ok("source", "No open transaction has changed rows.")
    return ok(
        "source",
        f"{len(writers)} open transaction(s) have changed rows, the oldest since {iso(min(writers))}; "
        "a window ends before it.",
    )


async def _excluded(source: Source, zone: str) -> list[Finding]:
    findings = []
    for table, excluded in (await source.excluded()).items():
        rows = excluded.unprocessable
        if excluded.latest is not None:
            findings.append(warning(table, *future_rows(table, excluded, zone)))
        if not rows:
            findings.append(ok(table, "Every row can be processed."))
            continue
        findings.append(
            warning(
                table,
                f"{rows} row(s) can never be processed: LOAD_DATE is NULL or no date, or no usable account.",
                "Give them a LOAD_DATE of today and an account number, or delete them. They are found with: "
                f"{source.unprocessable_rows[table]}",
            )
        )
    return findings


async def _replicas(source: Source) -> list[Finding]:
    """Tell of each replica whether it would serve a run; where it would not, the run reads from the primary."""
    from incident_process.source.replicas import ReplicatedSource

    assert isinstance(source, ReplicatedSource)  # noqa: S101 - there are replicas
    remedy = "Correct that; until then rows are read from the primary."
    try:
        conditions = await source.look()
    except IncidentProcessError as exc:
        return [warning("replicas", str(exc), remedy)]
    return [
        warning(f"replica {place}", of.fault, remedy)
        if of.fault
        else ok(
            f"replica {place}",
            f"{of.where[:1].upper()}{of.where[1:]} has all that it needs, and caught up with the primary "
            f"within {of.seconds:.2f} s.",
        )
        for place, of in enumerate(conditions, start=1)
    ]
