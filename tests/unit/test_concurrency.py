"""The limit for requests under way against receivers in simulated time (SPEC 5, "in flight as many as help")."""

from collections import deque
from collections.abc import Callable
from statistics import mean

import pytest

from incident_process.delivery.concurrency import ConcurrencyController
from tests.support.simulated_receiver import (
    Fixed,
    Run,
    Service,
    collapsing,
    constant,
    exponential,
    jumping,
    lognormal,
    simulate,
)

Drawn = Callable[[float, int], Service]


def adaptive(service: Service, workers: int, requests: int, *, most: int = 64, timeout: float = 30.0) -> Run:
    controller = ConcurrencyController(most, timeout)
    run = simulate(controller, service, workers=workers, requests=requests, timeout=timeout)
    assert run.answered + run.lost == requests
    assert controller.in_flight == 0
    assert run.most_in_flight <= most
    return run


def keep_busy(controller: ConcurrencyController, answers: int, seconds: float) -> None:
    """Answer so many requests after the same time, each followed by another, and then the rest."""
    windows = deque(controller.start() for _ in range(controller.limit))
    for _ in range(answers):
        controller.answered(windows.popleft(), seconds)
        while len(windows) < controller.limit:
            windows.append(controller.start())
    while windows:
        controller.ended(windows.popleft())


def grown() -> ConcurrencyController:
    """Return a controller whose start found nothing that is in its way."""
    controller = ConcurrencyController(64, 30.0)
    keep_busy(controller, 200, 0.05)
    assert controller.limit == 64
    return controller


def best(service: Service, workers: int, requests: int) -> float:
    """What the best fixed number of requests under way has answered in a second."""
    numbers = {1, 2, workers, workers + 1, 64}
    return max(simulate(Fixed(most), service, workers=workers, requests=requests).per_second for most in numbers)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9, 16, 17, 64])
def test_workers_with_a_queue_are_kept_busy_and_not_made_to_queue(workers: int) -> None:
    seconds = 0.05
    requests = 300 + 70 * workers
    run = adaptive(constant(seconds), workers, requests)
    assert run.per_second >= 0.95 * workers / (seconds + 0.0005)
    assert run.in_flight <= 2 * workers + 4


@pytest.mark.parametrize("workers", [4, 16, 64])
@pytest.mark.parametrize("service", [exponential, lambda mean, seed: lognormal(mean, 0.8, seed)])
def test_work_of_very_different_lengths_is_no_queue(workers: int, service: Drawn) -> None:
    requests = 2000 + 50 * workers
    shares, in_flight = [], []
    for seed in range(6):
        run = adaptive(service(0.05, seed), workers, requests)
        everything = simulate(Fixed(64), service(0.05, seed), workers=workers, requests=requests)
        shares.append(run.per_second / everything.per_second)
        in_flight.append(run.in_flight)
    assert mean(shares) >= 0.88
    assert min(shares) >= 0.65
    assert mean(in_flight) <= 2 * workers + 4


@pytest.mark.parametrize(("seconds", "timeout"), [(1.0, 5.0), (2.0, 5.0), (0.5, 2.0), (1.0, 3.0), (5.0, 30.0)])
def test_one_slow_worker_never_has_so_many_waiting_that_they_time_out(seconds: float, timeout: float) -> None:
    run = adaptive(constant(seconds), 1, 200, timeout=timeout)
    assert run.lost == 0
    assert run.longest <= 0.85 * timeout
    assert run.per_second >= 0.95 / (seconds + 0.0005)


def test_work_that_takes_most_of_the_time_out_is_still_done_side_by_side() -> None:
    run = adaptive(constant(16.0), 64, 600, timeout=30.0)
    assert run.lost == 0
    assert run.in_flight > 10


def test_a_quick_receiver_has_all_connections_at_once() -> None:
    """What is waited for there is this process: a queue of a few milliseconds is no reason for anything."""
    for seconds, workers in ((0.0001, 1), (0.0002, 4), (0.001, 8)):
        run = adaptive(constant(seconds), workers, 2000)
        assert run.per_second >= 0.97 * best(constant(seconds), workers, 2000)
    assert run.limits[-1][1] == 64


@pytest.mark.parametrize("workers", [16, 64])
def test_the_start_takes_no_longer_than_a_few_round_trips(workers: int) -> None:
    run = adaptive(constant(0.05), workers, 300)
    reached = next(when for when, limit in run.limits if limit >= workers)
    assert reached <= 0.16


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.2), (0.05, 0.5), (0.2, 0.05), (0.01, 0.1)])
def test_a_latency_that_jumps_is_told_from_a_queue(before: float, after: float) -> None:
    workers, requests = 16, 4000
    run = adaptive(jumping(before, after, 5.0), workers, requests)
    assert run.per_second >= 0.9 * best(jumping(before, after, 5.0), workers, requests)
    assert run.in_flight <= 2 * workers + 4


@pytest.mark.parametrize("load", [4, 16])
def test_a_receiver_that_collapses_under_load_is_held_near_what_it_can_do(load: int) -> None:
    requests = 200 * load
    run = adaptive(collapsing(0.05, load), 64, requests)
    everything = simulate(Fixed(64), collapsing(0.05, load), workers=64, requests=requests)
    assert run.per_second >= 0.65 * load / 0.0505
    assert run.per_second >= 2 * everything.per_second


def test_a_slow_first_answer_is_not_taken_for_the_latency() -> None:
    """The first request pays for name, connection, TLS, and what the receiver loads at its first."""
    run = adaptive(lambda now, _: 0.4 if now < 0.3 else 0.05, 4, 2000)
    assert run.per_second >= 0.95 * 4 / 0.0505
    assert run.in_flight <= 12


def test_a_request_without_an_answer_halves_the_limit_once() -> None:
    controller = grown()
    windows = [controller.start() for _ in range(64)]
    for window in windows:
        controller.refused(window)
    assert controller.limit == 32
    assert controller.in_flight == 0


def test_no_limit_is_less_than_one_or_more_than_allowed() -> None:
    for most in (1, 2, 3, 5):
        controller = ConcurrencyController(most, 0.001)
        assert controller.limit == 1
        for _ in range(10):
            controller.refused(controller.start())
        assert controller.limit == 1
        run = adaptive(constant(0.05), 64, 500, most=most)
        assert run.per_second >= 0.9 * most / 0.0505


def test_a_client_that_has_little_to_send_keeps_the_limit_it_had() -> None:
    controller = grown()
    for _ in range(500):
        controller.answered(controller.start(), 0.05)
    assert controller.limit == 64


def test_in_flight_is_right_whatever_ends_a_request() -> None:
    controller = ConcurrencyController(64, 30.0)
    windows = [controller.start() for _ in range(4)]
    assert controller.in_flight == 4
    controller.answered(windows[0], 0.05)
    controller.refused(windows[1])
    controller.ended(windows[2])
    controller.answered(windows[3], 100.0)
    assert controller.in_flight == 0


def test_requests_that_say_nothing_do_not_hold_up_a_window() -> None:
    controller = ConcurrencyController(64, 30.0)
    for _ in range(100):
        controller.ended(controller.start())
    keep_busy(controller, 4, 0.05)
    assert controller.limit == 16


def test_answers_that_no_clock_can_tell_apart_are_no_fault() -> None:
    controller = ConcurrencyController(64, 30.0)
    keep_busy(controller, 1000, 0.0)
    assert controller.limit == 64
