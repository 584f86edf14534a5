"""Answers are kept for a moment: many readers ask no more than one, and what is slow is asked for less often."""

import asyncio
from collections.abc import Callable

import pytest

from incident_process.core.errors import DatabaseConnectionError
from incident_process.dashboard.single_flight_cache import LEAST_SECONDS, SHARE, SingleFlightCache


class Clock:
    """Seconds that grow when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """A reading that counts how often it was done, and takes as long as the clock says."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        self.clock, self.seconds, self.done = clock, seconds, 0

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self.clock.now += self.seconds
        self.done += 1
        return self.done


def test_fifty_readers_at_once_are_one_reading() -> None:
    async def scene() -> None:
        clock = Clock()
        keep, counter = SingleFlightCache(clock), Counter(clock)
        assert set(await asyncio.gather(*(keep.get("key", counter) for _ in range(50)))) == {1}
        clock.now += LEAST_SECONDS - 0.01
        assert await keep.get("key", counter) == 1
        clock.now += 0.02
        assert await keep.get("key", counter) == 2

    asyncio.run(scene())


def test_what_takes_long_is_kept_for_longer() -> None:
    async def scene() -> None:
        clock = Clock()
        keep, counter = SingleFlightCache(clock), Counter(clock, seconds=3.0)
        await keep.get("key", counter)
        clock.now += LEAST_SECONDS
        assert await keep.get("key", counter) == 2, "the first reading opens connections: it is no measure"
        clock.now += 3.0 * SHARE - 0.1
        assert await keep.get("key", counter) == 2
        clock.now += 0.2
        assert await keep.get("key", counter) == 3

    asyncio.run(scene())


def test_while_a_value_is_renewed_the_old_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incident_process.dashboard.single_flight_cache.PATIENCE_SECONDS", 0.02)

    async def scene() -> None:
        clock = Clock()
        keep = SingleFlightCache(clock)
        assert await keep.get("key", _after(None, "old")) == "old"
        clock.now += 60
        gate = asyncio.Event()
        assert await keep.get("key", _after(gate, "new")) == "old"
        assert await keep.get("key", _never_called) == "old"
        gate.set()
        await keep.close()
        assert await keep.get("key", _never_called) == "new"

    asyncio.run(scene())


def test_an_error_is_kept_and_told_to_everybody_and_then_tried_again() -> None:
    async def scene() -> None:
        clock = Clock()
        keep, counter = SingleFlightCache(clock), Counter(clock)

        async def failing() -> int:
            clock.now += 1.5
            await counter()
            raise DatabaseConnectionError("away")

        for _ in range(3):
            with pytest.raises(DatabaseConnectionError):
                await keep.get("key", failing)
        assert counter.done == 1
        clock.now += LEAST_SECONDS
        assert await keep.get("key", counter) == 2, "that it is back is seen soon, however long it took to fail"

    asyncio.run(scene())


def test_a_reader_who_leaves_does_not_end_the_reading() -> None:
    async def scene() -> None:
        clock = Clock()
        keep, gate = SingleFlightCache(clock), asyncio.Event()
        leaving = asyncio.create_task(keep.get("key", _after(gate, "value")))
        staying = asyncio.create_task(keep.get("key", _never_called))
        await asyncio.sleep(0)
        leaving.cancel()
        gate.set()
        assert await staying == "value"

    asyncio.run(scene())


def test_forgetting_and_the_bound_on_keys() -> None:
    async def scene() -> None:
        clock = Clock()
        keep, counter = SingleFlightCache(clock), Counter(clock)
        await keep.get("key", counter)
        keep.forget()
        assert await keep.get("key", counter) == 2
        for key in range(100):
            await keep.get(key, counter)
        assert await keep.get("key", counter) == 103, "the oldest keys make room"

    asyncio.run(scene())


def _after(gate: asyncio.Event | None, value: str) -> "Callable[[], asyncio.Future[str]]":
    async def read() -> str:
        if gate is not None:
            await gate.wait()
        return value

    return lambda: asyncio.ensure_future(read())


async def _never_called() -> str:
    raise AssertionError("it is being read already, or still kept")


def test_an_error_is_not_as_old_as_the_last_value() -> None:
    async def scene() -> None:
        clock = Clock()
        keep = SingleFlightCache(clock)

        async def failing() -> int:
            raise DatabaseConnectionError("away")

        await keep.get("key", Counter(clock))
        before = keep.read_at("key")
        clock.now += LEAST_SECONDS
        with pytest.raises(DatabaseConnectionError):
            await keep.get("key", failing)
        after = keep.read_at("key")
        assert before is not None
        assert after is not None
        assert after > before

    asyncio.run(scene())
