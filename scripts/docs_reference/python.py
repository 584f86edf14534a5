"""The public names, for mkdocstrings to take their signatures and docstrings from."""

import incident_process


def names() -> str:
    """Return a directive for each public name, functions and records first, errors apart."""
    errors = [name for name in incident_process.__all__ if name.endswith("Error")]
    others = [name for name in incident_process.__all__ if name not in errors]
    parts = ["## Settings, runs, and the names of the team's scripts\n", *map(_directive, others)]
    return "\n".join([*parts, "## Errors\n", *map(_directive, errors)])


def _directive(name: str) -> str:
    home = getattr(incident_process, name).__module__
    return f"::: {home}.{name}\n    options:\n      heading_level: 3\n"
