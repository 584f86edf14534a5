"""Markers in pages, and what stands for each of them."""

import re
from collections.abc import Callable
from pathlib import Path

from docs_reference import commands, metrics, python, readme, settings, statuses

_MARKER = re.compile(r"^<!-- generated: (?P<name>[\w-]+)(?: (?P<argument>.+?))? -->$", re.MULTILINE)

_MAKERS: dict[str, Callable[[], str]] = {
    "settings": settings.tables,
    "environment": settings.variables,
    "template": settings.template,
    "commands": commands.pages,
    "exit-statuses": statuses.exit_statuses,
    "run-statuses": statuses.run_statuses,
    "delivery-statuses": statuses.delivery_statuses,
    "differences": statuses.differences,
    "errors": statuses.errors,
    "metrics": metrics.table,
    "alerts": metrics.alerts,
    "python": python.names,
    "indexes": statuses.indexes,
}


def expand(markdown: str, place: Path) -> str:
    """Return a page's Markdown with every marker replaced.

    ``readme HEADING`` stands for a section of the README, every other name for a table of its own.

    Args:
        markdown: The page as it is written.
        place: Where it lies, from the root of the repository.

    Raises:
        KeyError: A marker names nothing that can be generated.
        LookupError: The README has no such section.
    """

    def made(match: re.Match[str]) -> str:
        if match["name"] == "readme":
            return readme.section(match["argument"], place)
        return _MAKERS[match["name"]]().rstrip()

    return _MARKER.sub(made, markdown)
