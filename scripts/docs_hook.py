"""Hook of mkdocs: fills the reference pages from the code, and turns links that leave ``docs/`` into plain names.

A page of ``docs/`` holds a marker where generated text belongs, ``<!-- generated: NAME -->``. The text is made when the
site is built, so that no page can say anything else than the code does.
"""

import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
# The site describes the code beside it, whatever else is installed. mkdocs takes its own folder off the path again.
sys.path[:0] = [str(_ROOT / "scripts"), str(_ROOT / "src")]

from docs_reference import expand  # noqa: E402  # the path has to be set first
from docs_reference.links import inside  # noqa: E402  # as above


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return a page with its generated parts, and with links that the site can follow.

    Raises:
        KeyError: A marker names nothing that can be generated.
        LookupError: The code or the README no longer holds what a page asks for.
    """
    place = Path("docs") / page.file.src_uri
    return inside(expand(markdown, place), place, _ROOT)
