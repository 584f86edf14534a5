"""A connection that is reset in the moment in which it is made, as a storm's cuts do: no answer, and no other fault.

The moment is a matter of microseconds, so it is tried many times; the event loop is the one that the command uses.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from zoneinfo import ZoneInfo

import pytest
import uvloop
from pydantic import SecretStr

from incident_process.core.errors import DatabaseConnectionError
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source.mysql import MySQLDriver
from incident_process.state.sql import SqlStateStore

TIMES = 300


@pytest.fixture
def resetting_port() -> Iterator[int]:
    """A port where each connection is taken and reset at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reset_all() -> None:
            while True:
                connection, _ = server.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                if done.is_set():
                    return

        done = threading.Event()
        thread = threading.Thread(target=reset_all)
        thread.start()
        port = int(server.getsockname()[1])
        yield port
        done.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()


async def connect_source(port: int) -> None:
    driver = MySQLDriver(
        MySQLTarget(host="127.0.0.1", port=port, user="reader", password=SecretStr("secret"), database="field")
    )
    try:
        await driver.connect()
    except Exception as error:
        raise driver.translate(error) or error from error
    finally:
        await driver.drop()


async def connect_state(port: int) -> None:
    async with SqlStateStore(f"mysql://user:secret@127.0.0.1:{port}/state", "operation", ZoneInfo("UTC")):
        raise AssertionError("nobody is there")


@pytest.mark.parametrize("connect", [connect_source, connect_state])
def test_a_connection_reset_while_it_is_made(resetting_port: int, connect: Callable[[int], Awaitable[None]]) -> None:
    async def try_often() -> None:
        for _ in range(TIMES):
            with pytest.raises(DatabaseConnectionError):
                await connect(resetting_port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(try_often())
