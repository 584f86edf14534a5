"""Messages between a run's process and its build processes: four bytes of length, then so many bytes."""

import asyncio

LENGTH_BYTES = 4
BUFFER_BYTES = 4 * 1024 * 1024
"""Bytes that may wait unread: about the result of a chunk of 1,000 accounts."""


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next message; None where the other side has closed or ended."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return None


def write_frame(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send a message, without waiting until the other side has taken it."""
    writer.write(len(message).to_bytes(LENGTH_BYTES, "little"))
    writer.write(message)
