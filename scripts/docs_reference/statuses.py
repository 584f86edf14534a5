"""Exit statuses, statuses of runs and deliveries, errors, indexes: from enums, errors, and what doctor advises."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator

from docs_reference.enums import meanings, sentence
from docs_reference.table import table
from incident_process.cli.commands import INTERRUPTED, app
from incident_process.cli.running import EXIT_STATUS
from incident_process.core import errors as tree
from incident_process.core.models import DeliveryStatus, RunStatus
from incident_process.operations.reconcile import SENDABLE, Difference
from incident_process.source.indexes import INDEX_ADVICE

_EPILOG = re.compile(r"(?P<status>\d+) (?P<meaning>[^·.]+)")


def exit_statuses() -> str:
    """Return a table of the exit statuses: meaning, the statuses of a run and the errors that lead to it."""
    runs: defaultdict[int, list[str]] = defaultdict(list)
    for status, number in EXIT_STATUS.items():
        runs[number].append(status.value)
    raised: defaultdict[int, list[str]] = defaultdict(list)
    for error in _below(tree.IncidentProcessError):
        raised[error.exit_status].append(error.__name__)
    rows = [
        (f"`{number}`", sentence(meaning), _codes(runs[number]), _codes(raised[number]))
        for number, meaning in _meanings_of_exit_statuses().items()
    ]
    rows.append((f"`{INTERRUPTED}`", "Interrupted with Ctrl-C.", "", ""))
    return table(("status", "meaning", "`status` of the run", "errors in Python"), rows)


def run_statuses() -> str:
    """Return a table of the values of ``status`` of a run."""
    rows = [
        (f"`{value}`", sentence(meaning), str(EXIT_STATUS.get(RunStatus(value), "")))
        for value, meaning in meanings(RunStatus).items()
    ]
    return table(("status of a run", "meaning", "exit status"), rows)


def delivery_statuses() -> str:
    """Return a table of the statuses in the ledger."""
    return table(("status", "meaning"), [(f"`{v}`", sentence(m)) for v, m in meanings(DeliveryStatus).items()])


def differences() -> str:
    """Return a table of what ``reconcile`` finds."""
    rows = [
        (f"`{value}`", sentence(meaning), "yes" if Difference(value) in SENDABLE else "no")
        for value, meaning in meanings(Difference).items()
    ]
    return table(("difference", "meaning", "sent by `--repair`"), rows)


def errors() -> str:
    """Return a table of the errors, each under its base."""
    rows = [
        (
            f"`{error.__name__}`",
            f"`{error.__bases__[0].__name__}`",
            str(error.exit_status),
            inspect.cleandoc(error.__doc__ or "").partition("\n\n")[0],
        )
        for error in _below(tree.IncidentProcessError)
    ]
    return table(("error", "under", "exit status", "meaning"), rows)


def indexes() -> str:
    """Return the indexes that a source should have, as a block of SQL."""
    return "```sql\n" + "\n".join(f"{advice.statement};" for advice in INDEX_ADVICE) + "\n```\n"


def _meanings_of_exit_statuses() -> dict[int, str]:
    _, found, epilog = str(app.info.epilog).partition("Exit status: ")
    meanings = {int(match["status"]): match["meaning"].strip() for match in _EPILOG.finditer(epilog)}
    known = {error.exit_status for error in _below(tree.IncidentProcessError)} | set(EXIT_STATUS.values())
    if not found or not known <= set(meanings):
        msg = f"The help of the command does not name every exit status: {sorted(known - set(meanings))} are missing."
        raise LookupError(msg)
    return meanings


def _below(error: type[tree.IncidentProcessError]) -> Iterator[type[tree.IncidentProcessError]]:
    """Yield the error and all under it that ``core.errors.py`` defines; others are no part of the public tree."""
    if error.__module__ == tree.__name__:
        yield error
    for below in error.__subclasses__():
        yield from _below(below)


def _codes(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
