"""Links of the repository, as the site can follow them."""

import os
import re
from pathlib import Path

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s#]+)(?P<fragment>#[^)\s]*)?\)")


def inside(markdown: str, place: Path, root: Path) -> str:
    """Return a page whose links all lead to pages of the site or to other sites.

    A link to a file of the repository that is no part of ``docs/`` becomes its text and the file's name: the site
    may be read where the repository is not. A link to a file that does not exist stays, for ``--strict`` to find.

    Args:
        markdown: The page.
        place: Where it lies, from the root of the repository.
        root: The repository.
    """

    def followed(link: re.Match[str]) -> str:
        if "://" in link["target"] or link["target"].startswith("mailto:"):
            return link[0]
        path = Path(os.path.normpath(place.parent / link["target"]))
        if path.parts[:1] == ("docs",) or not (root / path).exists():
            return link[0]
        name = f"`{path.as_posix()}`"
        return name if link["text"].strip("`") == path.as_posix() else f"{link['text']} ({name})"

    return _LINK.sub(followed, markdown)
