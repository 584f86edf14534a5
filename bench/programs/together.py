"""Read, post and write at once, raw: the upper limit for every program made of these parts.

``together.py BODIES STATE COUNT CONNECTIONS CHUNK URL HOST PORT USER DATABASE``, the password in BENCH_PASSWORD: the
rows of ``read.py`` in a process of their own, the requests of ``post.py`` here, the writes of ``sqlite_writes.py`` in
a thread beside them, as the product has them. Nothing waits for anything else, nothing is made of the rows, and what is
posted lies there ready. It prints the seconds until the last of the three was done, the start of the processes not
counted but that of the reading.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench.programs import read
from bench.programs.post import post
from bench.programs.sqlite_writes import write


async def together(
    bodies: list[tuple[str, bytes]], state: Path, count: int, connections: int, chunk: int, url: str, *database: str
) -> float:
    """Read all rows, post ``count`` bodies and write as many incidents; return how many seconds that took."""
    began = time.perf_counter()
    reading = await asyncio.create_subprocess_exec(sys.executable, read.__file__, *database, stdout=sys.stderr)
    await asyncio.gather(
        post(url, bodies, count, connections), asyncio.to_thread(write, state, bodies, count, chunk), reading.wait()
    )
    if reading.returncode:
        raise RuntimeError(f"the reading ended with status {reading.returncode}")
    return time.perf_counter() - began


if __name__ == "__main__":
    _file, _state, _count, _connections, _chunk, _url, *_database = sys.argv[1:]
    _bodies = msgspec.msgpack.decode(Path(_file).read_bytes(), type=list[tuple[str, bytes]])
    _sizes = int(_count), int(_connections), int(_chunk)
    sys.stdout.write(f"{uvloop.run(together(_bodies, Path(_state), *_sizes, _url, *_database))}\n")
