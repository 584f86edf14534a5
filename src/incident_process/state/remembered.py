"""What the ledger keeps of a delivery that ``prune`` deletes: a mark of its content, at a later one of its account.

Content that comes back after other content was delivered gets an idempotency key of its own (``pipeline.enqueue``):
under the first key the receiver would take it for a repetition. So the ledger has to recognise every content that was
ever delivered, however long ago.
"""

from collections.abc import Collection, Iterable

_DIGITS = 16
"""Hexadecimal digits of a digest in its mark. Two contents of one account share a mark with a chance of 1 in 2^64; the
later one would then get a key of its own without need."""


def mark(digest: str) -> str:
    """Return the mark of a content."""
    return digest[:_DIGITS]


def delivered_among(
    wanted: Collection[tuple[str, str]], found: Iterable[tuple[str, str, Iterable[str]]]
) -> set[tuple[str, str]]:
    """Return the wanted (account, digest) pairs that are among deliveries: account, digest, marks of earlier ones."""
    digests: set[tuple[str, str]] = set()
    marks: set[tuple[str, str]] = set()
    for account, digest, earlier in found:
        digests.add((account, digest))
        marks.update((account, one) for one in earlier)
    return {
        (account, digest)
        for account, digest in wanted
        if (account, digest) in digests or (account, mark(digest)) in marks
    }
