"""A local HTTP server that keeps what it is sent: it stands for a chat, a mail gateway, a collector of traces, and
for receivers that are told what to answer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class HeardRequest:
    """One request; the names of its headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with more than a status."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Listener:
    """``heard`` grows; it answers ``status``, unless ``judge`` decides the answer to a body."""

    def __init__(self) -> None:
        self.judge: Callable[[bytes], int | Reply] = lambda _: self.status
        self.heard: list[HeardRequest] = []
        self.status = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                listener.heard.append(HeardRequest(path=self.path, headers=headers, body=body))
                said = listener.judge(body)
                if isinstance(said, int):
                    said = Reply(status=said)
                self.send_response(said.status)
                for name, value in {**said.headers, "Content-Length": str(len(said.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def listening() -> Iterator[Listener]:
    """Run a listener on a free port."""
    listener = Listener()
    try:
        yield listener
    finally:
        listener.close()
