"""From the sources' values to values that the sections can check: names sorted, text trimmed, origins kept aside."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from incident_process.settings.field_types import CONTROL
from incident_process.settings.key_docs import is_secret, label
from incident_process.settings.keys import SECTIONS
from incident_process.settings.keys.section import Section
from incident_process.settings.load import Sourced
from incident_process.settings.messages import Problem, nearest

_COMMENT = re.compile(r"\s[;#]")
_AS_IT_IS = ("database", "mysql_password")  # blanks at its ends belong to it, and it may be empty
_MANY_LINES = (
    ("api", "headers"),
    ("api", "delivered_when"),
    ("api", "refused_when"),
    ("api", "retry_when"),
    ("notify", "urls"),
    ("tracing", "headers"),
    ("dashboard", "tokens"),
    ("dashboard", "unmask_tokens"),
)


@dataclass(kw_only=True, slots=True)
class RawSettings:
    """The values as given, by section and key, and the problems and warnings found so far."""

    values: dict[str, Any] = field(repr=False)
    default_origin: str
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    meant: set[tuple[str, str]] = field(default_factory=set)
    """Keys given in a way that is a problem itself, so that they are not reported as missing too."""
    suspicions: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of values that hold what other readers of INI files would leave out: what it is, and what to do."""

    def get(self, section: str, name: str) -> Any:
        """Return the value of a key, None when it is not given."""
        return self.values[section].get(name)

    def has(self, section: str, name: str) -> bool:
        """Return whether a key was given, rightly or wrongly."""
        return name in self.values[section] or (section, name) in self.meant

    def problems_of(self, section: str) -> list[Problem]:
        """Return the problems of a section, also those under a misspelt name of it."""
        return [item for item in self.problems if section in (item.section, nearest(item.section, SECTIONS))]

    def suspected(self) -> Iterator[str]:
        """Yield a warning for each value that holds what other readers of INI files would leave out."""
        for (section, name), what in self.suspicions.items():
            yield f"{self.origins[section, name]}: {label(section, name)} {what}, unless that is meant."

    def with_suspicion(self, problem: Problem) -> Problem:
        """Return the problem of a value, with what may be its cause."""
        for (section, name), what in self.suspicions.items():
            if section == problem.section and problem.name in {name, None}:
                return replace(problem, text=f"{problem.text}; it {what}")
        return problem

    def reject(self, section: str, name: str | None, text: str, origin: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(section=section, name=name, text=text, origin=origin))


def normalize(data: Mapping[str, Any]) -> RawSettings:
    """Sort the given values by section and key, and note problems and warnings.

    An unknown name near a known one is a problem, another unknown key a warning; other unknown sections belong to other
    programs and are ignored. An empty value counts as not given.
    """
    path = data.get("config_path")
    raw = RawSettings(values={section: {} for section in SECTIONS}, default_origin=str(path or "configuration"))
    for name, content in data.items():
        section = name.lower()
        if section in SECTIONS and isinstance(content, Mapping | Section):
            given = content.model_dump(exclude_unset=True) if isinstance(content, Section) else content
            for key, value in given.items():
                _take(raw, section, key.lower(), value)
        elif isinstance(content, Mapping) and section not in SECTIONS:
            _unknown_section(raw, name, content)
        else:
            raw.values[section] = content
    return raw


def _take(raw: RawSettings, section: str, name: str, value: Any) -> None:
    origin = value.origin if isinstance(value, Sourced) else raw.default_origin
    if name not in SECTIONS[section].model_fields:
        _unknown_key(raw, section, name, origin)
        return
    raw.origins[section, name] = origin
    if isinstance(value, str):
        value = str(value) if (section, name) == _AS_IT_IS else str(value).strip()
        if not value and (section, name) != _AS_IT_IS:
            return
        if CONTROL.search(value) and (section, name) not in _MANY_LINES:
            # In a file this is an indented key, which so became part of the value above it. No validator may see such a
            # value: its message would show what the next line holds.
            raw.meant.add((section, name))
            raw.reject(
                section,
                name,
                "holds a line break or another control character: give one line, and start the next key at the "
                "beginning of its line",
                origin,
            )
            return
        if (section, name) not in _MANY_LINES and (what := _suspicion(value, secret=is_secret(section, name))):
            raw.suspicions[section, name] = what
    raw.values[section][name] = value


def _suspicion(value: str, *, secret: bool) -> str | None:
    """Tell what of a value other readers of INI files would leave out; this one takes values literally."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return "is in quotation marks, which are part of the value: remove them"
    if not secret and _COMMENT.search(value):
        return "goes on with ; or # behind a blank, which begins no comment here: give the comment a line of its own"
    return None


def _unknown_key(raw: RawSettings, section: str, name: str, origin: str) -> None:
    near = nearest(name, SECTIONS[section].model_fields)
    if near:
        raw.meant.add((section, near))
        key_name = label(section, near).partition("] ")[2]
        raw.reject(section, name, f"is unknown: did you mean {key_name}?", origin)
    else:
        raw.warnings.append(f"{origin}: {label(section, name)} is unknown and has no effect.")


def _unknown_section(raw: RawSettings, section: str, content: Mapping[str, Any]) -> None:
    origins = [value.origin for value in content.values() if isinstance(value, Sourced)]
    origin = origins[0] if origins else raw.default_origin
    near = nearest(section.lower(), SECTIONS)
    if near:
        raw.meant.update((near, name.lower()) for name in content)
        raw.reject(section, None, f"is an unknown section: did you mean {label(near)}?", origin)
    elif origin != raw.default_origin:  # the variable's name says that it is meant for this program
        raw.warnings.append(f"{origin}: {label(section)} is an unknown section, so this has no effect.")
