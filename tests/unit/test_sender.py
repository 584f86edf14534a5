"""The sender's scheduling, over a scripted transport: what is tried again, when, and what stops it.

Real sockets are in tests/integration and tests/e2e; here the answers are chosen one by one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from incident_process.core.models import Incident
from incident_process.delivery.http.transport import Answer, MaySend, always
from incident_process.delivery.policy import ResponseClass
from incident_process.delivery.sender import THROTTLING, Sender, SendLimits, SendResult


class Scripted:
    """Answers as the script says: it gets the key (here the account) and how often that was posted before."""

    def __init__(self, script: Callable[[str, int], int | None], retry_after: str | None = None) -> None:
        self.posts: Counter[str] = Counter()
        self.order: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self._script = script
        self._retry_after = retry_after

    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        assert key is not None
        status = self._script(key, self.posts[key])
        self.posts[key] += 1
        self.order.append(key)
        error = None if status else "ConnectError"
        return Answer(status=status, seconds=0.0, retry_after=self._retry_after, error=error)


def incidents(names: Iterable[object]) -> list[Incident]:
    return [
        Incident(incident_id=at, account=str(name), digest="d", key=str(name), body=b"{}")
        for at, name in enumerate(names, start=1)
    ]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a thousandth of the real ones: the order of things is tested, not the clock."""
    monkeypatch.setattr("incident_process.delivery.policy.FIRST_DELAY_SECONDS", 0.0002)
    scaled = {
        "SECOND": 0.001,
        "FIRST": 5_000.0,
        "LEAST": 500.0,
        "RESTS": (0.00025, 0.001, 0.004, 0.008),
        "FIRST_PAUSE": 0.00025,
        "LONGEST_PAUSE": 0.008,
        "BUCKET": 0.0001,
        "UNLIMITED": 50_000_000.0,
    }
    for name, value in scaled.items():
        monkeypatch.setattr(f"incident_process.delivery.rate_limiter.{name}", value)


def send(
    transport: Scripted,
    names: Iterable[object],
    limits: SendLimits | None = None,
    *,
    resumed: bool = False,
    may_send: Callable[[], bool] = lambda: True,
) -> tuple[dict[str, SendResult], Sender]:
    async def go() -> tuple[dict[str, SendResult], Sender]:
        async with Sender(transport, limits or SendLimits(max_connections=8), may_send) as sender:
            results = await sender.deliver(incidents(names), resumed=resumed)
        return {result.incident.account: result for result in results}, sender

    return asyncio.run(asyncio.wait_for(go(), 20))


def test_all_are_delivered_once_and_no_more_at_a_time_than_allowed() -> None:
    transport = Scripted(lambda *_: 201)
    results, sender = send(transport, range(100))
    assert {result.verdict for result in results.values()} == {ResponseClass.DELIVERED}
    assert set(transport.posts.values()) == {1}
    assert transport.most_under_way == 8
    assert sender.delivered == 100


@pytest.mark.parametrize("first", [None, 500, 503, 429, 408, 425, 302])
def test_a_passing_failure_is_tried_again(first: int | None) -> None:
    transport = Scripted(lambda _, before: 201 if before else first)
    results, _ = send(transport, ["a"])
    assert (results["a"].verdict, results["a"].attempts) == (ResponseClass.DELIVERED, 2)


