"""The configuration in force: every key with its value, secrets masked, and the value's origin (SPEC 7)."""

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from incident_process.core.models import Record
from incident_process.settings import load
from incident_process.settings.database_urls import split_mongo_url
from incident_process.settings.key_docs import keys
from incident_process.settings.model import Settings

MASK = "********"
DEFAULT = "default"


class KeyInForce(Record, frozen=True, kw_only=True):
    """One key. ``value`` is None where it has none; ``origin`` is a file with its line, a variable, or ``default``."""

    section: str
    key: str
    value: str | None
    origin: str


def keys_in_force(
    settings: Settings, config: Path | None, environ: Mapping[str, str] | None = None
) -> list[KeyInForce]:
    """Return all keys in the order of the sections.

    Args:
        settings: The result of ``Settings.load`` with the same arguments.
        config: The file that the caller named; None where it was found in a usual place.
        environ: The environment; None: this process's.
    """
    layer, _ = load.layers(config, os.environ if environ is None else environ)
    found = []
    for key in keys():
        section, name = key.section.lower(), key.name.lower()
        value = getattr(getattr(settings, section), name)
        origin = layer.get(section, {}).get(name)
        if value and name in ("api_url", "endpoint"):
            text: str | None = _without_query(value)
        elif isinstance(value, SecretStr) and name in _ADDRESSES:
            # In a list a password's comma is written %2C; elsewhere it may stay as it is.
            addresses = value.get_secret_value().split(",") if name == "replicas" else [value.get_secret_value()]
            text = ", ".join(_without_password(address.strip()) for address in addresses)
        else:
            text = _shown(value)
        place = DEFAULT if origin is None or not str(origin) else origin.place
        found.append(KeyInForce(section=key.section, key=key.name, value=text, origin=place))
    return found


_ADDRESSES = frozenset({"url", "mongo_url", "replicas"})
"""Keys that are secret only for the password in their values."""


def _without_password(address: str) -> str:
    """Return a database's address without password and options."""
    scheme, separator, rest = address.partition("://")
    if scheme.startswith("mongodb"):
        credentials, hosts, database = split_mongo_url(address)
        place, options = f"{hosts}{database and '/'}{database}", f"?{MASK}" if "?" in rest else ""
    else:
        credentials, place, options = *rest.rpartition("@")[::2], ""
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{colon}{MASK if colon else ''}{credentials and '@'}{place}{options}"


def _without_query(url: str) -> str:
    """Return an address without its query, where people put tokens."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=MASK)) if parts.query else url


def _shown(value: Any) -> str | None:
    match value:
        case SecretStr():
            text: str | None = MASK
        case bool():
            text = "on" if value else "off"
        case enum.Enum():
            text = str(value.value)
        case Mapping():
            text = ", ".join(f"{name}: {MASK}" for name in value) or None
        case tuple():
            text = ", ".join(MASK for _ in value) or None
        case float():
            text = str(int(value)) if value.is_integer() else str(value)
        case _:
            text = None if value is None else str(value)
    return text
