"""The safeguards of SPEC 3, 5 and 6, each with what removes it from the program or from the doubles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from incident_process.core.models import (
    Chunk,
    Incident,
    LastDelivery,
)
from incident_process.delivery import policy
from incident_process.delivery.idempotency import idempotency_key
from incident_process.document.assembly import render_body
from incident_process.pipeline import change_detection, enqueue, transform
from incident_process.pipeline.change_detection import AccountContent, Decision, ResendPolicy, account_content
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.deliver import ChunkDeliverer
from incident_process.pipeline.plans import Selection, WindowPlan
from incident_process.pipeline.processor import ChunkProcessor
from tests.model import scenes
from tests.model.machine import Storm
from tests.model.scenes import Scene
from tests.model.state import OPERATION
from tests.model.world import GAP_SECONDS, Flaws

Patch = pytest.MonkeyPatch
NONE = Flaws()


@dataclass(frozen=True, slots=True, kw_only=True)
class Safeguard:
    """A safeguard: how to remove it, where that shows, and which invariants break then.

    A scene must break all of them; a storm ends with the first.
    """

    name: str
    breaks: set[str]
    seen_in: type[Storm] | Scene = Storm
    flaws: Flaws = NONE
    remove: Callable[[Patch], None] = lambda _: None


def _plain_ids(patch: Patch) -> None:
    patch.setattr("incident_process.pipeline.enqueue.id_floor", lambda _: 1)
    patch.setattr("incident_process.pipeline.deliver.id_floor", lambda _: 1)


def _trust_409(patch: Patch) -> None:
    def judge(status: int | None, *, may_have_arrived: bool, others_taken: bool = False) -> policy.ResponseClass:
        return policy.classify_response(
            status, may_have_arrived=may_have_arrived or status == 409, others_taken=others_taken
        )

    patch.setattr("incident_process.delivery.sender.classify_response", judge)


def _rebuild(patch: Patch) -> None:
    """Rebuild the outbox from the present rows, under the ids that it has."""

    async def resume(processor: ChunkProcessor) -> None:
        parts, lease = processor._context.parts, processor._context.lease
        as_of = processor._context.started_at - timedelta(seconds=GAP_SECONDS)
        for chunk_id in await parts.store.claim_outbox(lease):
            chunk = await parts.store.load_chunk(chunk_id)
            for incident in chunk.incidents if chunk is not None else ():
                assert chunk is not None
                (rows,) = await parts.source.read([incident.account], as_of)
                content = account_content(rows, parts.settings.process.zone)
                if content is not None and content.document is not None:
                    new = _incident(content, incident, processor._context)
                    chunk = await parts.store.replace_incident(lease, chunk, incident.incident_id, new)
            if chunk is not None:
                await processor._deliverer.deliver(chunk, resumed=True)

    patch.setattr(ChunkProcessor, "drain_outboxes", resume)


def _incident(content: AccountContent, old: Incident, context: RunContext) -> Incident:
    assert content.document is not None
    return Incident(
        incident_id=old.incident_id,
        account=old.account,
        digest=content.digest,
        key=idempotency_key(OPERATION, old.account, content.digest),
        body=render_body(content.document, old.incident_id, context.started_at, "drs_admin"),
    )


def _instead_of(wanted: Decision, given: Decision) -> Callable[[Patch], None]:
    def remove(patch: Patch) -> None:
        def decide(
            made: AccountContent, known: LastDelivery | None, resend: ResendPolicy = ResendPolicy.CHANGED
        ) -> Decision:
            found = real_decide(made, known, resend)
            return given if found is wanted else found

        real_decide = change_detection.decide
        patch.setattr(transform, "decide", decide)

    return remove


def _resend_all(patch: Patch) -> None:
    """Send every content, changed or not, unless the account has one under way."""

    def decide(
        made: AccountContent, known: LastDelivery | None, _resend: ResendPolicy = ResendPolicy.CHANGED
    ) -> Decision:
        return real_decide(made, known, ResendPolicy.ALL)

    real_decide = change_detection.decide
    patch.setattr(transform, "decide", decide)


def _no_nonce(patch: Patch) -> None:
    def key(operation: str, account: str, digest: str, _nonce: str = "") -> str:
        return idempotency_key(operation, account, digest)

    patch.setattr(enqueue, "idempotency_key", key)


def _no_notes(patch: Patch) -> None:
    async def note_nothing(_deliverer: ChunkDeliverer, _chunk: Chunk) -> None:
        """Leave the outbox as it is."""

    patch.setattr(ChunkDeliverer, "note_in_doubt", note_nothing)


class _Eager(WindowPlan):
    """Moves the watermark once it knows the window's accounts, before it sends anything."""

    async def select(self, context: RunContext, counters: RunCounters) -> Selection | None:
        selection = await super().select(context, counters)
        assert self._survey is not None
        operation = await self._advance(context, self._survey.newest, new_data=self._survey.accounts > 0)
        self._operation = operation
        return selection


def _eager(patch: Patch) -> None:
    patch.setattr("tests.model.history.WindowPlan", _Eager)


SAFEGUARDS: Sequence[Safeguard] = (
    Safeguard(
        name="the outbox is claimed by a fenced write",
        flaws=Flaws(claim=True),
        seen_in=scenes.overtaken_by_the_clock,
        breaks={"doubled"},
    ),
    Safeguard(
        name="ids are never behind the clock",
        remove=_plain_ids,
        seen_in=scenes.restored_at_each_point,
        breaks={"one body", "missed"},
    ),
    Safeguard(name="a 409 on a first attempt is no delivery", remove=_trust_409, breaks={"missed", "watermark"}),
    Safeguard(
        name="the outbox is sent as it was written",
        remove=_rebuild,
        seen_in=scenes.killed_twice,
        breaks={"one body", "missed"},
    ),
    Safeguard(
        name="what was never sent is noted as in doubt before it is",
        remove=_no_notes,
        seen_in=scenes.stopped_then_killed,
        breaks={"doubled"},
    ),
    Safeguard(
        name="the window waits for open transactions",
        flaws=Flaws(guard=True),
        seen_in=scenes.committed_late,
        breaks={"missed"},
    ),
    Safeguard(name="the lookback", flaws=Flaws(lookback=True), breaks={"missed"}),
    Safeguard(
        name="every write checks the token",
        flaws=Flaws(fencing=True),
        seen_in=scenes.overtaken_by_time,
        breaks={"fenced", "doubled", "missed"},
    ),
    Safeguard(
        name="new content waits behind the old",
        remove=_instead_of(Decision.WAIT, Decision.SEND),
        seen_in=scenes.never_answered,
        breaks={"missed", "order"},
    ),
    Safeguard(
        name="the watermark waits for held accounts",
        remove=_instead_of(Decision.WAIT, Decision.SKIP),
        seen_in=scenes.given_up,
        breaks={"watermark"},
    ),
    Safeguard(name="the watermark moves after the outcomes", remove=_eager, breaks={"watermark", "missed"}),
    Safeguard(name="the ledger's digest", remove=_resend_all, breaks={"doubled", "restless"}),
    Safeguard(
        name="a key of its own for content that returns",
        remove=_no_nonce,
        seen_in=scenes.content_returns,
        breaks={"missed"},
    ),
)
