"""The checks of every request, and the headers of every answer.

In this order: the Host is a name of this page (against DNS rebinding); another site may ask for the empty page only;
the method is known; a change comes from the page itself (Origin, JSON, session token); a request for data comes from a
signed-in user where a token is set. The page itself has no data: its scripts ask for them with the session token, which
no other origin has (see ``access``).
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from incident_process.core.http_server import is_loopback
from incident_process.dashboard.access import Access, SignInSession
from incident_process.dashboard.responses import Json, problem

COOKIE = "incident_session"
SESSION_HEADER = "x-csrf-token"
"""Has the session token. A page of another origin needs permission to send it, and gets none."""
OWN_SITE = frozenset({"same-origin", "none"})
"""Values of ``Sec-Fetch-Site`` for requests by the page itself, and by the browser's address bar."""
OPEN_PATHS = frozenset({"/api/session", "/api/sign-in"})
"""Paths that need no sign-in."""

NO_TOKEN = (
    "Changes need a token, and none is set: give [DASHBOARD] token 16 or more characters in the configuration, "  # noqa: S105  # a sentence, no secret
    "start the dashboard again and sign in."
)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Hosts:
    """The host names under which the page answers.

    Args:
        names: Exact names, in lower case.
        any_address: Whether it answers under every IP address, too. A foreign name that points here is no address.
    """

    def __init__(self, names: Collection[str], *, any_address: bool) -> None:
        self._names = frozenset(names)
        self._any_address = any_address

    def know(self, host: str) -> bool:
        """Return whether the Host header, with or without a port, has one of these names."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def host_names(host: str, further: Collection[str]) -> Hosts:
    """Return the names for the address on which the page listens, with those of ``allowed_hosts``."""
    own = {"localhost", "127.0.0.1", "::1"} | set(further)
    if is_loopback(host):
        return Hosts(own, any_address=False)
    return Hosts(own | {host.lower(), socket.gethostname().lower()}, any_address=True)


class SecurityMiddleware:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, access: Access, hosts: Hosts) -> None:
        self._app = app
        self._access = access
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that fails a check, pass on the others with ``scope["session"]`` (None: not signed in)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        scope["session"] = self._access.session(cookie_of(headers), headers.get(SESSION_HEADER))
        refused = self._refusal(scope, headers)
        await (refused or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Json | None:
        if len(headers.getlist("host")) != 1 or not self._hosts.know(headers["host"]):
            return problem(
                400, "This page is not known by that name: open it by its own address, or name it in allowed_hosts."
            )
        session: SignInSession | None = scope["session"]
        path, method = scope["path"], scope["method"]
        if path != "/" and headers.get("sec-fetch-site", "same-origin") not in OWN_SITE:
            return problem(403, "This has to be asked for by the page itself, not by another site.")
        if method == "POST":
            return self._forged(headers, path, session)
        if method not in {"GET", "HEAD"}:
            return problem(405, "Only GET, HEAD and POST are answered here.")
        if path.startswith("/api/") and path not in OPEN_PATHS and self._access.has_token and session is None:
            return problem(401, "Sign in with the token first.")
        return None

    def _forged(self, headers: Headers, path: str, session: SignInSession | None) -> Json | None:
        """Return the refusal of a change that does not come from the page or from a user who may; else None."""
        checks = (
            (
                _origin_host(headers.get("origin")) == headers["host"].lower(),
                (403, "A change has to come from this page itself: its Origin is missing or another."),
            ),
            (
                headers.get("sec-fetch-site", "same-origin") == "same-origin",
                (403, "A change has to come from this page itself, not from another site."),
            ),
            (
                headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json",
                (415, "A change has to be sent as application/json."),
            ),
            (self._access.has_token, (403, NO_TOKEN)),
            (
                session is not None or path in OPEN_PATHS or self._access.knows(cookie_of(headers)),
                (401, "Sign in with the token first."),
            ),
            (
                session is not None or path in OPEN_PATHS,
                (403, "The session's token is missing or wrong: load the page again."),
            ),
        )
        return next((problem(*answer) for passed, answer in checks if not passed), None)


def cookie_name(headers: Headers) -> str:
    """Return the name of the session's cookie, with the port: browsers share cookies between ports."""
    try:
        port = urlsplit(f"//{headers.get('host', '')}").port
    except ValueError:
        port = None
    return COOKIE if port is None else f"{COOKIE}_{port}"


def cookie_of(headers: Headers) -> str | None:
    """Return the session's cookie, None where there is none."""
    # Browsers send the cookies of every port of the host, and other programs write what they like into theirs. Python's
    # own parser drops all of them for one that it does not know.
    name, found = cookie_name(headers), None
    for part in headers.get("cookie", "").split(";"):
        key, equals, value = part.partition("=")
        if equals and key.strip() == name:
            found = value.strip()
    return found


def _origin_host(origin: str | None) -> str | None:
    try:
        parts = urlsplit(origin or "")
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} and parts.netloc else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
