"""What the tests of the documentation read in a page: sections, tables, headings, links."""

import re

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def section(text: str, title: str) -> str:
    """Return the text under a heading, up to the next one of the same or a higher level."""
    start = f"\n{text}".index(f"\n{title}\n")
    level = title.partition(" ")[0]
    end = re.search(rf"\n#{{1,{len(level)}}} ", text[start + len(title) :])
    return text[start : start + len(title) + end.start()] if end else text[start:]


def first_cells(text: str) -> set[str]:
    """Return the first cell of each row of the tables in a text, without backticks."""
    return {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("|")}


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a page get where Markdown is shown."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
