"""The table of all keys for the README, made from the descriptions of the keys."""

from incident_process.settings.describe import Key, keys


def table() -> str:
    """Return a Markdown table: section and key, default, meaning, a right value. It ends with a line break."""
    lines = ["| key | default | meaning | value |", "|---|---|---|---|"]
    lines += [_line(what) for what in keys()]
    return "\n".join(lines) + "\n"


def _line(what: Key) -> str:
    default = f"`{what.default}`" if what.default is not None else what.needed or "none"
    cells = (f"`[{what.section}] {what.name}`", default, what.description, what.expected)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
