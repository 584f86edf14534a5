"""Work on the next items while an earlier one is being used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from incident_process.core.aio import prefetch, until_set


class Works:
    """Works on numbers for as long as it is told, and notes which it began and which were ended."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._fails_at = fails_at

    async def items(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def work(self, number: int) -> int:
        self.begun.append(number)
        try:
            await asyncio.sleep(0.001 * (5 - number % 5))  # the later ones are done earlier
        except asyncio.CancelledError:
            self.ended.append(number)
            raise
        if number == self._fails_at:
            raise ValueError(number)
        return number * number


@pytest.mark.parametrize("most", [0, 1, 4, 100])
def test_results_come_in_the_order_of_the_items(most: int) -> None:
    async def collect() -> list[tuple[int, int]]:
        works = Works()
        return [pair async for pair in prefetch(works.items(12), works.work, lambda: most)]

    assert asyncio.run(collect()) == [(number, number * number) for number in range(12)]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_is_begun_than_was_allowed(most: int) -> None:
    async def watch() -> None:
        works = Works()
        async for number, _ in prefetch(works.items(12), works.work, lambda: most):
            await asyncio.sleep(0.01)
            assert len(works.begun) <= number + 1 + most
        assert works.begun == list(range(12))

    asyncio.run(watch())


def test_what_is_under_way_ends_where_it_is_left_early() -> None:
    async def leave() -> Works:
        works = Works()
        async with aclosing(prefetch(works.items(12), works.work, lambda: 3)) as pairs:
            async for _ in pairs:
                break
        return works

    works = asyncio.run(leave())
    assert works.begun == [0, 1, 2, 3]
    assert set(works.ended) <= {1, 2, 3}


def test_an_error_comes_at_its_items_turn_and_ends_the_others() -> None:
    works, seen = Works(fails_at=2), []

    async def fail() -> None:
        async for number, _ in prefetch(works.items(12), works.work, lambda: 2):
            seen.append(number)

    with pytest.raises(ValueError, match="2"):
        asyncio.run(fail())
    assert seen == [0, 1]
    assert works.begun in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("before", [0, 2])
def test_an_event_ends_the_wait_for_the_next_item_and_the_work_on_it(before: int) -> None:
    """Also through the work ahead: what has begun is cancelled, and its end is waited for."""

    async def collect() -> tuple[list[int], list[int], list[int]]:
        works, event, seen = Works(), asyncio.Event(), []
        if not before:
            event.set()
        async with aclosing(prefetch(works.items(12), works.work, lambda: 3)) as squares:
            async for _, square in until_set(event, squares):
                seen.append(square)
                if len(seen) == before:
                    event.set()
        return seen, works.begun, works.ended

    seen, begun, ended = asyncio.run(collect())
    assert seen == [0, 1][:before]
    assert set(begun) <= set(range(before + 4))
    assert bool(ended) == bool(before)


def test_without_the_event_every_item_is_yielded() -> None:
    async def collect() -> list[int]:
        return [number async for number in until_set(asyncio.Event(), Works().items(3))]

    assert asyncio.run(collect()) == [0, 1, 2]


def test_a_caller_that_is_cancelled_twice_closes_nothing_that_is_still_at_work() -> None:
    """As ``run_all_or_cancel`` does, while the work on the next item needs a while to end."""

    async def main() -> list[str]:
        said: list[str] = []

        async def items() -> AsyncIterator[int]:
            yield 0

        async def work(number: int) -> int:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                said.append("the work has ended")
            return number

        async def use() -> None:
            try:
                async with aclosing(prefetch(items(), work, lambda: 0)) as pairs:
                    async for _ in until_set(asyncio.Event(), pairs):
                        pass
            finally:
                said.append("closed")

        task = asyncio.create_task(use())
        await asyncio.sleep(0.01)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        return said

    assert asyncio.run(main()) == ["the work has ended", "closed"]
