"""The unchanged pipeline against receivers that refuse some accounts, limit the rate, and fail for a while.

``MODEL_FACTOR=100`` plays a hundred times as many histories. The tests remove each safeguard in turn, and the same
histories must break an invariant.
"""

from collections.abc import Callable

import msgspec
import pytest

from incident_process.delivery import policy
from incident_process.delivery.policy import DeadLetterDecision, Evidence, Failure, ResponseClass
from incident_process.delivery.sender import Sender
from incident_process.pipeline.deliver import ChunkDeliverer
from tests.model.machine import FACTOR, BrokenError
from tests.model.refusals import search

HISTORIES = 100
MOST_HISTORIES = 1000

Patch = pytest.MonkeyPatch


def test_nothing_healthy_dies_nothing_waits_and_every_history_ends() -> None:
    search(HISTORIES * FACTOR)


def _count_whatever_failed(patch: Patch) -> None:
    def fate_of(failure: Failure, evidence: Evidence, *, max_runs: int) -> DeadLetterDecision:
        return policy.dead_letter_decision(msgspec.structs.replace(failure, alone=True), evidence, max_runs=max_runs)

    patch.setattr("incident_process.pipeline.deliver.dead_letter_decision", fate_of)


def _instead_of(wanted: set[ResponseClass], given: ResponseClass) -> Callable[[Patch], None]:
    def remove(patch: Patch) -> None:
        def judge(status: int | None, *, may_have_arrived: bool, others_taken: bool = False) -> ResponseClass:
            found = policy.classify_response(status, may_have_arrived=may_have_arrived, others_taken=others_taken)
            return given if found in wanted else found

        patch.setattr("incident_process.delivery.sender.classify_response", judge)

    return remove


def _try_no_more(patch: Patch) -> None:
    async def leave(_deliverer: ChunkDeliverer) -> None:
        """Make no further attempt."""

    patch.setattr(ChunkDeliverer, "try_again", leave)


def _trust_what_failed_before(patch: Patch) -> None:
    patch.setattr(Sender, "_is_stale", staticmethod(lambda _: False))


@pytest.mark.parametrize(
    ("remove", "breaks"),
    [
        (_count_whatever_failed, "healthy"),
        (_instead_of({ResponseClass.REFUSED, ResponseClass.SUSPECT}, ResponseClass.DEAD), "healthy"),
        (_instead_of({ResponseClass.THROTTLED}, ResponseClass.RETRY), "waits"),
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
