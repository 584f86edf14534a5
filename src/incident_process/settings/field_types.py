"""The kinds of values in a configuration, stricter than pydantic where its tolerance would hide a mistake.

A validator that raises ``ValueError`` says what is wrong and what would be right, as the end of a sentence that
starts with the key ("… names a file that does not exist: …"). Every other fault is explained by the field's type and
bounds. No message here holds the value: ``messages`` alone decides whether to show it.
"""

import difflib
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, AllowInfNan, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_OWN_HEADERS = frozenset({"content-type", "accept", "idempotency-key", "content-length", "transfer-encoding", "host"})


class Expected(NamedTuple):
    """A right value in words, where type and bounds do not say it all."""

    text: str


class Needed(NamedTuple):
    """When the key must be given, in words, for the reference and the template."""

    text: str


class Hidden(NamedTuple):
    """A value that is no secret itself, but where people put one: errors never show it."""


def _matching(pattern: re.Pattern[str], value: Any) -> Any:
    if isinstance(value, str) and not pattern.fullmatch(value):
        raise PydanticCustomError("notation", "not in the expected notation")
    return value


def _off_is_zero(value: Any) -> Any:
    return "0" if isinstance(value, str) and value.lower() == "off" else value


def _switch(value: Any) -> Any:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _SWITCH.get(value.lower(), value.lower()) if isinstance(value, str) else value


_SWITCH = {**dict.fromkeys(("true", "yes", "1"), "on"), **dict.fromkeys(("false", "no", "0"), "off")}


def _existing_file(path: Path) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, and no home folder is known for this user: give the whole path") from None
    try:
        with path.open("rb"):
            return path
    except OSError as exc:
        raise ValueError(f"names a file that cannot be read ({exc.strerror}): give the path of a PEM file") from None


def parse_headers(value: Any) -> Any:
    """Read ``Name: value`` lines into a mapping, and check names and values of a mapping in the same way.

    Raises:
        ValueError: A line is no header, a name is no HTTP token, comes twice or is one that the program itself sets,
            or a value cannot be sent. The message gives the line's number, never its text, which may hold a credential.
    """
    if isinstance(value, str):
        lines = [line.strip() for line in value.splitlines() if line.strip()]
        pairs = [line.partition(":")[::2] if ":" in line else ("", "") for line in lines]
    elif isinstance(value, Mapping):
        pairs = [
            (name, item.get_secret_value() if isinstance(item, SecretStr) else item) for name, item in value.items()
        ]
    else:
        return value
    headers: dict[str, SecretStr] = {}
    seen: set[str] = set()
    for place, (raw_name, raw_value) in enumerate(pairs, start=1):
        name, text = raw_name.strip(), raw_value.strip()
        _check_header(place, name, text)
        if name.lower() in seen:
            raise ValueError(f"gives the header {name} twice: keep one of them")
        seen.add(name.lower())
        headers[name] = SecretStr(text)
    return headers


def _check_header(place: int, name: str, text: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"is no header in its line {place}: write one `Name: value` a line")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"sets {name}, which the program sets itself: remove it")
    if CONTROL.search(text) or not text.isascii():
        raise ValueError(
            f"has a control or non-ASCII character in its line {place}: headers carry printable ASCII only"
        )


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    Raises:
        ValueError: There is no such zone. The message is the end of a sentence, with the nearest name if there is one.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, a path, a folder of the time zone database
        known = {zone.casefold(): zone for zone in available_timezones()}
        near = difflib.get_close_matches(name.casefold(), sorted(known), n=1, cutoff=0.7)
    hint = f"did you mean {known[near[0]]}?" if near else "write a name such as UTC or Asia/Colombo"
    raise ValueError(f"names no time zone: {hint}")


# pydantic also accepts 1_000 and 5.0, which other readers of the same file do not.
Whole = Annotated[int, BeforeValidator(partial(_matching, _WHOLE))]
"""An integer in plain digits."""
Number = Annotated[float, BeforeValidator(partial(_matching, _NUMBER)), AllowInfNan(False)]
"""A finite decimal number in plain digits."""
Days = Annotated[Whole, BeforeValidator(_off_is_zero)]
"""A number of days; ``off`` means 0."""
File = Annotated[Path, AfterValidator(_existing_file)]
"""A file that exists and that this process can read."""
SWITCH = BeforeValidator(_switch)
"""``on`` or ``off``, in any usual spelling of yes and no, among further words."""
LOWER = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
"""A word from a list, in any case."""
UPPER = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
"""A word from a list, in any case."""
Headers = Annotated[Mapping[str, SecretStr], BeforeValidator(parse_headers), Expected("one `Name: value` a line")]
"""HTTP headers, their values secret."""
