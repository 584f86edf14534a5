"""The event loop closes what a cancelled connect leaves, so that nothing depends on when the garbage collector runs."""

import asyncio
import contextlib
import socket

import pytest

from incident_process.core.event_loop import Loop


def test_a_connect_that_is_cancelled_closes_its_socket() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than the server's queue holds: the last one is not answered
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        late = stack.enter_context(socket.socket())
        late.setblocking(False)

        async def connect() -> None:
            async with asyncio.timeout(0.1):
                await asyncio.get_running_loop().sock_connect(late, server.getsockname())

        with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(TimeoutError):
            runner.run(connect())
        assert late.fileno() == -1


def test_a_connect_that_comes_about_leaves_the_socket_open() -> None:
    async def connect(server: socket.socket, client: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, server.getsockname())
        accepted, _ = await loop.sock_accept(server)
        with accepted:
            await loop.sock_sendall(accepted, b"hello")
        return await loop.sock_recv(client, 5)

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        server.setblocking(False)
        client.setblocking(False)
        with asyncio.Runner(loop_factory=Loop) as runner:
            assert runner.run(connect(server, client)) == b"hello"
