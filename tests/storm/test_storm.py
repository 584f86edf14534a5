"""A storm of a minute for each state (SPEC 10). ``python -m tests.storm`` has longer ones, with any seed."""

from collections import Counter
from pathlib import Path

import pytest

from tests.storm.plan import STATES, make_plan
from tests.storm.storm import run_storm
from tests.storm.writing import WRITERS, transactions

SECONDS = 60.0
SEED = 3
RAGED = [state for state in STATES if state != "mysql"]
"""MySQL takes seconds to come back from a kill, so that little happens within a minute: `make storm STATE=mysql`."""


@pytest.mark.parametrize("state", RAGED)
def test_nothing_missed_nothing_doubled(state: str, tmp_path: Path) -> None:
    report = run_storm(make_plan(SEED, state, SECONDS), tmp_path)
    told = "\n".join(report.lines())
    assert not report.problems, told
    # It was a storm: without these figures it would have shown nothing.
    places = Counter(dict.fromkeys(("run", "source", "state", "receiver"), 0))
    for kind, count in report.done.items():
        places[kind.partition(": ")[0]] += count
    assert min(places.values()) >= 1, told
    assert places["run"] >= 3, told
    assert report.incidents >= 50, told


@pytest.mark.parametrize("state", STATES)
def test_the_seed_decides_the_plan(state: str) -> None:
    plans = [make_plan(seed, state, 3600.0) for seed in (5, 5, 6)]
    assert plans[0] == plans[1] != plans[2]
    assert all(fault.at + fault.seconds <= 3600.0 for faults in plans[0].faults.values() for fault in faults)
    kinds = {fault.kind for fault in plans[0].faults["receiver"]}
    assert {
        "kill",
        "cut",
        "stall",
        "mute",
        "refuse",
        "drop",
        "fail",
        "hang",
        "reject",
        "poison",
        "limit",
        "proxy",
    } == kinds
    assert {run.ending for run in plans[0].runs} == {"none", "kill", "terminate", "pause"}


def test_the_seed_decides_what_is_written() -> None:
    site = make_plan(5, "sqlite", 60.0).site

    def written(seed: int, writer: int) -> list[object]:
        made = transactions(seed, writer, site)
        return [next(made) for _ in range(200)]

    assert written(5, 0) == written(5, 0)
    of_all = [written(5, writer) for writer in range(WRITERS)] + [written(6, 0)]
    assert all(one != other for number, one in enumerate(of_all) for other in of_all[:number])
