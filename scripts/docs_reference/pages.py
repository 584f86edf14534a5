"""Pages with parts that are made from the code, and what makes each part.

A part stands between two comments: ``<!-- made by `make docs-reference`: NAME: begin -->`` and the same with ``end``.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from docs_reference import commands, events, metrics, python, settings, source, statuses

_PART = re.compile(
    r"(?P<begin>^<!-- made by `make docs-reference`: (?P<name>[\w-]+): begin -->\n)"
    r"(?P<text>.*?)"
    r"(?P<end>^<!-- made by `make docs-reference`: (?P=name): end -->$)",
    re.MULTILINE | re.DOTALL,
)
_MARK = "<!-- made by `make docs-reference`: "

_MAKERS: dict[str, Callable[[], str]] = {
    "settings-table": settings.table_of_all,
    "settings": settings.entries,
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
    "events": events.table,
    "indexes": statuses.indexes,
    "source-tables": source.tables,
}


def pages(docs: Path) -> Iterator[Path]:
    """Yield the pages that have a made part, in the order of their names."""
    for page in sorted(docs.rglob("*.md")):
        if _MARK in page.read_text(encoding="utf-8"):
            yield page


def renewed(markdown: str) -> str:
    """Return a page's Markdown with each made part as the code has it now.

    Raises:
        LookupError: A part has a name that nothing makes, or not both of its comments, or the code no longer has what
            it is made from.
    """
    found = list(_PART.finditer(markdown))
    if markdown.count(_MARK) != 2 * len(found):
        raise LookupError("a made part lacks one of its two comments: each has one with begin and one with end.")
    unknown = [part["name"] for part in found if part["name"] not in _MAKERS]
    if unknown:
        raise LookupError(f"nothing makes a part with the name {unknown[0]}: there are {', '.join(_MAKERS)}.")
    return _PART.sub(lambda part: f"{part['begin']}\n{_MAKERS[part['name']]().strip()}\n\n{part['end']}", markdown)
