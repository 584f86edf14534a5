"""Post bodies as fast as the product's HTTP client can, and nothing else: ``post.py URL BODIES COUNT CONNECTIONS``.

The same client with the same settings and event loop as the product, the same bodies and headers. One worker for each
connection, as the client has no cheaper way. It prints the seconds that posting alone took, without start and end.
"""

import asyncio
import itertools
import sys
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import uvloop
from pyreqwest.client import ClientBuilder


async def post(url: str, bodies: list[tuple[str, bytes]], count: int, connections: int) -> float:
    """Post the bodies in turn, ``count`` requests in all; return how many seconds that took."""
    waiting = itertools.islice(itertools.cycle(bodies), count)
    builder = (
        ClientBuilder()
        .default_headers({"Content-Type": "application/json", "Accept": "application/json"})
        .no_proxy()
        .follow_redirects(False)
        .timeout(timedelta(seconds=30))
        .pool_max_idle_per_host(connections)
    )
    async with builder.build() as client:

        async def work() -> None:
            for key, body in waiting:
                response = await client.post(url).header("Idempotency-Key", key).body_bytes(body).build().send()
                if response.status != 201:
                    raise RuntimeError(f"the receiver answered {response.status}")

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        return time.perf_counter() - began


if __name__ == "__main__":
    _url, _file, _count, _connections = sys.argv[1:]
    _bodies = msgspec.msgpack.decode(Path(_file).read_bytes(), type=list[tuple[str, bytes]])
    sys.stdout.write(f"{uvloop.run(post(_url, _bodies, int(_count), int(_connections)))}\n")
