"""From problems to sentences: each mistake with its place, its fault and its remedy, all of them at once."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from incident_process.core.errors import APIConfigError, ConfigurationError
from incident_process.settings.key_docs import key, label
from incident_process.settings.keys import SECTIONS

_NEAR = 0.8  # similarity above which an unknown name counts as a misspelt one
_LONGEST_SHOWN = 60  # characters of a wrong value that a message repeats

Origins = Mapping[tuple[str, str], str]
"""The origin of each value, by section and key in lower case: a file's name, or an environment variable's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One mistake. ``text`` is the end of a sentence that starts with the key's name; ``name`` None: the section."""

    section: str
    name: str | None
    text: str
    origin: str

    def __str__(self) -> str:
        """Return the whole sentence."""
        sentence = f"{self.origin}: {label(self.section, self.name)} {self.text}"
        return sentence if sentence.endswith("?") else f"{sentence}."


def rejection(problems: Iterable[Problem]) -> ConfigurationError:
    """Return the error for these problems, one a line: APIConfigError if the receiver's address is among them."""
    found = sorted(problems, key=_place)
    receiver = any((item.section, item.name) == ("api", "api_url") for item in found)
    return (APIConfigError if receiver else ConfigurationError)("\n".join(map(str, found)))


def explain(error: ValidationError, origins: Origins, default_origin: str, within: str | None = None) -> list[Problem]:
    """Return pydantic's findings in this program's words.

    Args:
        error: Of the settings as a whole, or of one section.
        origins: Where the values came from.
        default_origin: The place of a missing value.
        within: The section's name, where the error is of one section.
    """
    problems = []
    for detail in error.errors(include_url=False):
        section, *path = (str(part) for part in ((within,) if within else ()) + detail["loc"])
        name = path[0] if path else None
        origin = origins.get((section, name or ""), default_origin)
        problems.append(Problem(section=section, name=name, text=_text(section, name, detail), origin=origin))
    return problems


def missing(section: str, name: str, origin: str, remedy: str = "") -> Problem:
    """Return the problem of a needed key that has no value; ``remedy`` is the alternative."""
    what = key(section, name)
    text = f"is missing: set it ({what.description}), for example {what.name} = {what.example}{remedy}"
    return Problem(section=section, name=name, text=text, origin=origin)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known section or key that is nearest to an unknown name, None where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=_NEAR)), None)


def _text(section: str, name: str | None, detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if name is None or name not in SECTIONS[section].model_fields:
        return "is not understood: give keys and values"
    what = key(section, name)
    value = f" {_shorten(detail['input'])!r}" if what.shown and isinstance(detail["input"], str) else ""
    return f"has a wrong value{value}: it must be {what.expected}"


def _shorten(value: str) -> str:
    return value if len(value) <= _LONGEST_SHOWN else f"{value[: _LONGEST_SHOWN - 1]}…"


def _place(problem: Problem) -> tuple[int, int]:
    sections = list(SECTIONS)
    if problem.section not in SECTIONS:
        return len(sections), 0
    names = list(SECTIONS[problem.section].model_fields)
    return sections.index(problem.section), names.index(problem.name) if problem.name in names else len(names)
