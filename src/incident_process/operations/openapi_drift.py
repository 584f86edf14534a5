"""Compares the body that an OpenAPI description asks for with the one that a run sends. Pure.

The description is foreign: it may have any version, be wrong or huge, or refer to itself. None of that raises an error,
and the comparison goes no deeper than the contract.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from operator import eq
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

MOST_HOPS = 32
"""References that the comparison follows in a row."""
MOST_ALTERNATIVES = 64
"""Alternatives for one value that the comparison considers."""
MOST_STEPS = 100_000
"""Steps of one comparison, each a description or a member of one that is looked at: some tenths of a second."""
MOST_VALUES = 5
"""Allowed values of a property that a message names."""
MOST_CHARACTERS = 40
"""Characters of an allowed value that a message shows."""
FORMATS = frozenset({"date", "time", "duration", "email", "uuid", "ipv4", "ipv6", "hostname", "binary"})
"""Formats that a free text does not fit. date-time is absent: a run sends its times in it."""

Schema = Mapping[str, Any]
_ANYTHING: Schema = {}


class TooLargeError(Exception):
    """The description takes more than ``MOST_STEPS`` to compare."""


class Differences(NamedTuple):
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

    @property
    def weight(self) -> tuple[int, int]:
        """How far a description is off: first the differences that reject a body, then the others."""
        return self.rejections, len(self.missing) + len(self.unknown)

    def __bool__(self) -> bool:
        return any(map(len, self))


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
    bases += [_path(_at(server, "url")) for server in _list(_at(document, "servers"))]
    wanted = [api_path.rstrip("/").removeprefix(base) for base in bases if api_path.startswith(base)]
    described = posts(document)
    for fits in (eq, _fits_template):
        for path in dict.fromkeys(wanted):
            for one in described:
                if fits(path, one.rstrip("/")):
                    return OpenApiOperation(_body(document, _at(document, "paths", one, "post")), document)
    return None


def compare(contract: Schema, described: OpenApiOperation) -> Differences:
    """Return what differs between the contract and a described body; raise TooLargeError where it says too much."""
    return _value(_Description(described.document), contract, described.schema, "")


class _Description:
    """The whole ``document``, and the steps that the comparison may still take."""

    def __init__(self, document: Schema) -> None:
        self.document = document
        self._left = MOST_STEPS

    def take(self, steps: int) -> None:
        """Count steps; raise TooLargeError when none are left."""
        self._left -= steps
        if self._left < 0:
            raise TooLargeError


def _value(whole: _Description, ours: Schema, theirs: Any, path: str) -> Differences:
    """Compare a value that a run sends as ``ours`` with the best fitting of its descriptions."""
    described = islice(_alternatives(whole, theirs, MOST_HOPS), MOST_ALTERNATIVES)
    alternatives = [one for one in described if _types(one) != {"null"}]
    same = [one for one in alternatives if _takes(whole, one, ours)]
    if alternatives and not same:
        there = " or ".join(dict.fromkeys(map(_said, alternatives)))
        return Differences(of_type=(f"{path or 'the body'} ({_said(ours)} here, {there} there)",))
    found = [_fields(whole, ours, one, path) for one in same]
    return min(found, key=lambda one: one.weight, default=Differences())


def _takes(whole: _Description, theirs: Schema, ours: Schema) -> bool:
    """Tell whether a description accepts every value of our type."""
    kind, allowed = _kind(ours), _types(theirs)
    if allowed and kind not in allowed and not (kind == "integer" and "number" in allowed):
        return False
    if kind == "string" and _format(theirs):
        return False
    values = theirs.get("enum")
    whole.take(len(_list(values)) + len(_list(theirs.get("type"))))
    return not isinstance(values, list) or all(value in values for value in _list(ours.get("enum")))


def _fields(whole: _Description, ours: Schema, theirs: Schema, path: str) -> Differences:
    """Compare the items of an array or the properties of an object."""
    if _kind(ours) == "array":
        return _value(whole, ours.get("items", _ANYTHING), theirs.get("items"), f"{path}[]")
    sent, described = _mapping(ours.get("properties")), _mapping(theirs.get("properties"))
    needed = dict.fromkeys(name for name in _list(theirs.get("required")) if isinstance(name, str))
    whole.take(len(described) + len(_list(theirs.get("required"))))
    more = theirs.get("additionalProperties", True)
    at = f"{path}." if path else ""
    if _kind(ours) != "object" or not (sent or needed):
        return Differences()
    found = []
    for name, one in sent.items():
        if name in described:
            found.append(_value(whole, one, described[name], at + name))
        elif more is False:
            found.append(Differences(refused=(at + name,)))
        elif described:  # an undescribed object misses nothing
            found.append(Differences(missing=(at + name,)))
    required = tuple(at + name for name in needed if name not in sent)
    unknown = tuple(at + name for name in described if name not in sent and name not in needed)
    found.append(Differences(required=required, unknown=unknown))
    return Differences(*(tuple(chain.from_iterable(of_kind)) for of_kind in zip(*found, strict=True)))


def _alternatives(whole: _Description, schema: Any, hops: int) -> Iterator[Schema]:
    """Yield the descriptions that a value may fit, each without references and combinations."""
    if not isinstance(schema, Mapping) or hops <= 0:
        yield _ANYTHING
        return
    whole.take(1 + len(schema))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        whole.take(len(reference) // 16)
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        for one in _alternatives(whole, _pointed_at(whole.document, reference), hops - 1):
            yield _merged(whole, one, beside)
        return
    for combination in ("anyOf", "oneOf"):
        if isinstance(schema.get(combination), list):
            rest = {name: value for name, value in schema.items() if name != combination}
            for one in schema[combination]:
                for base in _alternatives(whole, rest, hops - 1):
                    for other in _alternatives(whole, one, hops - 1):
                        yield _merged(whole, base, other)
            return
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for one in _list(schema.get("allOf")):
        merged = _merged(whole, merged, next(_alternatives(whole, one, hops - 1), _ANYTHING))
    yield merged


def _merged(whole: _Description, one: Schema, other: Schema) -> dict[str, Any]:
    """Return both schemas as one; the second wins where they differ."""
    whole.take(
        sum(
            len(part) + len(_mapping(part.get("properties"))) + len(_list(part.get("required")))
            for part in (one, other)
        )
    )
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


def _format(schema: Schema) -> str:
    """Return the format that a description asks for, "" where a free text fits it."""
    said = schema.get("format")
    return said if isinstance(said, str) and said in FORMATS else ""


def _path(url: Any) -> str:
    """Return the path of a server's address, "" where it is none."""
    try:
        return urlsplit(url).path.rstrip("/") if isinstance(url, str) else ""
    except ValueError:
        return ""


def _said(schema: Schema) -> str:
    """Return a type in words, with its format and values where they matter."""
    kind = " or ".join(sorted(_types(schema))) or "anything"
    if form := _format(schema):
        return f"{kind} ({form})"
    values = schema.get("enum")
    if isinstance(values, list):
        said = ", ".join(_brief(value) for value in values[:MOST_VALUES])
        return f"{kind} ({said}{', …' * (len(values) > MOST_VALUES)})"
    return kind


def _brief(value: Any) -> str:
    """Return an allowed value as a message shows it: it may be huge, or nested deeper than Python can write."""
    return "…" if isinstance(value, list | dict) else str(value)[:MOST_CHARACTERS]


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
