"""Whole processes without work: an empty window, and commands for which a person waits."""

import os
import sys
from collections.abc import Callable, Iterator

from bench import data, product
from bench.measure import Line, Sample, command, line
from bench.workspace import Workspace

EMPTY = "run, empty window"
HELP = "--help"


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield the cold starts."""
    plan = workspace.plan
    # Accounts with old rows only: nothing in the window, nothing in the lookback.
    database = data.load(workspace.mariadb, min(plan.accounts, 1_000), 0)
    made = product.on_sqlite(workspace.folder, workspace.source(database), workspace.receiver.url, workspace.watched)
    made.deliver(delivered=min(plan.accounts, 1_000))

    def empty() -> Sample:
        made.make_due()
        return made.deliver(accounts=0, delivered=0)

    measured: tuple[tuple[str, Callable[[], Sample], str], ...] = (
        (EMPTY, empty, "MariaDB source, SQLite state, with the POST of {}"),
        ("status", lambda: made.run("status"), ""),
        (HELP, lambda: command([*product.program(), "--help"], environment=product.clean()), ""),
        (
            "an interpreter that does nothing",
            lambda: command([sys.executable, "-c", "pass"], environment=dict(os.environ)),
            "the floor of the three",
        ),
    )
    for name, run, note in measured:
        yield line("starts", name, 0, [run() for _ in range(plan.starts)], note)
