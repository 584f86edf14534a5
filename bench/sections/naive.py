"""The naive way: a connection for each query, a connection for each POST, one account after the other."""

import sys
from collections.abc import Iterator
from dataclasses import replace

from bench.measure import Line, command, line
from bench.plan import ASSETS
from bench.programs import naive
from bench.sections.limits import typical_body
from bench.workspace import Workspace
from incident_process.sandbox.demo.data import Population

UNINDEXED = "naive way, tables without an index"
INDEXED = "naive way, tables with our indexes"


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield both forms, each over a sample."""
    plan = workspace.plan
    for name, indexed, sample in ((UNINDEXED, "no", plan.unindexed_sample), (INDEXED, "yes", plan.sample)):
        _, body = typical_body(workspace)
        population = Population(assets=ASSETS)
        # Over the whole table, not its beginning.
        accounts = [population.account(index) for index in range(0, plan.accounts, max(plan.accounts // sample, 1))]
        accounts = accounts[:sample]
        where = [*workspace.address(workspace.main), workspace.receiver.url, str(body), indexed]
        found = command(
            [sys.executable, naive.__file__, *where, *accounts],
            servers=workspace.watched,
            environment=workspace.environment,
        )
        found = replace(found, seconds=float(found.output))
        extrapolated = f"{plan.accounts / sample * found.seconds / 60:,.0f} minutes for all {plan.accounts:,}"
        note = f"a sample of {len(accounts)}; extrapolated: {extrapolated}"
        yield line("naive", name, len(accounts), [found], note)
