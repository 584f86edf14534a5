"""Whole processes with little or no work: a hundred accounts, an empty window, and commands a person waits for."""

import os
import sys
from collections.abc import Callable, Iterator

from bench import data, product
from bench.measure import Line, Sample, command, line
from bench.workspace import Workspace

EMPTY = "run, empty window"
FEW_ACCOUNTS = 100
FEW = f"run, {FEW_ACCOUNTS} accounts"
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

    small = workspace.source(data.load(workspace.mariadb, FEW_ACCOUNTS, FEW_ACCOUNTS))

    def few() -> Sample:
        fresh = product.on_sqlite(workspace.folder, small, workspace.receiver.url, workspace.watched)
        return fresh.deliver(delivered=FEW_ACCOUNTS)

    measured: tuple[tuple[str, Callable[[], Sample], str], ...] = (
        (EMPTY, empty, "MariaDB source, SQLite state, with the POST of {}"),
        (FEW, few, "the same, and a first load"),
        ("status", lambda: made.run("status"), ""),
        (HELP, lambda: command([*product.program(), "--help"], environment=product.clean()), ""),
        (
            "an interpreter that does nothing",
            lambda: command([sys.executable, "-c", "pass"], environment=dict(os.environ)),
            "the floor of the others",
        ),
    )
    for name, run, note in measured:
        yield line("starts", name, 0, [run() for _ in range(plan.starts)], note)
