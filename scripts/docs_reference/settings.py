"""The keys of the configuration, from the one place where they are described."""

from itertools import groupby

from docs_reference.enums import sentence
from docs_reference.table import table
from incident_process.settings.key_docs import Key, keys
from incident_process.settings.keys import SECTIONS
from incident_process.settings.template import render


def table_of_all() -> str:
    """Return one table of all keys: section and key, default, meaning, a right value."""
    rows = [(f"`[{what.section}] {what.name}`", _default(what), what.description, what.expected) for what in keys()]
    return table(("key", "default", "meaning", "value"), rows)


def entries() -> str:
    """Return a heading for each section and each key: meaning, default, a right value, environment variable.

    Every key has a heading of its own, so that the site's search and a link lead to it.
    """
    parts = []
    for section, found in groupby(keys(), key=lambda what: what.section):
        parts.append(f"## `[{section}]`\n\n{SECTIONS[section.lower()].title}.\n")
        parts += [_entry(what) for what in found]
    return "\n".join(parts)


def variables() -> str:
    """Return the environment variables that override secrets, which a deployment keeps apart from the file."""
    return table(
        ("environment variable", "key", "meaning"),
        [
            (f"`{variable(what)}`", f"`[{what.section}] {what.name}`", sentence(what.description))
            for what in keys()
            if not what.shown and _is_secret(what)
        ],
    )


def template() -> str:
    """Return the file that ``init`` writes, as a block."""
    return f"```ini\n{render().rstrip()}\n```\n"


def variable(what: Key) -> str:
    """Return the environment variable that overrides a key."""
    return f"INCIDENT_PROCESS__{what.section}__{what.name.upper()}"


def _entry(what: Key) -> str:
    example = f"; for example `{' '.join(what.example.split())}`" if what.example else ""
    return (
        f"### `[{what.section}] {what.name}`\n\n{sentence(what.description)}\n\n"
        f"- default: {_default(what)}\n- value: {what.expected}{example}\n- environment: `{variable(what)}`\n"
    )


def _default(what: Key) -> str:
    return f"`{what.default}`" if what.default else "empty" if what.default == "" else what.needed or "none"


def _is_secret(what: Key) -> bool:
    field = SECTIONS[what.section.lower()].model_fields[what.name.lower()]
    return "SecretStr" in str(field.annotation)
