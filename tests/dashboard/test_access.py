"""Sessions and the brake on guessing, on a clock of their own; and the names that a page is known by."""

import asyncio

import pytest
from pydantic import SecretStr

from incident_process.core.http_server import is_loopback
from incident_process.dashboard.access import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    TRIES,
    TRIES_OF_ALL,
    TRY_SECONDS,
    Access,
    AccessDeniedError,
    ThrottledError,
)
from incident_process.dashboard.security_middleware import host_names
from incident_process.dashboard.sign_in_turns import MOST_HELD, MOST_WAITING, SignInTurns
from incident_process.settings.keys.dashboard_keys import Dashboard
from tests.dashboard.site import TOKEN, UNMASK_TOKEN


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access(Dashboard(token=SecretStr(TOKEN), unmask_token=SecretStr(UNMASK_TOKEN)), clock)


def test_each_token_gives_its_own_rights(access: Access) -> None:
    assert access.sign_in(TOKEN, "", "a")[1].may_unmask is False
    assert access.sign_in(UNMASK_TOKEN, "Ada", "a")[1].may_unmask is True


def test_without_tokens_nobody_signs_in_not_even_with_an_empty_one() -> None:
    access = Access(Dashboard())
    for token in ("", "None", TOKEN):
        with pytest.raises(AccessDeniedError):
            access.sign_in(token, "Ada", "a")


def test_a_session_is_over_when_nobody_uses_it_and_after_a_shift(access: Access, clock: Clock) -> None:
    cookie, session = access.sign_in(TOKEN, "Ada", "a")
    clock.now = IDLE_SECONDS - 1
    assert access.session(cookie, session.token) is not None
    clock.now += IDLE_SECONDS - 1
    assert access.session(cookie, session.token) is not None, "using it has kept it alive"
    assert access.knows(cookie)
    clock.now += IDLE_SECONDS + 1
    assert access.session(cookie, session.token) is None
    cookie, session = access.sign_in(TOKEN, "Ada", "a")
    began = clock.now
    while clock.now - began < LONGEST_SECONDS:
        assert access.session(cookie, session.token) is not None
        clock.now += IDLE_SECONDS / 2
    clock.now += 1
    assert access.session(cookie, session.token) is None
    assert not access.knows(cookie)


def test_only_cookie_and_token_together_stand_for_a_session(access: Access) -> None:
    cookie, session = access.sign_in(TOKEN, "Ada", "a")
    other, of_other = access.sign_in(TOKEN, "Eve", "a")
    right = session.token
    assert access.session(cookie, right) is session
    assert [access.session(wrong, right) for wrong in (None, "", cookie[:-1], cookie + "x", TOKEN, other)] == [None] * 6
    assert [access.session(cookie, wrong) for wrong in (None, "", right[:-1], "\udcff", TOKEN, of_other.token)] == [
        None
    ] * 6
    access.sign_out(cookie)
    assert access.session(cookie, right) is None


def test_the_cookie_alone_keeps_no_session_alive(access: Access, clock: Clock) -> None:
    cookie, session = access.sign_in(TOKEN, "Ada", "a")
    clock.now = IDLE_SECONDS - 1
    assert access.knows(cookie)
    assert access.session(cookie, "guessed") is None
    clock.now += 2
    assert access.session(cookie, session.token) is None


def test_who_somebody_is_comes_from_the_token() -> None:
    access = Access(
        Dashboard.model_validate(
            {
                "token": TOKEN,
                "unmask_token": UNMASK_TOKEN,
                "tokens": "ada: token-of-ada-alone\nbob: token-of-bob-alone",
                "unmask_tokens": "grace: token-of-grace-alone",
            }
        )
    )
    given = [
        (TOKEN, "", "token"),
        (TOKEN, "Grace", "token (says: Grace)"),
        (UNMASK_TOKEN, "grace) at 10.0.0.1 (x", "unmask_token (says: grace at 10.0.0.1 x)"),
        ("token-of-ada-alone", "Grace", "ada"),
        ("token-of-bob-alone", "", "bob"),
        ("token-of-grace-alone", "", "grace"),
    ]
    assert [access.sign_in(token, claimed, "a")[1].user for token, claimed, _ in given] == [who for *_, who in given]
    assert [access.sign_in(token, "x", "a")[1].may_unmask for token, *_ in given] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert access.asks_name
    assert not Access(Dashboard.model_validate({"tokens": "ada: token-of-ada-alone"})).asks_name


def test_secrets_are_in_no_repr(access: Access) -> None:
    cookie, session = access.sign_in(UNMASK_TOKEN, "Ada", "a")
    for secret in (cookie, session.token, TOKEN, UNMASK_TOKEN):
        assert secret not in repr(session) + repr(vars(access))


def test_guessing_is_slowed_down_by_address_and_over_all(access: Access, clock: Clock) -> None:
    def guess(address: str) -> Exception:
        with pytest.raises((AccessDeniedError, ThrottledError)) as caught:
            access.sign_in("wrong", "Ada", address)
        return caught.value

    assert [type(guess("a")) for _ in range(TRIES + 1)] == [AccessDeniedError] * TRIES + [ThrottledError]
    assert isinstance(guess("b"), AccessDeniedError)
    clock.now += TRY_SECONDS
    assert isinstance(guess("a"), AccessDeniedError)
    kinds = {type(guess(f"address {number}")) for number in range(TRIES_OF_ALL - 1)}
    assert kinds == {AccessDeniedError}
    assert "try again in 60 s" in str(guess("another"))


def test_the_right_token_is_never_locked_out(access: Access) -> None:
    for number in range(3 * TRIES_OF_ALL):
        with pytest.raises((AccessDeniedError, ThrottledError)):
            access.sign_in("wrong", "Ada", f"address {number % 7}")
        assert access.sign_in(TOKEN, "Ada", f"address {number % 7}")


def test_a_page_on_this_machine_is_known_by_its_own_names_only() -> None:
    hosts = host_names("127.0.0.1", frozenset({"proxy.example"}))
    assert all(
        hosts.know(host) for host in ("127.0.0.1", "127.0.0.1:8090", "LOCALHOST:1", "[::1]:8090", "proxy.example")
    )
    assert not any(
        hosts.know(host) for host in ("", "evil.example", "192.0.2.1", "127.0.0.1@evil.example:x", "a.localhost")
    )


def test_a_page_for_others_is_also_known_by_addresses() -> None:
    hosts = host_names("0.0.0.0", frozenset())
    assert hosts.know("192.0.2.1:8090")
    assert hosts.know("[2001:db8::1]")
    assert not hosts.know("evil.example")
    assert host_names("reports.example", frozenset()).know("reports.example:8090")


def test_which_addresses_are_this_machine_s_own() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.net", "")))


def test_a_crowd_at_one_address_takes_no_other_address_s_turn() -> None:
    async def crowd() -> None:
        turns = SignInTurns()
        for _ in range(MOST_HELD):
            assert await turns.take("crowd")
        waiting = [asyncio.create_task(turns.take("crowd")) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        assert not await turns.take("crowd"), "as many wait as may"
        other = asyncio.create_task(turns.take("other"))
        await asyncio.sleep(0)
        assert await waiting[-1] is False, "the newest of the crowd makes room"
        waiting[0].cancel()
        for _ in waiting[1:-1]:
            turns.give_back()
        turns.give_back()
        assert await other
        assert all(await asyncio.gather(*waiting[1:-1]))
        for _ in range(MOST_HELD):
            turns.give_back()
        assert await turns.take("crowd")

    asyncio.run(asyncio.wait_for(crowd(), 10))