def test_after_an_attempt_without_an_answer_the_next_has_a_connection_of_its_own() -> None:
    asked = []

    class Noting(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            asked.append(fresh)
            return await super().post(body, key)

    send(Noting(lambda _, before: (None, None, 503, 201)[before]), ["a"])
    assert asked == [False, True, True, False]


def test_409_after_a_lost_answer_is_a_delivery() -> None:
    transport = Scripted(lambda _, before: 409 if before else None)
    results, _ = send(transport, ["a"])
    assert results["a"].verdict is ResponseClass.DELIVERED


def test_409_after_attempts_that_were_never_sent_is_somebody_else_s_id() -> None:
    class Down(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            answer = await super().post(body, key)
            return msgspec.structs.replace(answer, unsent=answer.status is None)

    def script(key: str, before: int) -> int | None:
        return {"down": [None, None, 409], "lost": [None, 500, 409]}[key][before]

    assert send(Down(script), ["down"])[0]["down"].verdict is ResponseClass.ID_IN_USE
    assert send(Scripted(script), ["lost"])[0]["lost"].verdict is ResponseClass.DELIVERED
    assert send(Down(script), ["lost"])[0]["lost"].verdict is ResponseClass.DELIVERED


def test_a_lease_that_is_lost_while_connecting_stops_the_sender() -> None:
    holds = [True]

    class Slow(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            holds[0] = False
            await super().post(body, key)
            return Answer(status=None if not may_send() else 201, seconds=0.0, unsent=True)

    results, sender = send(Slow(lambda *_: 201), ["a", "b"], SendLimits(max_connections=1), may_send=lambda: holds[0])
    assert sender.stopped == "the lease was lost"
    assert {result.verdict for result in results.values()} == {ResponseClass.RETRY, None}
    assert not any(result.unanswered for result in results.values())


def test_409_on_a_first_attempt_is_somebody_else_s_id_unless_the_run_resumes() -> None:
    assert send(Scripted(lambda *_: 409), ["a"])[0]["a"].verdict is ResponseClass.ID_IN_USE
    assert send(Scripted(lambda *_: 409), ["a"], resumed=True)[0]["a"].verdict is ResponseClass.DELIVERED


def test_409_in_a_resumed_run_to_what_was_never_sent_is_somebody_else_s_id() -> None:
    left_as: dict[str, dict[str, Any]] = {
        "clear": {"in_doubt": False},
        "moved": {"in_doubt": False, "attempts": 3, "unsent_attempts": 3},
        "doubtful": {"in_doubt": True, "attempts": 3, "unsent_attempts": 3},
        "tried": {"in_doubt": False, "attempts": 1},
    }
    left = [msgspec.structs.replace(one, **left_as[one.account]) for one in incidents(left_as)]

    async def go() -> list[SendResult]:
        async with Sender(Scripted(lambda *_: 409), SendLimits(max_connections=1), lambda: True) as sender:
            return await sender.deliver(left, resumed=True)

    found = {result.incident.account: result.verdict for result in asyncio.run(asyncio.wait_for(go(), 20))}
    assert {name for name, verdict in found.items() if verdict is ResponseClass.ID_IN_USE} == {"clear", "moved"}
    assert {name for name, verdict in found.items() if verdict is ResponseClass.DELIVERED} == {"doubtful", "tried"}


def test_what_was_in_doubt_stays_so_where_the_run_does_not_come_to_it() -> None:
    async def go() -> list[SendResult]:
        async with Sender(Scripted(lambda *_: 201), SendLimits(), lambda: True) as sender:
            sender.stop("asked to")
            return await sender.deliver(incidents("a"), resumed=True) + await sender.deliver(
                incidents("b"), resumed=False
            )

    assert [result.unanswered for result in asyncio.run(asyncio.wait_for(go(), 20))] == [True, False]


def test_422_is_tried_once_and_the_others_go_on() -> None:
    transport = Scripted(lambda key, _: 422 if key == "3" else 201)
    results, sender = send(transport, range(10))
    assert results["3"].verdict is ResponseClass.REFUSED
    assert transport.posts["3"] == 1
    assert sender.delivered == 9
    assert sender.stopped is None


@pytest.mark.parametrize("status", [422, 500])
@pytest.mark.parametrize("most", [1, 4, 64])
@pytest.mark.parametrize("place", ["first", "middle", "last", "spread"])
def test_a_refused_third_does_not_open_the_breaker_wherever_it_stands(status: int, most: int, place: str) -> None:
    refused = {"first": range(50), "middle": range(50, 100), "last": range(100, 150), "spread": range(0, 150, 3)}[place]
    limits = SendLimits(max_connections=most, max_attempts=2)
    results, sender = send(Scripted(lambda key, _: status if int(key) in refused else 201), range(150), limits)
    assert sender.stopped is None
    assert sender.well
    assert {int(key) for key, result in results.items() if result.verdict is not ResponseClass.DELIVERED} == set(
        refused
    )
    alone = [result.mark.overtaken for result in results.values() if result.mark is not None]
    assert sum(alone) >= 40, "but for the last ones, others that were sent later have been taken"


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_4xx_for_everybody_opens_the_breaker(status: int) -> None:
    transport = Scripted(lambda *_: status)
    results, sender = send(transport, range(500), SendLimits(max_connections=8, max_attempts=3, breaker_failures=5))
    assert sender.broken
    assert {result.verdict for result in results.values()} <= {None, ResponseClass.REFUSED, ResponseClass.SUSPECT}
    assert not any(result.mark.overtaken for result in results.values() if result.mark is not None)
    assert sum(transport.posts.values()) < 40


def test_one_failing_account_uses_up_its_attempts_and_stops_nobody() -> None:
    transport = Scripted(lambda key, _: 500 if key == "0" else 201)
    results, sender = send(transport, range(200), SendLimits(max_connections=4, max_attempts=3))
    assert (results["0"].verdict, results["0"].attempts) == (ResponseClass.RETRY, 3)
    assert sender.delivered == 199
    assert sender.stopped is None


def test_failures_across_accounts_open_the_breaker_and_nothing_is_dead() -> None:
    transport = Scripted(lambda *_: 503)
    results, sender = send(transport, range(500), SendLimits(max_connections=8, max_attempts=3, breaker_failures=5))
    assert sender.broken
    assert sender.stopped == "the receiver fails across accounts (circuit breaker): HTTP 503 Service Unavailable"
    assert len(results) == 500
    assert {result.verdict for result in results.values()} <= {None, ResponseClass.RETRY}
    assert sum(transport.posts.values()) < 40, "an outage is met with a few probes, not with every account"


def test_a_broken_circuit_says_why_without_what_was_sent() -> None:
    class Repeating(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            answer = await super().post(body, key, may_send, fresh=fresh)
            said = b'{"detail": "no room for Jane Doe by s3cr3t"}' if answer.status else b""
            return msgspec.structs.replace(answer, excerpt=said)

    async def stopped(script: Callable[[str, int], int | None]) -> str | None:
        made = [msgspec.structs.replace(one, body=b'{"name": "Jane Doe"}') for one in incidents(range(100))]
        limits = SendLimits(max_connections=8, max_attempts=2)
        async with Sender(Repeating(script), limits, lambda: True, secrets=("s3cr3t",)) as sender:
            await sender.deliver(made, resumed=False)
        return sender.stopped

    full, silent = (asyncio.run(stopped(lambda *_, status=status: status)) for status in (507, None))
    assert (
        full
        == "the receiver fails across accounts (circuit breaker): HTTP 507 Insufficient Storage: no room for *** by ***"
    )
    assert silent == "the receiver fails across accounts (circuit breaker): no answer (ConnectError)"


def test_401_for_everybody_opens_the_breaker_too() -> None:
    _, sender = send(Scripted(lambda *_: 401), range(500), SendLimits(max_connections=8, max_attempts=3))
    assert sender.broken


class InTurn(Scripted):
    """Answers as the script says of the place of a request among all."""

    def __init__(self, script: Callable[[int], int | None]) -> None:
        super().__init__(lambda *_: script(sum(self.posts.values())))


def overtaken(results: dict[str, SendResult]) -> list[bool]:
    return [result.mark.overtaken for result in results.values() if result.mark is not None]


def test_a_refusal_is_of_the_record_once_another_that_was_sent_later_is_delivered() -> None:
    results, _ = send(InTurn(lambda place: 403 if place in {3, 9} else 201), range(10), SendLimits(max_connections=2))
    assert sorted(overtaken(results)) == [False, True]


def test_a_record_fails_alone_where_another_is_delivered_between_two_of_its_failures() -> None:
    transport = Scripted(lambda key, _: 500 if key == "bad" else 201)
    results, _ = send(transport, ["bad", *range(20)], SendLimits(max_connections=1, max_attempts=2))
    assert results["bad"].alone is (transport.order[-2:] != ["bad", "bad"])
    results, _ = send(Scripted(lambda *_: 500), ["bad"], SendLimits(max_attempts=3))
    assert not results["bad"].alone


def test_many_refusals_in_a_row_are_not_trusted_where_the_service_comes_back() -> None:
    """A proxy that is loaded anew answers 404 for a moment."""
    limits = SendLimits(max_connections=1, max_attempts=9, breaker_failures=3)
    results, sender = send(InTurn(lambda place: 404 if 5 <= place < 12 else 201), range(40), limits)
    marks = [result.mark for result in results.values() if result.mark is not None]
    assert len(marks) == 7
    assert all(mark.overtaken and mark.in_spell for mark in marks)
    assert sender.stopped is None
    results, _ = send(InTurn(lambda place: 404 if place == 5 else 201), range(40), limits)
    assert [mark.in_spell for result in results.values() if (mark := result.mark) is not None] == [False]


def test_a_token_that_runs_out_singles_nobody_out() -> None:
    """Those that were on their way when it ran out are taken, also where others have been refused by then."""

    class Expiring(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            place = self.under_way + sum(self.posts.values())
            is_taken = place < 8
            if place in {4, 5, 6, 7}:
                self.under_way += 1
                await asyncio.sleep(0.05)  # taken, and answered after the refusals of the others
                self.under_way -= 1
            assert key is not None
            self.posts[key] += 1
            return Answer(status=201 if is_taken else 401, seconds=0.0)

    results, sender = send(Expiring(lambda *_: 0), range(20), SendLimits(max_connections=6, breaker_failures=100))
    assert sum(result.verdict is ResponseClass.SUSPECT for result in results.values()) == 12
    assert sender.delivered == 8
    assert not any(overtaken(results))


def test_accounts_that_failed_in_earlier_runs_do_not_stop_the_others() -> None:
    """Six poisoned accounts of earlier runs come first and fail; the service takes everybody else."""
    transport = Scripted(lambda key, _: 500 if key.startswith("bad") else 201)
    old = [msgspec.structs.replace(one, attempts=5) for one in incidents(f"bad{n}" for n in range(6))]

    async def go() -> tuple[list[SendResult], list[SendResult], Sender]:
        async with Sender(transport, SendLimits(max_connections=4, max_attempts=3), lambda: True) as sender:
            resumed = await sender.deliver(old, resumed=True)
            assert not sender.well
            fresh = await sender.deliver(incidents(range(50)), resumed=False)
        return resumed, fresh, sender

    resumed, fresh, sender = asyncio.run(asyncio.wait_for(go(), 20))
    assert {result.verdict for result in resumed} == {ResponseClass.RETRY}
    assert {result.verdict for result in fresh} == {ResponseClass.DELIVERED}
    assert sender.stopped is None
    assert sender.well


def test_a_refused_connection_leaves_nothing_in_doubt_and_a_lost_answer_does() -> None:
    class Refusing(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            answer = await super().post(body, key)
            return msgspec.structs.replace(answer, unsent=key == "refused")

    results, _ = send(Refusing(lambda *_: None), ["refused", "lost"], SendLimits(max_connections=2, max_attempts=2))
    assert (results["refused"].unanswered, results["refused"].unsent) == (False, 2)
    assert (results["lost"].unanswered, results["lost"].unsent) == (True, 0)


def test_a_stop_is_not_held_up_by_the_pace() -> None:
    async def go() -> int:
        async with Sender(Scripted(lambda *_: 201), SendLimits(requests_per_second=0.001), lambda: True) as sender:
            sending = asyncio.create_task(sender.deliver(incidents(range(5)), resumed=False))
            while not sender.delivered:  # noqa: ASYNC110  # the sender has no event for it, and needs none
                await asyncio.sleep(0)
            sender.stop("asked to")
            return len(await sending)

    assert asyncio.run(asyncio.wait_for(go(), 20)) == 5


def test_a_short_outage_is_waited_out() -> None:
    answered = Counter[str]()

    def script(key: str, _: int) -> int:
        answered["all"] += 1
        return 503 if 10 < answered["all"] <= 25 else 201

    results, sender = send(Scripted(script), range(100), SendLimits(max_connections=4, max_attempts=20))
    assert sender.stopped is None
    assert {result.verdict for result in results.values()} == {ResponseClass.DELIVERED}


def test_too_few_accounts_for_the_breaker_end_with_their_attempts_used_up() -> None:
    results, sender = send(Scripted(lambda *_: None), ["a", "b"], SendLimits(max_connections=2, max_attempts=3))
    assert {(r.verdict, r.attempts) for r in results.values()} == {(ResponseClass.RETRY, 3)}
    assert sender.stopped is None


def test_retries_are_bounded_in_time() -> None:
    transport = Scripted(lambda *_: 503, retry_after="30")
    results, _ = send(transport, ["a"], SendLimits(max_connections=1, retry_seconds=5))
    assert (results["a"].verdict, results["a"].attempts) == (ResponseClass.RETRY, 1)


def test_retry_after_0_and_a_year_do_not_hang() -> None:
    transport = Scripted(lambda _, before: 201 if before else 429, retry_after="0")
    assert send(transport, ["a"])[0]["a"].verdict is ResponseClass.DELIVERED
    transport = Scripted(lambda *_: 429, retry_after="31536000")
    limits = SendLimits(max_connections=1, retry_after_cap_seconds=0.01, retry_seconds=0.2)
    assert send(transport, ["a"], limits)[0]["a"].verdict is ResponseClass.RETRY


@pytest.mark.parametrize("asked", [None, "0", "1"])
def test_a_limit_of_the_rate_uses_up_no_attempt(asked: str | None) -> None:
    limits = SendLimits(max_attempts=3, retry_after_cap_seconds=0.01)
    transport = Scripted(lambda _, before: 201 if before > 7 else 429, retry_after=asked)
    result = send(transport, ["a"], limits)[0]["a"]
    assert (result.verdict, result.attempts) == (ResponseClass.DELIVERED, 9)
    transport = Scripted(lambda _, before: 500 if before > 7 else 429, retry_after=asked)
    result = send(transport, ["a"], limits)[0]["a"]
    assert (result.verdict, result.attempts) == (ResponseClass.RETRY, 11)


def test_a_503_uses_up_no_attempt_while_others_are_taken() -> None:
    result = send(Scripted(lambda *_: 503), ["alone"], SendLimits(max_attempts=3))[0]["alone"]
    assert (result.verdict, result.attempts) == (ResponseClass.RETRY, 3)
    transport = Scripted(lambda key, before: 503 if key == "9" and before < 7 else 201)
    results, _ = send(transport, range(50), SendLimits(max_connections=1, max_attempts=3))
    assert (results["9"].verdict, results["9"].attempts) == (ResponseClass.DELIVERED, 8)


def test_a_receiver_that_takes_nothing_any_more_for_its_rate_stops_the_sender() -> None:
    results, sender = send(Scripted(lambda *_: 429), range(20), SendLimits(max_attempts=3, retry_seconds=0.2))
    assert sender.stopped == f"{THROTTLING}: HTTP 429 Too Many Requests"
    # None: it was not even tried, because one at a time is enough to see whether anything is taken again.
    assert {result.verdict for result in results.values()} <= {ResponseClass.RETRY, None}
    assert not sender.broken


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", [None, "0", "1"])
def test_a_receiver_that_throttles_gets_everything(status: int, asked: str | None) -> None:
    """It takes a few requests in each stretch of time."""
    taken: Counter[int] = Counter()

    def script(_key: str, _before: int) -> int:
        stretch = int(asyncio.get_running_loop().time() / 0.01)
        taken[stretch] += 1
        return 201 if taken[stretch] <= 5 else status

    limits = SendLimits(max_connections=64, max_attempts=2, retry_after_cap_seconds=0.01)
    results, sender = send(Scripted(script, retry_after=asked), range(300), limits)
    assert {result.verdict for result in results.values()} == {ResponseClass.DELIVERED}
    assert sender.stopped is None


def test_a_lack_of_this_machine_uses_up_no_attempt() -> None:
    class Lacking(Scripted):
        async def post(
            self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False
        ) -> Answer:
            answer = await super().post(body, key)
            is_lacking = answer.status is None
            return msgspec.structs.replace(answer, error="no handle", unsent=is_lacking, lacking=is_lacking)

    transport = Lacking(lambda _, before: 201 if before > 7 else None)
    results, _ = send(transport, ["a"], SendLimits(max_attempts=1))
    assert results["a"].verdict is ResponseClass.DELIVERED
    results, sender = send(Lacking(lambda *_: None), ["a", "b"], SendLimits(max_attempts=1, retry_seconds=0.2))
    assert sender.stopped == "no handle"
    assert {result.unanswered for result in results.values()} == {False}


def test_without_the_lease_nothing_is_posted() -> None:
    transport = Scripted(lambda *_: 201)
    results, sender = send(transport, range(20), may_send=lambda: False)
    assert not transport.posts
    assert {result.verdict for result in results.values()} == {None}
    assert sender.stopped == "the lease was lost"


def test_stop_ends_what_waits_and_lets_what_is_under_way_finish() -> None:
    async def go() -> tuple[list[SendResult], Scripted]:
        transport = Scripted(lambda key, _: 503 if key == "0" else 201)
        limits = SendLimits(max_connections=1, max_attempts=50, requests_per_second=500)
        async with Sender(transport, limits, lambda: True) as sender:
            sending = asyncio.create_task(sender.deliver(incidents(range(100)), resumed=False))
            while not sender.delivered:  # noqa: ASYNC110  # the sender has no event for it, and needs none
                await asyncio.sleep(0)
            sender.stop("asked to")
            results = await sending
            late = await sender.deliver(incidents(["late"]), resumed=False)
        return results + late, transport

    results, transport = asyncio.run(asyncio.wait_for(go(), 20))
    assert len(results) == 101
    delivered = sum(result.verdict is ResponseClass.DELIVERED for result in results)
    assert delivered == sum(count for key, count in transport.posts.items() if key != "0")
    assert transport.posts["late"] == 0


def test_the_pace_is_kept() -> None:
    async def go() -> float:
        async with Sender(
            Scripted(lambda *_: 201), SendLimits(max_connections=8, requests_per_second=200), lambda: True
        ) as sender:
            began = asyncio.get_running_loop().time()
            await sender.deliver(incidents(range(41)), resumed=False)
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(go()) >= 0.2, "41 requests are 40 gaps of 5 ms: never sooner, however loaded the machine is"


def test_a_fault_of_the_program_is_raised_and_hangs_nobody() -> None:
    def script(key: str, _: int) -> int:
        if key == "5":
            msg = "a bug"
            raise ZeroDivisionError(msg)
        return 201

    with pytest.raises(ZeroDivisionError):
        send(Scripted(script), range(50))
