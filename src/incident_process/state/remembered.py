"""What the ledger keeps of a delivery that ``prune`` deletes: a mark of its content, at a later one of its account.

Content that comes back after other content was delivered gets an idempotency key of its own (``pipeline.enqueue``):
under the first key the receiver would take it for a repetition. So the ledger has to recognise every content that was
ever delivered, or may have been, however long ago.
"""

from collections.abc import Collection, Iterable, Mapping

from incident_process.core.models import LastDelivery

_DIGITS = 16
"""Hexadecimal digits of a digest in its mark. Two contents of one account share a mark with a chance of 1 in 2^64; the
later one would then get a key of its own without need."""


def mark(digest: str) -> str:
    """Return the mark of a content."""
    return digest[:_DIGITS]


def delivered_among(
    wanted: Collection[tuple[str, str]],
    delivered: Iterable[tuple[str, str, Iterable[str]]],
    refused: Iterable[tuple[str, str]] = (),
) -> set[tuple[str, str]]:
    """Return the wanted (account, digest) pairs that are among deliveries, their earlier marks, or refused ones.

    A delivery is account, digest and the marks of earlier ones.
    """
    digests = set(refused)
    marks: set[tuple[str, str]] = set()
    for account, digest, earlier in delivered:
        digests.add((account, digest))
        marks.update((account, one) for one in earlier)
    return {
        (account, digest)
        for account, digest in wanted
        if (account, digest) in digests or (account, mark(digest)) in marks
    }


def followed(dead: Iterable[tuple[str, str, int]], known: Mapping[str, LastDelivery]) -> Iterable[tuple[str, str]]:
    """Return account and digest of those dead letters (account, digest, id) that a delivery has followed.

    The receiver may have taken such a content without an answer. Until a delivery follows, its key has to stay the
    same: a replay of it may be a repetition.
    """
    return [(account, digest) for account, digest, number in dead if number < known[account].delivered_id]
