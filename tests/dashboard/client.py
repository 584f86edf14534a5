"""Requests to a dashboard as anybody can make them, header by header; nothing here knows how the dashboard works."""

import http.client
import json
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.dashboard.site import Served


class Answer(NamedTuple):
    """What came back; ``content`` is the JSON, or None where it is none."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    content: Any


class Client:
    """One browser's worth of state: the cookie and the session token, once signed in."""

    def __init__(self, served: Served) -> None:
        parts = urlsplit(served.url)
        assert parts.hostname
        assert parts.port
        self.host, self.port = parts.hostname, parts.port
        self.origin = f"http://{parts.netloc}"
        self.cookie: str | None = None
        self.session_token: str | None = None

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for something as the page would; ``_`` in names of headers stands for ``-``."""
        token = {"X-CSRF-Token": self.session_token} if self.session_token else {}
        return self.ask("GET", path, None, token | {name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, content: Any, **headers: str | None) -> Answer:
        """Send a change as the page would; a header given as None is left out, ``_`` in names stands for ``-``."""
        usual: dict[str, str | None] = {
            "Origin": self.origin,
            "Content-Type": "application/json",
            "X-CSRF-Token": self.session_token,
        }
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        every = {name: value for name, value in (usual | changed).items() if value is not None}
        return self.ask("POST", path, json.dumps(content).encode(), every)

    def sign_in(self, token: str, user: str = "Ada") -> Answer:
        answer = self.post("/api/sign-in", {"token": token, "user": user})
        cookie = answer.headers["Set-Cookie"]
        if cookie:
            self.cookie = cookie.partition(";")[0]
            self.session_token = answer.content["session_token"]
        return answer

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        cookie = {"Cookie": self.cookie} if self.cookie else {}
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=20)) as connection:
            connection.request(method, path, body, {**cookie, **headers})
            response = connection.getresponse()
            read = response.read()
        content = json.loads(read) if response.headers.get_content_type() == "application/json" and read else None
        return Answer(response.status, response.headers, read, content)
