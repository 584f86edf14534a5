"""The rate that a receiver takes is found, and kept, whatever kind of limit it has (SPEC 5, "a rate limit is about the
client"); in simulated time."""

from collections.abc import Callable
from math import inf
from statistics import mean

import pytest

from incident_process.delivery.rate_limiter import RateLimiter
from tests.support.rate_limits import (
    Ban,
    CalendarSecond,
    ConcurrencyLimit,
    Limit,
    RateResult,
    SlidingWindow,
    TokenBucket,
    send_all,
)

PHASES = [phase / 10 + 0.003 for phase in range(10)]
ASKED = [None, 0.0, 1.0]


def sent(limit: Limit, requests: int, asked: float | None, latency: float = 0.02) -> RateResult:
    return send_all(limit, requests, asked=lambda _: asked, latency=latency)


def seconds(limit: Limit, requests: int, asked: float | None, latency: float = 0.02) -> float:
    return sent(limit, requests, asked, latency).seconds


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("latency", [0.002, 0.02, 0.1])
def test_20_a_second_get_20_a_second(asked: float | None, latency: float) -> None:
    for phase in PHASES:
        assert seconds(CalendarSecond(20, phase), 300, asked, latency) <= 1.3 * 15


@pytest.mark.parametrize("asked", ASKED)
def test_10_a_second_get_10_a_second(asked: float | None) -> None:
    for phase in PHASES[::3]:
        assert seconds(CalendarSecond(10, phase), 400, asked) <= 1.3 * 40


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("strict", [False, True])
def test_a_window_that_slides(asked: float | None, strict: bool) -> None:
    """Also one that counts what it turns away: who goes on sending too much there is never taken again."""
    assert seconds(SlidingWindow(20, strict=strict), 300, asked) <= 1.3 * 15


@pytest.mark.parametrize("burst", [1, 2, 5, 10, 20, 40, 100])
def test_a_bucket_with_a_burst(burst: int) -> None:
    must = (300 - burst) / 20
    assert seconds(TokenBucket(20, burst), 300, None) <= 1.35 * must
    # A second of silence for each time that it was too much: with a bucket this small that is what it costs.
    assert seconds(TokenBucket(20, burst), 300, 1.0) <= 1.7 * must


@pytest.mark.parametrize("per_second", [200, 2000])
def test_a_high_rate_is_found_from_a_small_burst(per_second: int) -> None:
    assert seconds(TokenBucket(per_second, per_second / 20), 10 * per_second, None) <= 1.8 * 10


def test_one_a_second_is_a_rate_too() -> None:
    assert seconds(CalendarSecond(1), 20, None) <= 1.3 * 20


def test_a_limit_for_a_minute_is_waited_for() -> None:
    run = send_all(CalendarSecond(600, 0.3, 60.0), 900)
    assert run.seconds <= 80
    assert run.rejected < 120


@pytest.mark.parametrize(("ban", "most"), [(2.0, 2.0), (5.0, 3.0)])
def test_a_receiver_that_bans_is_not_provoked_for_ever(ban: float, most: float) -> None:
    for asked in ASKED:
        run = sent(Ban(SlidingWindow(20), ban), 300, asked)
        assert run.seconds <= most * 15
        assert run.rejected <= 64 + 30


def test_too_many_at_once_are_not_a_rate_and_yet_all_are_taken() -> None:
    run = send_all(ConcurrencyLimit(8, 0.05), 1000, latency=0.05)
    assert run.seconds <= 2.5 * 1000 / 160


def test_few_are_turned_away_once_the_rate_is_known() -> None:
    """All that were under way with the first, and then hardly any."""
    rejected = [send_all(CalendarSecond(20, phase), 300).rejected - 44 for phase in PHASES]
    assert mean(rejected) <= 30


@pytest.mark.parametrize("kind", [lambda: CalendarSecond(20, 0.5), lambda: TokenBucket(20, 20)])
def test_a_rate_of_the_settings_stays_the_most(kind: Callable[[], Limit]) -> None:
    run = send_all(kind(), 100, limiter=RateLimiter(10, 0.0))
    assert 9.9 <= run.seconds <= 10.5
    assert run.rejected == 0


def test_without_a_limit_nothing_is_waited_for() -> None:
    limiter = RateLimiter(0, 0.0)
    for at in range(1000):
        limiter.taken(at / 1000, limiter.epoch)
    assert not limiter.limited
    assert limiter.wait(1.0) == 0.0
    assert limiter.per_second == inf


def test_a_limit_that_is_lifted_is_forgotten_in_a_while() -> None:
    class Lifted:
        def __init__(self) -> None:
            self.limit = TokenBucket(20, 20)

        def takes(self, now: float) -> bool:
            return now > 5 or self.limit.takes(now)

    limiter = RateLimiter(0, 0.0)
    run = send_all(Lifted(), 100_000, limiter=limiter)
    assert run.seconds < 60
    assert not limiter.limited


