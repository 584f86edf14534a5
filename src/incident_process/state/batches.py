"""Values in parts that one statement of a database takes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from incident_process.core.models import Outcome

T = TypeVar("T")

BATCH = 1000
"""Values in one list of an SQL statement: SQLite takes 32,766 parameters, and MySQL plans long lists slowly."""
LONG = 10
"""Consecutive ids from which on a range replaces a list."""


def batches(values: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield the values in slices of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


_recorded = attrgetter("status", "attempts", "runs", "http_status", "error")


def equal_outcomes(outcomes: Iterable[Outcome]) -> Iterator[tuple[Outcome, list[int]]]:
    """Yield each different outcome, as the last incident has it, with the ids of all incidents that have it.

    The outcomes of a chunk are usually all equal, and then take one statement.
    """
    groups: defaultdict[tuple[object, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[_recorded(outcome)].append(outcome)
    for group in groups.values():
        yield max(group, key=attrgetter("at")), [one.incident_id for one in group]


def id_ranges(ids: Iterable[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return distinct ids as ranges, each by its first and last id, and the ids that are in none; both ascend.

    A chunk reserves its ids in one piece, so this is usually a single range, which costs a database less than a list.
    """
    ranges: list[tuple[int, int]] = []
    single: list[int] = []
    for _, places in groupby(enumerate(sorted(ids)), lambda place: place[1] - place[0]):
        row = [number for _, number in places]
        if len(row) < LONG:
            single += row
        else:
            ranges.append((row[0], row[-1]))
    return ranges, single
