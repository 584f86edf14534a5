"""The events of a run: who hears them, what they cost where nobody does, and what a listener's fault does."""

import asyncio

import pytest

from incident_process.core.events import AccountsDone, Events, StateWritten


def test_each_listener_hears_its_kind_in_order() -> None:
    events, heard = Events(), list[str]()
    events.listen(AccountsDone, lambda done: heard.append(f"first {done.accounts}"))
    events.listen(AccountsDone, lambda done: heard.append(f"second {done.accounts}"))
    events.listen(StateWritten, lambda done: heard.append(done.step))
    events.emit(AccountsDone, 3)
    assert heard == ["first 3", "second 3"]


def test_an_event_that_nobody_hears_is_not_built() -> None:
    def build() -> None:
        raise AssertionError

    Events().emit(build)


def test_a_listener_that_fails_hears_no_more_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    events, heard = Events(), list[int]()

    def failing(_: AccountsDone) -> None:
        raise BrokenPipeError("a secret")

    events.listen(AccountsDone, failing)
    events.listen(AccountsDone, lambda done: heard.append(done.accounts))
    with caplog.at_level("WARNING", "incident_logger"):
        events.emit(AccountsDone, 1)
        events.emit(AccountsDone, 2)
    assert heard == [1, 2]
    assert caplog.messages == ["A listener to AccountsDone failed and hears no more: BrokenPipeError"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_write_is_told_with_its_time_also_where_it_fails(fails: bool) -> None:
    events, heard = Events(), list[StateWritten]()
    events.listen(StateWritten, heard.append)

    async def record_outcomes(number: int) -> int:
        await asyncio.sleep(0.01)
        return 1 // number

    if fails:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(events.timed(record_outcomes, 0))
    else:
        assert asyncio.run(events.timed(record_outcomes, 1)) == 1
    (written,) = heard
    assert written.step == "record_outcomes"
    assert 0.01 <= written.seconds < 1
