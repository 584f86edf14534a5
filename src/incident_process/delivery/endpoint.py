"""Where to post: an address split into the parts that a connection and a request need (RFC 3986, RFC 9112)."""

from urllib.parse import quote, urlsplit

from incident_process.core.models import Record

_PORTS = {"http": 80, "https": 443}
_SAFE = "/:@!$&'()*+,;=~-._%"
"""Characters that stay as they are in a path; ``%`` too, so that no encoded character is encoded again."""


class Endpoint(Record, frozen=True, kw_only=True):
    """An http or https address. ``target`` is what a request asks for, ``authority`` its Host."""

    host: str
    port: int
    tls: bool
    target: str
    authority: str

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(url: str) -> Endpoint:
    """Return the parts of an address; raise ValueError when the sender cannot post to it."""
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
    """Return the receiver that an address leads to, in the form for messages and state: ``https://host:443/path``.

    It leaves out credentials and query, which may hold secrets, and always names the port. Raises ValueError when the
    sender cannot post to the address.
    """
    address = parse_address(url)
    scheme = "https" if address.tls else "http"
    return f"{scheme}://{address.place}{address.target.partition('?')[0]}"
