"""Where to post: an address in the parts that a connection and a request need (RFC 3986, RFC 9112)."""

from urllib.parse import quote, urlsplit

from incident_process.core.models import Record

_PORTS = {"http": 80, "https": 443}
_SAFE = "/:@!$&'()*+,;=~-._%"
"""What stands in a path as it is; ``%`` too, for what is encoded already must not be encoded again."""


class Endpoint(Record, frozen=True, kw_only=True):
    """An http or https address. ``target`` is what a request asks for, ``authority`` its Host."""

    host: str
    port: int
    tls: bool
    target: str
    authority: str


def parse_address(url: str) -> Endpoint:
    """Return the parts of an address; raise ValueError when nothing can be posted to it."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host or parts.port == 0:
        raise ValueError("no http:// or https:// address with a host")
    if not host.isascii():
        raise ValueError("a host in other letters, of which there is more than one ASCII form")
    usual = _PORTS[parts.scheme]
    port = parts.port or usual
    named = f"[{host}]" if ":" in host else host
    query = f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    return Endpoint(
        host=host,
        port=port,
        tls=parts.scheme == "https",
        target=(quote(parts.path, safe=_SAFE) or "/") + query,
        authority=named if port == usual else f"{named}:{port}",
    )


def receiver_place(url: str) -> str:
    """Return the receiver that an address leads to, as it may be shown and remembered.

    Without credentials and query, which may hold secrets; always with the port: ``https://host:443/path``. Raises
    ValueError when nothing can be posted to the address.
    """
    address = parse_address(url)
    scheme = "https" if address.tls else "http"
    named = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{named}:{address.port}{address.target.partition('?')[0]}"
