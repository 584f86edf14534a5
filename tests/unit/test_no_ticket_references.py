"""No text of the repository refers to a ticket."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRACKER = re.compile(r"\bissues?\s+#?\d|\b(?:this|the) issue (?:that )?(?:asks|says|wants)\b", re.IGNORECASE)
"""A reference to a ticket. Only who wrote it can read it: a page gives the reason itself."""


def texts() -> Iterator[Path]:
    """The files in which people explain what is done and why, but this one, which gives examples."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml"))
    for folder in ("src", "tests", "docs", "bench", "scripts", "deploy", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".ini", ".yaml", ".sh", ".js"} and path != Path(__file__):
                yield path


def test_no_text_refers_to_a_ticket() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): [hit[0] for hit in TRACKER.finditer(path.read_text(encoding="utf-8"))]
        for path in texts()
    }
    assert {path: hits for path, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("as asked in issue 4", True),
        ("Issue 6: linear", True),
        ("see issues #12", True),
        ("what the issue asks for", True),
        ("open an issue that says only that", False),
        ("[dlt #2269](https://github.com/dlt-hub/dlt/issues/2269)", False),
        ("unable to get local issuer certificate", False),
    ],
)
def test_a_reference_to_a_ticket_is_seen(text: str, is_one: bool) -> None:
    assert bool(TRACKER.search(text)) is is_one
