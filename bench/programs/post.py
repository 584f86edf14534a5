"""Post bodies as fast as the product's HTTP client can, and nothing else: ``post.py URL BODIES COUNT CONNECTIONS``.

The same client with the same settings and event loop as the product, the same bodies and headers. One worker for each
connection, as the client has no cheaper way. It prints the seconds that posting alone took, without start and end.
"""

import asyncio
import itertools
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from incident_process.delivery.http.transport import HttpTransport

TIMEOUT_SECONDS = 30.0
"""The product's default."""


async def post(url: str, bodies: list[tuple[str, bytes]], count: int, connections: int) -> float:
    """Post the bodies in turn, ``count`` requests in all; return how many seconds that took."""
    waiting = itertools.islice(itertools.cycle(bodies), count)
    async with HttpTransport(url, {}, TIMEOUT_SECONDS, None) as transport:

        async def work() -> None:
            for key, body in waiting:
                answer = await transport.post(body, key)
                if answer.status != 201:
                    raise RuntimeError(f"the receiver answered {answer.status or answer.error}")

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        return time.perf_counter() - began


if __name__ == "__main__":
    _url, _file, _count, _connections = sys.argv[1:]
    _bodies = msgspec.msgpack.decode(Path(_file).read_bytes(), type=list[tuple[str, bytes]])
    sys.stdout.write(f"{uvloop.run(post(_url, _bodies, int(_count), int(_connections)))}\n")
