"""Hook of mkdocs: turns links that leave ``docs/`` into plain names, because the site may be read without the clone."""

import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT / "scripts"))  # mkdocs takes its own folder off the path again

from docs_reference.links import inside  # noqa: E402  # the path has to be set first


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return a page with links that the site can follow."""
    return inside(markdown, Path("docs") / page.file.src_uri, _ROOT)
