"""Describes every key, from the fields of ``keys``, for messages, reference and template."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from incident_process.settings.field_types import Expected, Hidden, Needed
from incident_process.settings.keys import SECTIONS

T = TypeVar("T")

_PLAIN: dict[Any, str] = {
    bool: "on or off",
    int: "a whole number",
    float: "a number",
    Path: "the path of a file",
    str: "a text",
    SecretStr: "a text",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key, in words. Where ``default`` is None, ``needed`` says when a value must be given.

    ``expected`` describes a right value and follows "it must be"; ``shown`` says whether an error may repeat a value.
    """

    section: str
    name: str
    description: str
    expected: str
    default: str | None
    needed: str | None
    example: str | None
    shown: bool


def keys() -> Iterator[Key]:
    """Yield all keys in the order of the sections and fields."""
    for section, model in SECTIONS.items():
        for name in model.model_fields:
            yield key(section, name)


def key(section: str, name: str) -> Key:
    """Return the description of one key, both names in lower case; raise KeyError when there is none."""
    model = SECTIONS[section]
    field = model.model_fields[name]
    needed = _first(field, Needed)
    return Key(
        section=section.upper(),
        name=name.upper() if model.upper else name,
        description=field.description or "",
        expected=_expected(field),
        default=_default(field),
        needed=needed.text if needed else None,
        example=str(field.examples[0]) if field.examples else None,
        shown=_first(field, Hidden) is None and not _holds_secret(field.annotation),
    )


def is_secret(section: str, name: str) -> bool:
    """Return whether a key, both names in lower case, is one of this program's and holds a credential."""
    field = SECTIONS[section].model_fields.get(name) if section in SECTIONS else None
    return field is not None and _holds_secret(field.annotation)


def label(section: str, name: str | None = None) -> str:
    """Return the name of a key or section in messages: ``[SECTION] KEY``, the key in the case of the template."""
    model = SECTIONS.get(section)
    shown = name.upper() if name and model and model.upper else name
    return f"[{section.upper()}] {shown}" if shown else f"[{section.upper()}]"


def table() -> str:
    """Return a Markdown table of all keys: section and key, default, meaning, a right value."""
    lines = ["| key | default | meaning | value |", "|---|---|---|---|"]
    for what in keys():
        default = f"`{what.default}`" if what.default is not None else what.needed or "none"
        cells = (f"`[{what.section}] {what.name}`", default, what.description, what.expected)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str | None:
    match field.default:
        case bool() as value:
            return "on" if value else "off"
        case enum.Enum() as value:
            return str(value.value)
        case int() | float() | str() as value:
            return f"{value}"
        case _:  # None, an empty mapping, required
            return None


def _expected(field: FieldInfo) -> str:
    stated = _first(field, Expected)
    if stated:
        return stated.text
    kind = _kind(field.annotation)
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        words = tuple(str(member.value) for member in kind)
    if words:
        return f"{', '.join(words[:-1])} or {words[-1]}"
    return _PLAIN[kind] + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    least, above, most = _first(field, Ge), _first(field, Gt), _first(field, Le)
    if least and most:
        return f" from {least.ge} to {most.le}"
    if above and most:
        return f" above {above.gt}, up to {most.le}"
    longest = _first(field, MaxLen)
    return f" of 1 to {longest.max_length} characters" if longest else ""


def _first(field: FieldInfo, marker: type[T]) -> T | None:
    return next((item for item in field.metadata if isinstance(item, marker)), None)


def _kind(annotation: Any) -> Any:
    """Strip ``Annotated`` and ``| None`` from an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _kind(next(item for item in get_args(annotation) if item is not type(None)))
    return annotation


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(item) for item in get_args(annotation))
