"""A local mail server that keeps what it is sent."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """``letters`` grows; ``address`` is where it listens."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        letters = self.letters

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say(b"220 here")
                for line in self.rfile:
                    if line.upper().startswith(b"QUIT"):
                        self._say(b"221 until then")
                        return
                    if line.upper().startswith(b"DATA"):
                        self._say(b"354 go on")
                        letters.append(
                            message_from_bytes(b"".join(iter(self.rfile.readline, b".\r\n")), policy=policy.default)
                        )
                    self._say(b"250 well")

            def _say(self, line: bytes) -> None:
                self.wfile.write(line + b"\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run one for the time of the block."""
    made = MailServer()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
