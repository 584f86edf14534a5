"""Messages between this process and those that build for it: a length of four bytes, then so many bytes."""

import asyncio

LENGTH_BYTES = 4
BUFFER_BYTES = 4 * 1024 * 1024
"""How much may wait unread: about what a chunk of 1,000 accounts comes to."""


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next message, None where the other side has closed or is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return None


def write_frame(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send a message, without waiting until it is taken."""
    writer.write(len(message).to_bytes(LENGTH_BYTES, "little"))
    writer.write(message)
