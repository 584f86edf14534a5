"""Ids as ranges: exactly the ids that were given, each once."""

from hypothesis import given
from hypothesis import strategies as st

from incident_process.state.batches import LONG, id_ranges

ids = st.sets(st.integers(1, 80) | st.integers(2**53 - 40, 2**53))


@given(ids)
def test_ranges_and_single_ids_are_the_ids(wanted: set[int]) -> None:
    ranges, single = id_ranges(wanted)
    found = [*single, *(number for first, last in ranges for number in range(first, last + 1))]
    assert sorted(found) == sorted(wanted)
    assert all(last - first + 1 >= LONG for first, last in ranges)


def test_a_chunk_is_one_range() -> None:
    assert id_ranges(reversed(range(7, 1007))) == ([(7, 1006)], [])
