"""A TCP proxy that can misbehave as a network does: cut, stall, swallow answers, refuse. For one port of this machine.

It forwards bytes and knows no protocol, so it stands before a database as well as before an HTTP service. It lives in
a thread of its own; its methods may be called from any thread, and return once what they ask for is in force.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

HOST = "127.0.0.1"
READ_BYTES = 65_536
CALL_SECONDS = 15.0

T = TypeVar("T")


class TcpProxy:
    """A context manager. ``port`` is where clients connect; it stays the same for as long as the proxy lives."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        # Bound and never listening: it keeps the port, so that the system refuses a client there.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._placeholder.bind((HOST, 0))
        self.port = int(self._placeholder.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._muted = False
        self._rewritten: dict[bytes, bytes] = {}
        self._held_at: tuple[bytes, bytes] | None = None
        self.held = False
        """Whether ``hold_at`` has come to its place."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._admit())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()
        self._placeholder.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def cut(self) -> int:
        """Reset all connections without a goodbye to either side; return how many there were."""
        return self._call(self._cut())

    def stall(self) -> None:
        """Let nothing pass in either direction until ``resume``; accept new connections, and let them stall too."""
        self._call(self._set(flowing=False))

    def mute(self) -> None:
        """Let requests pass and swallow the answers, until ``resume`` or a cut."""
        self._call(self._set(muted=True))

    def resume(self) -> None:
        """Forward again, first what was held back. Connections that lost answers have no use any more and are cut."""
        self._call(self._set())

    def rewrite(self, asked: bytes, into: bytes) -> None:
        """Pass on ``into``, of the same length, in place of ``asked``, as a meddling proxy does."""
        assert len(asked) == len(into)
        self._rewritten[asked] = into

    def hold_at(self, said: bytes, *, after: bytes) -> None:
        """Let nothing pass until ``resume``, once a client has sent ``after`` and then ``said``."""
        self._held_at = (said, after)

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, until ``admit``."""
        self._call(self._refuse())

    def admit(self) -> None:
        """Take connections again."""
        self._call(self._admit())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _set(self, *, flowing: bool = True, muted: bool = False) -> None:
        if self._muted and not muted:
            await self._cut(which=[task for task, link in self._links.items() if link.swallowed])
        self._muted = muted
        (self._flowing.set if flowing else self._flowing.clear)()

    async def _cut(self, which: list[asyncio.Task[None]] | None = None) -> int:
        tasks = list(self._links) if which is None else which
        for task in tasks:
            self._links[task].reset()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _admit(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, HOST, self.port, reuse_port=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        # Its first step comes later, so the link is known before anything can happen to it.
        task = self._loop.create_task(self._serve(link, reader))
        self._links[task] = link
        task.add_done_callback(lambda done: self._links.pop(done, None))

    async def _serve(self, link: "_Link", reader: asyncio.StreamReader) -> None:
        try:
            answers, upstream = await asyncio.open_connection(HOST, self._upstream)
            link.upstream = upstream
            await asyncio.gather(self._pump(link, reader, upstream), self._pump(link, answers, link.client))
        except OSError:
            link.reset()  # one side is gone: so is the other
        finally:
            link.close()

    async def _pump(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            if writer is not link.client and self._held_at is not None:
                said, after = self._held_at
                link.is_near = link.is_near or after in data
                if link.is_near and said in data:
                    self._held_at, self.held = None, True
                    self._flowing.clear()
            await self._flowing.wait()
            if self._muted and writer is link.client:
                link.swallowed = True
                continue
            if writer is not link.client:
                for asked, into in self._rewritten.items():
                    data = data.replace(asked, into)
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


class _Link:
    """One client's connection with its continuation to the service."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.upstream: asyncio.StreamWriter | None = None
        self.swallowed = False
        self.is_near = False

    def reset(self) -> None:
        """Close both with a reset instead of a goodbye."""
        for writer in filter(None, (self.client, self.upstream)):
            bare: socket.socket | None = writer.get_extra_info("socket")
            if bare is not None and bare.fileno() >= 0:
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        for writer in filter(None, (self.client, self.upstream)):
            writer.close()
