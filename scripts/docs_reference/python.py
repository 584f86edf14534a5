"""The public names, with their signatures and docstrings."""

from typing import Any

import griffe

import incident_process
from docs_reference.table import table

_NO_MEMBERS = {"model_config"}


def names() -> str:
    """Return a heading for each public name, functions and records first, errors apart."""
    package = griffe.load("incident_process", search_paths=[str(incident_process.__path__[0]) + "/.."])
    errors = [name for name in incident_process.__all__ if name.endswith("Error")]
    others = [name for name in incident_process.__all__ if name not in errors]

    def found(name: str) -> str:
        home = getattr(incident_process, name).__module__.partition(".")[2]
        return _entry(package[f"{home}.{name}"])

    return "\n".join(
        [
            "## Settings, runs, and the names of the team's scripts\n",
            *map(found, others),
            "## Errors\n",
            *map(found, errors),
        ]
    )


def _entry(thing: Any) -> str:
    called = thing
    if thing.is_class and "__init__" in thing.members:
        called = thing.members["__init__"]
    shown = [] if thing.is_class and called is thing else [_block(_signature(thing.name, called))]
    parts = [f"### `{thing.name}`", *shown, *_docstring(thing)]
    if thing.is_class:
        bases = ", ".join(f"`{base}`" for base in map(str, thing.bases) if base.endswith("Error"))
        parts += [f"Under {bases}."] if bases else []
        parts += _members(thing)
    return "\n\n".join(parts) + "\n"


def _members(thing: Any) -> list[str]:
    public = [item for name, item in thing.members.items() if not name.startswith("_") and name not in _NO_MEMBERS]
    values = [item for item in public if item.is_attribute]
    parts = []
    if values:
        rows = [(f"`{item.name}`", _code(item.annotation), _first_line(item)) for item in values]
        parts.append(table(("attribute", "type", "meaning"), rows).rstrip())
    for item in public:
        if item.is_function:
            parts += [_block(_signature(f"{thing.name}.{item.name}", item)), *_docstring(item)]
    return parts


def _signature(name: str, called: Any) -> str:
    """Return a call as it is written: ``name(first, *, second=None) -> type``."""
    parts: list[str] = []
    starred = False
    for parameter in called.parameters:
        if parameter.name in {"self", "cls"}:
            continue
        kind = parameter.kind
        if kind is griffe.ParameterKind.keyword_only and not starred:
            parts.append("*")
            starred = True
        mark = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(kind, "")
        starred = starred or mark == "*"
        text = f"{mark}{parameter.name}" + (f": {parameter.annotation}" if parameter.annotation else "")
        parts.append(text if mark or parameter.default is None else f"{text} = {parameter.default}")
    returned = getattr(called, "returns", None)
    arrow = f" -> {returned}" if returned and called.name != "__init__" else ""
    return f"{name}({', '.join(parts)}){arrow}"


def _docstring(thing: Any) -> list[str]:
    """Return the paragraphs of a docstring, its sections as lists."""
    parts = []
    for section in thing.docstring.parse("google") if thing.docstring else []:
        if section.kind is griffe.DocstringSectionKind.text:
            parts.append(section.value)
            continue
        lines = [f"- {_what(item)}: {' '.join(item.description.split())}" for item in section.value]
        parts.append(f"{section.kind.value.capitalize()}:\n\n" + "\n".join(lines))
    return parts


def _what(item: Any) -> str:
    """Return the name of an argument, or the type of an error or of what is returned."""
    return f"`{getattr(item, 'name', '') or item.annotation}`"


def _first_line(thing: Any) -> str:
    return thing.docstring.value.partition("\n\n")[0] if thing.docstring else ""


def _code(annotation: Any) -> str:
    """Return a type as code, without the bar, which a table's cell cannot hold on every host."""
    return f"`{annotation}`".replace(" | ", " or ") if annotation else ""


def _block(text: str) -> str:
    return f"```python\n{text}\n```"
