"""A program that listens on a MySQL server's port in its place: it asks for passwords, and answers what it likes."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CAPABILITIES = 0x1 | 0x4 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000 | 0x200000  # without TLS
_SALT = b"abcdefghijklmnopqrst"
_OK = b"\0\0\0\x02\0\0\0"
_PROMPT = {"dialog": b"\x03Password: "}


@dataclass
class RogueServer:
    """``answers``: what clients have sent after what the server asked for."""

    port: int
    answers: list[bytes] = field(default_factory=list)


@contextmanager
def rogue_server(greets: str, asks: str = "", answer: bytes | None = None) -> Iterator[RogueServer]:
    """Yield a server that names one login in its greeting and asks for another.

    With ``answer`` it lets everybody in, answers the first SELECT with this packet, and all before with OK.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rogue = RogueServer(listening.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.settimeout(5)
                with connection, suppress(OSError, EOFError):
                    _greet(connection, greets)
                    if answer is None:
                        _ask(connection, rogue, asks)
                    else:
                        _let_in(connection, rogue, answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield rogue
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _greet(connection: socket.socket, greets: str) -> None:
    low, high = struct.pack("<H", _CAPABILITIES & 0xFFFF), struct.pack("<H", _CAPABILITIES >> 16)
    greeting = b"\x0a8.0.36\0" + struct.pack("<I", 7) + _SALT[:8] + b"\0" + low + b"\x2d\x02\0" + high + bytes([21])
    _send(connection, 0, greeting + b"\0" * 10 + _SALT[8:] + b"\0" + greets.encode() + b"\0")


def _let_in(connection: socket.socket, rogue: RogueServer, answer: bytes) -> None:
    command = b""
    while not command.startswith(b"\x03SELECT"):
        number, command = _receive(connection)
        _send(connection, number + 1, answer if command.startswith(b"\x03SELECT") else _OK)
    rogue.answers.append(_receive(connection)[1])


def _ask(connection: socket.socket, rogue: RogueServer, asks: str) -> None:
    number, _ = _receive(connection)
    _send(connection, number + 1, b"\xfe" + asks.encode() + b"\0" + _PROMPT.get(asks, _SALT + b"\0"))
    number, answer = _receive(connection)
    rogue.answers.append(answer)
    _send(connection, number + 1, b"\xff\x15\x04#28000Access denied")


def _send(connection: socket.socket, number: int, body: bytes) -> None:
    connection.sendall(struct.pack("<I", len(body))[:3] + bytes([number]) + body)


def _receive(connection: socket.socket) -> tuple[int, bytes]:
    head = _exactly(connection, 4)
    return head[3], _exactly(connection, int.from_bytes(head[:3], "little"))


def _exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = connection.recv(size - len(got))
        if not more:
            raise EOFError
        got += more
    return got
