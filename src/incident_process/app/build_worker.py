"""A process that reads and builds for a run, and can do nothing else: it knows neither state nor receiver.

``app.build_pool`` starts it on a safe path (``core.safe_path``), with one end of a socket as its file descriptor N.
First it receives the settings, pickled: they hold passwords, which must be neither in arguments nor in the environment.
Then it receives requests. It answers each with its result, or with nothing where it failed: the run's process then
builds the request itself, and meets the error, if any, with its full context.
"""

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys

import msgspec
import uvloop

from incident_process.app.factory import make_source
from incident_process.app.frames import BUFFER_BYTES, read_frame, write_frame
from incident_process.core.aio import run_all_or_cancel
from incident_process.core.errors import IncidentProcessError
from incident_process.core.gc_tuning import rare_collections
from incident_process.pipeline.transform import BuildRequest, LocalBuilder

READY = b"ready"
FAILED = b""


async def serve(descriptor: int) -> None:
    """Answer requests until the other side closes or ends."""
    stream = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_connection(sock=stream, limit=BUFFER_BYTES)
    message = await read_frame(reader)
    if message is None:
        return
    settings = pickle.loads(message)  # noqa: S301  # from the process that started this one, over a private socket
    async with make_source(settings) as source:
        builder = LocalBuilder(source, settings.process.zone)
        write_frame(writer, READY)
        with rare_collections():
            await _answer_all(reader, writer, builder)


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, builder: LocalBuilder) -> None:
    """Answer requests in their order; the database reads the rows of one while this process builds another."""
    decode = msgspec.msgpack.Decoder(BuildRequest).decode
    answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()

    async def take() -> None:
        while (message := await read_frame(reader)) is not None:
            answers.put_nowait(asyncio.create_task(_answer(builder, decode(message))))
        answers.put_nowait(None)

    async def hand_back() -> None:
        while (answer := await answers.get()) is not None:
            write_frame(writer, await answer)
            await writer.drain()

    await run_all_or_cancel(take, hand_back)


async def _answer(builder: LocalBuilder, task: BuildRequest) -> bytes:
    try:
        return msgspec.msgpack.encode(await builder.build(task))
    except IncidentProcessError:
        return FAILED


def main() -> None:
    """Serve, and ignore signals that are meant for the run: this process ends when the run's process closes or ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        uvloop.run(serve(int(sys.argv[1])))
    except (IncidentProcessError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main()
