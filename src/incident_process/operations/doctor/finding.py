"""What a check of the doctor returns."""

import re
from collections.abc import Awaitable, Callable
from enum import StrEnum

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import Record


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


def ok(subject: str, finding: str) -> Finding:
    """Return a finding with nothing to do."""
    return Finding(subject=subject, level=Level.OK, finding=finding)


def warning(subject: str, finding: str, remedy: str) -> Finding:
    """Return a finding that a run goes on with."""
    return Finding(subject=subject, level=Level.WARNING, finding=finding, remedy=remedy)


def error(subject: str, finding: str, remedy: str, exit_status: int) -> Finding:
    """Return a finding that a run ends with."""
    return Finding(subject=subject, level=Level.ERROR, finding=finding, remedy=remedy, exit_status=exit_status)


async def guarded(subject: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Return what a check finds; an error of the package that ends it is a finding, too."""
    try:
        return await look()
    except IncidentProcessError as exc:
        # The remedy is the error's own, else the last of several sentences.
        said = str(exc)
        finding, remedy = (said.removesuffix(exc.remedy).rstrip(), exc.remedy) if exc.remedy else parted(said)
        return [error(subject, finding, remedy, exc.exit_status)]


_SENTENCES = re.compile(r"(.+[.?!]) ([A-Z][^.]*(?:\.\S[^.]*)*\.)", re.DOTALL)
"""A message whose last sentence is the remedy; that sentence may contain a file's name or an address."""


def parted(message: str) -> tuple[str, str]:
    """Return what is wrong and the remedy, which is the last of several sentences."""
    found = _SENTENCES.fullmatch(message)
    return (found[1], found[2]) if found else (message, "")
