"""``make docs-reference`` writes the made parts into the pages; with ``--check`` it only says which pages are stale."""

import argparse
import sys
from pathlib import Path

from docs_reference.pages import pages, renewed

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Write or compare; return the exit status: 1 when ``--check`` found a stale page."""
    parser = argparse.ArgumentParser(prog="python -m docs_reference", description="Renew what docs/ has from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that docs/ is in")
    chosen = parser.parse_args()
    stale = []
    for page in pages(chosen.root / "docs"):
        text = page.read_text(encoding="utf-8")
        try:
            new = renewed(text)
        except LookupError as exc:
            sys.stderr.write(f"{page.relative_to(chosen.root)}: {exc}\n")
            return 2
        if new == text:
            continue
        stale.append(page.relative_to(chosen.root).as_posix())
        if not chosen.check:
            page.write_text(new, encoding="utf-8")
    if chosen.check and stale:
        sys.stderr.write(f"No longer what the code says: {', '.join(stale)}. Run: make docs-reference\n")
        return 1
    sys.stdout.writelines(f"Renewed {name}.\n" for name in stale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
