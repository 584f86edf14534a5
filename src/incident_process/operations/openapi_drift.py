"""Compares the body that an OpenAPI description asks for with the one that a run sends. Pure.

The description is foreign: it may have any version, be wrong or huge, or refer to itself. None of that raises an error,
and the comparison goes no deeper than the contract.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from incident_process.core.models import Record

MOST_HOPS = 32
"""References that the comparison follows in a row."""
MOST_ALTERNATIVES = 64
"""Alternatives for one value that the comparison considers."""
MOST_VALUES = 5
"""Allowed values of a property that a message names."""
FORMATS = frozenset({"date", "time", "duration", "email", "uuid", "ipv4", "ipv6", "hostname", "binary"})
"""Formats that a free text does not fit. date-time is absent: a run sends its times in it."""

Schema = Mapping[str, Any]
_ANYTHING: Schema = {}


class Differences(Record, frozen=True, kw_only=True):
    """Properties by their path from the body, ``Contact_Details[].Contact``, in the order of the contract.

    ``missing``: sent but not described. ``refused``: sent but not allowed. ``of_type``: sent as another type than
    described, with both types. ``required``: required but never sent. ``unknown``: optional and never sent.
    """

    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    of_type: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def rejections(self) -> int:
        """How many of them make the receiver reject bodies, by its own description."""
        return len(self.refused) + len(self.of_type) + len(self.required)

    def __bool__(self) -> bool:
        return bool(self.rejections or self.missing or self.unknown)


class OpenApiOperation(NamedTuple):
    """A described POST: the ``schema`` of its JSON body (None: no body), and the whole ``document``."""

    schema: Any
    document: Schema


def posts(document: Any) -> tuple[str, ...]:
    """Return the paths to which the description has a POST."""
    return tuple(
        path for path, item in _mapping(_at(document, "paths")).items() if isinstance(_at(item, "post"), Mapping)
    )


def operation(document: Any, api_path: str, beside: str) -> OpenApiOperation | None:
    """Return the described POST of a path; None where the description has none.

    Args:
        document: The whole description, decoded.
        api_path: The path to which a run posts incidents.
        beside: The folder of the description: its paths may be relative to it.
    """
    if not isinstance(document, Mapping):
        return None
    bases = ["", beside.rstrip("/")]
    bases += [urlsplit(str(_at(server, "url") or "")).path.rstrip("/") for server in _list(_at(document, "servers"))]
    wanted = [api_path.rstrip("/").removeprefix(base) for base in bases if api_path.startswith(base)]
    described = posts(document)
    for fits in (_is, _fits_template):
        for path in wanted:
            for one in described:
                if fits(path, one.rstrip("/")):
                    return OpenApiOperation(_body(document, _at(document, "paths", one, "post")), document)
    return None


def compare(contract: Schema, described: OpenApiOperation) -> Differences:
    """Return what differs between the contract and a described body."""
    found = _value(described.document, contract, described.schema, "")
    return Differences(
        missing=tuple(found.missing),
        refused=tuple(found.refused),
        of_type=tuple(found.of_type),
        required=tuple(found.required),
        unknown=tuple(found.unknown),
    )


@dataclass
class _Found:
    missing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    of_type: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def weight(self) -> tuple[int, int]:
        """How far a description is off: first the differences that reject a body, then the others."""
        return len(self.refused) + len(self.of_type) + len(self.required), len(self.missing) + len(self.unknown)

    def add(self, other: "_Found") -> None:
        self.missing += other.missing
        self.refused += other.refused
        self.of_type += other.of_type
        self.required += other.required
        self.unknown += other.unknown


def _value(document: Schema, ours: Schema, theirs: Any, path: str) -> _Found:
    """Compare a value that a run sends as ``ours`` with the best fitting of its descriptions."""
    alternatives = [one for one in _alternatives(document, theirs, MOST_HOPS) if _types(one) != {"null"}]
    same = [one for one in alternatives if _takes(one, ours)]
    if alternatives and not same:
        there = " or ".join(dict.fromkeys(map(_said, alternatives)))
        return _Found(of_type=[f"{path or 'the body'} ({_said(ours)} here, {there} there)"])
    found = [_fields(document, ours, one, path) for one in same]
    return min(found, key=lambda one: one.weight, default=_Found())


def _takes(theirs: Schema, ours: Schema) -> bool:
    """Tell whether a description accepts every value of our type."""
    kind, allowed = _kind(ours), _types(theirs)
    if allowed and kind not in allowed and not (kind == "integer" and "number" in allowed):
        return False
    if kind == "string" and theirs.get("format") in FORMATS:
        return False
    values = theirs.get("enum")
    return not isinstance(values, list) or all(value in values for value in _list(ours.get("enum")))


def _fields(document: Schema, ours: Schema, theirs: Schema, path: str) -> _Found:
    """Compare the items of an array or the properties of an object."""
    if _kind(ours) == "array":
        return _value(document, ours.get("items", _ANYTHING), theirs.get("items"), f"{path}[]")
    found = _Found()
    sent, described = _mapping(ours.get("properties")), _mapping(theirs.get("properties"))
    needed = [name for name in _list(theirs.get("required")) if isinstance(name, str)]
    more = theirs.get("additionalProperties", True)
    at = f"{path}." if path else ""
    if _kind(ours) != "object" or not (sent or needed):
        return found
    for name, one in sent.items():
        if name in described:
            found.add(_value(document, one, described[name], at + name))
        elif more is False:
            found.refused.append(at + name)
        elif described:  # an undescribed object misses nothing
            found.missing.append(at + name)
    for name in dict.fromkeys([*needed, *described]):
        if name not in sent:
            (found.required if name in needed else found.unknown).append(at + name)
    return found


def _alternatives(document: Schema, schema: Any, hops: int) -> Iterator[Schema]:
    """Yield the descriptions that a value may fit, each without references and combinations."""
    found = islice(_expanded(document, schema, hops), MOST_ALTERNATIVES)
    yield from found


def _expanded(document: Schema, schema: Any, hops: int) -> Iterator[Schema]:
    if not isinstance(schema, Mapping) or hops <= 0:
        yield _ANYTHING
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        for one in _expanded(document, _pointed_at(document, reference), hops - 1):
            yield _merged(one, beside)
        return
    for combination in ("anyOf", "oneOf"):
        if isinstance(schema.get(combination), list):
            rest = {name: value for name, value in schema.items() if name != combination}
            for one in schema[combination]:
                for base in _expanded(document, rest, hops - 1):
                    for other in _expanded(document, one, hops - 1):
                        yield _merged(base, other)
            return
    whole = {name: value for name, value in schema.items() if name != "allOf"}
    for one in _list(schema.get("allOf")):
        whole = _merged(whole, next(_expanded(document, one, hops - 1), _ANYTHING))
    yield whole


def _merged(one: Schema, other: Schema) -> dict[str, Any]:
    """Return both schemas as one; the second wins where they differ."""
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**_mapping(one["properties"]), **_mapping(other["properties"])}
    if "required" in one and "required" in other:
        merged["required"] = [*_list(one["required"]), *_list(other["required"])]
    return merged


def _pointed_at(document: Schema, reference: str) -> Any:
    """Return the target of a reference within the document; None for any other reference."""
    if not reference.startswith("#/"):
        return None
    steps = [unquote(step).replace("~1", "/").replace("~0", "~") for step in reference[2:].split("/")]
    return _at(document, *steps)


def _body(document: Schema, post: Any) -> Any:
    """Return the schema of the JSON body of a POST; None where it describes none."""
    body = _at(post, "requestBody")
    for _ in range(MOST_HOPS):
        reference = _at(body, "$ref")
        if not isinstance(reference, str):
            break
        body = _pointed_at(document, reference)
    for kind, content in _mapping(_at(body, "content")).items():
        if kind.partition(";")[0].strip().lower() in {"application/json", "application/*", "*/*"}:
            return _at(content, "schema")
    return None


def _kind(schema: Schema) -> str:
    """Return the type that a run sends: never null (SPEC 4)."""
    return next((name for name in sorted(_types(schema)) if name != "null"), "")


def _types(schema: Schema) -> set[str]:
    said = schema.get("type")
    found = {said} if isinstance(said, str) else {one for one in _list(said) if isinstance(one, str)}
    if not found and "properties" in schema:
        found = {"object"}
    return found if found <= {"null"} else found - {"null"}


def _said(schema: Schema) -> str:
    """Return a type in words, with its format and values where they matter."""
    kind = " or ".join(sorted(_types(schema))) or "anything"
    if schema.get("format") in FORMATS:
        return f"{kind} ({schema['format']})"
    values = schema.get("enum")
    if isinstance(values, list):
        return (
            f"{kind} ({', '.join(str(value) for value in values[:MOST_VALUES])}{', …' * (len(values) > MOST_VALUES)})"
        )
    return kind


def _is(path: str, described: str) -> bool:
    return path == described


def _fits_template(path: str, described: str) -> bool:
    """Tell whether a path matches a described one with ``{parameters}``."""
    ours, theirs = path.split("/"), described.split("/")
    return len(ours) == len(theirs) and all(
        one == other or (other.startswith("{") and other.endswith("}")) for one, other in zip(ours, theirs, strict=True)
    )


def _at(found: Any, *steps: str) -> Any:
    for step in steps:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
