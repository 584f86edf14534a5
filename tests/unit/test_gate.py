"""Who waits at the gate, and who is let through."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from incident_process.delivery.gate import Gate


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def go() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(go())


def test_a_fixed_gate_lets_as_many_through_as_it_is_told() -> None:
    async def work() -> None:
        gate = Gate(3, timeout_seconds=30, adaptive=False)
        assert [gate.enter() for _ in range(4)] == [True, True, True, False]
        window = gate.start()
        assert gate.in_flight == 1
        gate.unanswered(window, 0, too_many=True)
        assert (gate.limit, gate.in_flight) == (3, 0)

    run(work)


def test_who_waits_is_let_in_when_somebody_leaves_in_the_order_of_coming() -> None:
    async def work() -> None:
        gate = Gate(1, timeout_seconds=30, adaptive=False)
        entered: list[int] = []

        async def come(number: int) -> None:
            await gate.wait_to_enter()
            entered.append(number)

        assert gate.enter()
        coming = [asyncio.create_task(come(number)) for number in range(3)]
        await asyncio.sleep(0)
        coming[0].cancel()
        for _ in range(2):
            gate.leave()
            await asyncio.sleep(0.001)
        await asyncio.gather(*coming, return_exceptions=True)
        assert entered == [1, 2]

    run(work)


def test_a_limit_that_grows_lets_in_who_waits() -> None:
    async def work() -> None:
        gate = Gate(64, timeout_seconds=30, adaptive=True)
        start = gate.limit
        for _ in range(start):
            assert gate.enter()
        waiting = [asyncio.create_task(gate.wait_to_enter()) for _ in range(100)]
        await asyncio.sleep(0)
        windows = [gate.start() for _ in range(start)]
        for window in windows:
            gate.answered(window, 0, 0.05)
            gate.start()
        await asyncio.sleep(0.001)
        assert gate.limit > start
        assert gate.at_work == gate.limit
        assert sum(task.done() for task in waiting) == gate.limit - start
        for task in waiting:
            task.cancel()

    run(work)


def test_a_stop_ends_the_waiting_for_a_turn() -> None:
    async def work() -> None:
        gate = Gate(4, timeout_seconds=30, adaptive=True, per_second=0.001)
        stopping = asyncio.Event()
        await gate.turn(stopping)
        waiting = [asyncio.create_task(gate.turn(stopping)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        stopping.set()
        await asyncio.gather(*waiting)

    run(work)


def test_turns_come_no_closer_than_the_rate() -> None:
    async def work() -> None:
        gate = Gate(4, timeout_seconds=30, adaptive=True, per_second=200)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(gate.turn(asyncio.Event()) for _ in range(41)))
        assert loop.time() - began >= 0.19

    run(work)


def test_most_can_be_changed_while_it_is_at_work() -> None:
    async def work() -> None:
        gate = Gate(2, timeout_seconds=30, adaptive=False)
        assert gate.enter()
        assert gate.enter()
        waiting = asyncio.create_task(gate.wait_to_enter())
        await asyncio.sleep(0)
        gate.allow(3)
        await waiting
        gate.allow(1)
        assert gate.limit == 1

    run(work)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_turn_that_is_given_back_blocks_nobody(adaptive: bool) -> None:
    async def work() -> None:
        gate = Gate(4, timeout_seconds=30, adaptive=adaptive)
        gate.throttled(gate.start(), gate.rate.epoch, None, sure=True)
        await gate.turn(asyncio.Event())
        gate.give_turn_back()
        await asyncio.wait_for(gate.turn(asyncio.Event()), 5)

    run(work)