@pytest.mark.parametrize("idle", [1_500.0, 90_000.0, 1e9])
def test_a_rate_that_was_not_used_for_long_grows_and_goes_on(idle: float) -> None:
    """A run may stand still for hours: a source that is away, a host that sleeps."""
    limiter = RateLimiter(0.0, 0.0)
    limiter.sent(0.0)
    limiter.throttled(0.0, limiter.epoch)
    limiter.sent(1.0)
    limiter.taken(1.0, limiter.epoch)
    before = limiter.per_second
    limiter.sent(1.0 + idle)
    assert before < limiter.per_second < inf


def test_a_receiver_that_takes_nothing_for_days_is_tried_every_few_seconds() -> None:
    limiter = RateLimiter(0.0, 0.0)
    now = 0.0
    for _ in range(5_000):
        limiter.sent(now)
        limiter.throttled(now, limiter.epoch)
        assert limiter.wait(now) < 8.1
        now += limiter.wait(now)


def test_a_share_of_a_rate_is_waited_for_before_the_first_too() -> None:
    assert RateLimiter(4, 10.0, shared=True).wait(10.0) == pytest.approx(0.25)
    assert RateLimiter(4, 10.0).wait(10.0) == 0.0


def test_a_pause_that_is_asked_for_is_kept_by_all() -> None:
    limiter = RateLimiter(0, 0.0)
    limiter.throttled(1.0, limiter.epoch, 30.0)
    assert limiter.wait(1.0) == pytest.approx(30.0)
    limiter.throttled(1.1, limiter.epoch - 1, 60.0)  # one that was under way with it
    assert limiter.wait(1.1) == pytest.approx(60.0)


def test_one_try_at_a_time_until_something_is_taken() -> None:
    limiter = RateLimiter(0, 0.0)
    limiter.taken(0.9, limiter.epoch)
    limiter.throttled(1.0, limiter.epoch)
    now, pauses = 1.0, []
    for _ in range(8):
        pauses.append(limiter.wait(now))
        now += pauses[-1]
        limiter.sent(now)
        assert limiter.wait(now) == inf
        limiter.throttled(now, limiter.epoch)
    assert pauses[1:] == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0])
    now += limiter.wait(now)
    limiter.sent(now)
    limiter.taken(now, limiter.epoch)
    assert 0.0 < limiter.wait(now) <= 0.25


def test_a_try_without_an_answer_holds_nobody_up() -> None:
    limiter = RateLimiter(0, 0.0)
    limiter.throttled(1.0, limiter.epoch)
    now = 1.0 + limiter.wait(1.0)
    limiter.sent(now)
    limiter.lost(now + 30, limiter.epoch)
    assert limiter.wait(now + 30) < 1.0


def test_a_refusal_that_may_be_for_the_record_costs_one_try() -> None:
    """503: another one is tried at once; if it is taken, nothing has been learned of the rate."""
    limiter = RateLimiter(0, 0.0)
    for turn in range(20):
        limiter.taken(turn, limiter.epoch)
        limiter.throttled(turn + 0.1, limiter.epoch, sure=False)
        if limiter.limited:
            assert limiter.wait(turn + 0.1) == 0.0
            limiter.sent(turn + 0.1)
            assert limiter.wait(turn + 0.2) == inf
            limiter.taken(turn + 0.2, limiter.epoch)
        assert not limiter.limited
    limiter.throttled(30.0, limiter.epoch, sure=False)
    assert not limiter.limited, "a receiver that answers so for records has shown it often enough"
    limiter.throttled(30.0, limiter.epoch)
    assert limiter.limited


def test_a_doubtful_refusal_before_a_try_without_an_answer_shows_nothing() -> None:
    limiter = RateLimiter(0, 0.0)
    limiter.taken(0.9, limiter.epoch)
    limiter.throttled(1.0, limiter.epoch, sure=False)
    limiter.sent(1.0)
    limiter.lost(1.1, limiter.epoch)
    assert not limiter.limited
    assert (limiter.wait(1.1), limiter.per_second) == (0.0, inf)


def test_a_second_refusal_after_a_doubtful_one_is_for_the_rate() -> None:
    limiter = RateLimiter(0, 0.0)
    for at in range(20):
        limiter.taken(at / 100, limiter.epoch)
    limiter.throttled(0.2, limiter.epoch, sure=False)
    limiter.sent(0.2)
    limiter.throttled(0.21, limiter.epoch, sure=False)
    assert limiter.per_second == pytest.approx(19.0)
    assert limiter.wait(0.21) > 0.5
