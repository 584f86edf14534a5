"""Checks what a run needs before it starts: connections, privileges, indexes, types, clocks, rows (SPEC 7).

Each finding says what is and, where that is wrong, what to do. The doctor posts nothing, and changes nothing but what
every command creates: the state's own tables or collections where they are missing. A module for each subject.
"""

from incident_process.app.observers import require
from incident_process.core.models import Tracking
from incident_process.operations.doctor.cluster import examine_collector, examine_workers
from incident_process.operations.doctor.files import examine_files, examine_installation, examine_temporary_space
from incident_process.operations.doctor.finding import Finding, Level, guarded, ok, warning
from incident_process.operations.doctor.receiver import examine_receiver
from incident_process.operations.doctor.source import examine_source
from incident_process.operations.doctor.state import examine_connections, examine_state, unencrypted
from incident_process.settings import Settings
from incident_process.settings.load import NOT_FOUND_REMEDY

__all__ = ["Finding", "Level", "examine", "examine_installation"]


async def examine(settings: Settings) -> list[Finding]:
    """Check everything that a run depends on; where one part fails, go on with the rest."""
    findings = [_doubt(text) for text in settings.warnings]
    if settings.config_path is not None:
        in_force = f"{settings.config_path.absolute()} is in force."
        findings.append(ok("configuration", in_force))
    findings += await guarded("configuration", lambda: examine_files(settings))
    lacking = await guarded("configuration", lambda: _extras(settings))
    findings += lacking
    findings += await guarded("source", lambda: examine_source(settings))
    findings += await guarded("state", lambda: examine_state(settings))
    wrong = {one.subject for one in findings if one.level is Level.ERROR}
    targets = {"source": settings.source_target}
    if settings.process.tracking == Tracking.SQL:
        targets["state"] = settings.state_target
    findings += unencrypted({subject: target for subject, target in targets.items() if subject not in wrong})
    if wrong.isdisjoint({"source", "state"}):
        findings += await guarded("connections", lambda: examine_connections(settings))
    findings += await guarded("temporary space", examine_temporary_space)
    if settings.engine.engine == "dask" and not lacking:
        findings += await guarded("workers", lambda: examine_workers(settings))
    findings += await guarded("receiver", lambda: examine_receiver(settings))
    if settings.tracing.endpoint and not lacking:
        findings.append(await examine_collector(settings.tracing.endpoint))
    return findings


def _doubt(text: str) -> Finding:
    if text.endswith(NOT_FOUND_REMEDY):
        return warning("configuration", text.removesuffix(NOT_FOUND_REMEDY).rstrip(), NOT_FOUND_REMEDY)
    return warning("configuration", text, "Correct the configuration.")


async def _extras(settings: Settings) -> list[Finding]:
    require(settings)
    return []
