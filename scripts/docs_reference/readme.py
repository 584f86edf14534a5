"""Sections of the README that the site shows, too: they are written once, and tests compare them with the code."""

import os
import re
from pathlib import Path, PurePosixPath

_ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)\)")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def section(heading: str, place: Path) -> str:
    """Return what stands under a heading of the README, without the heading.

    Args:
        heading: The heading's text, without its number signs.
        place: The page that shows it, from the root of the repository: links are made relative to it.

    Raises:
        LookupError: The README has no such heading.
    """
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^(?P<level>#+) {re.escape(heading)}\n", text, re.MULTILINE)
    if found is None:
        msg = f"README.md has no section '{heading}', which {place} shows: correct the marker in that page."
        raise LookupError(msg)
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found['level'])}}} ", rest, re.MULTILINE)
    body = _COMMENT.sub("", rest[: end.start()] if end else rest).strip()
    up = PurePosixPath(os.path.relpath(".", place.parent))
    return _LINK.sub(lambda link: f"{link['before']}{_from(up, link['target'])})", body)


def _from(up: PurePosixPath, target: str) -> str:
    if "://" in target:
        return target
    return f"{up / 'README.md'}{target}" if target.startswith("#") else str(up / target)
