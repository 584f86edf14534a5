"""The pipeline as it is, before receivers that refuse some, limit the rate, and fail everybody for a while.

``MODEL_FACTOR=100`` plays a hundred times as many histories. Each safeguard is taken out in turn, and the same
histories find what it is for.
"""

from collections.abc import Callable

import msgspec
import pytest

from incident_process.delivery import policy
from incident_process.delivery.policy import Evidence, Failure, Fate, Verdict
from incident_process.delivery.sender import Sender
from incident_process.pipeline.deliver import Dispatcher
from tests.model.machine import FACTOR, BrokenError
from tests.model.refusals import search

HISTORIES = 100
MOST_HISTORIES = 1000

Patch = pytest.MonkeyPatch


def test_nothing_healthy_dies_nothing_waits_and_every_history_ends() -> None:
    search(HISTORIES * FACTOR)


def _count_whatever_failed(patch: Patch) -> None:
    def fate_of(failure: Failure, evidence: Evidence, *, max_runs: int) -> Fate:
        return policy.fate_of(msgspec.structs.replace(failure, alone=True), evidence, max_runs=max_runs)

    patch.setattr("incident_process.pipeline.deliver.fate_of", fate_of)


def _instead_of(wanted: set[Verdict], given: Verdict) -> Callable[[Patch], None]:
    def remove(patch: Patch) -> None:
        def judge(status: int | None, *, may_have_arrived: bool, others_taken: bool = False) -> Verdict:
            found = policy.judge(status, may_have_arrived=may_have_arrived, others_taken=others_taken)
            return given if found in wanted else found

        patch.setattr("incident_process.delivery.sender.judge", judge)

    return remove


def _try_no_more(patch: Patch) -> None:
    async def leave(_dispatcher: Dispatcher) -> None:
        """Leave it at the attempts that there were."""

    patch.setattr(Dispatcher, "once_more", leave)


def _trust_what_failed_before(patch: Patch) -> None:
    patch.setattr(Sender, "_is_stale", staticmethod(lambda _: False))


@pytest.mark.parametrize(
    ("remove", "breaks"),
    [
        (_count_whatever_failed, "healthy"),
        (_instead_of({Verdict.REFUSED, Verdict.SUSPECT}, Verdict.DEAD), "healthy"),
        (_instead_of({Verdict.THROTTLED}, Verdict.RETRY), "waits"),
        (_try_no_more, "hangs"),
        (_trust_what_failed_before, "waits"),
    ],
    ids=[
        "a run counts against a record that fails alone",
        "a refusal waits until others are taken",
        "a limit of the rate uses up no attempt",
        "what failed is tried once more at the end of the run",
        "what failed before never opens the circuit",
    ],
)
def test_without_it_an_invariant_breaks(
    remove: Callable[[Patch], None], breaks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch)
    with pytest.raises(BrokenError) as broken:
        search(MOST_HISTORIES, shorten=False)
    assert breaks in broken.value.invariants
