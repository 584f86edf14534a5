"""An hourly run: few changed accounts, many unchanged ones in the lookback, in tables that grow."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import data, product
from bench.measure import Line, Sample, line
from bench.plan import ASSETS, Plan
from bench.sections.limits import raw_reading
from bench.workspace import Workspace, say

NAME = "hourly run"
RAW = "raw reading of the rows it looks at"
WIDEST = 90
"""How often the first rows can be added again under other account numbers, see ``data.widen``."""


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield raw reading and run for each size of the table."""
    plan = workspace.plan
    since = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d 00:00:00")  # the lookback, on whole days
    database = data.load(workspace.mariadb, plan.lookback, plan.lookback)
    made = product.on_sqlite(workspace.folder, workspace.source(database), workspace.receiver.url, workspace.watched)
    say("The first load before the hourly runs ...")
    made.deliver(delivered=plan.lookback)
    with workspace.mariadb.connect(database) as connection:
        copies, paid = 0, 0
        for rows in plan.table_rows:
            wanted = min(round(rows / (plan.lookback * ASSETS)) - 1, WIDEST)
            if wanted > copies:
                say(f"Growing debt_cust_detail to {rows:,} rows ...")
                data.widen(connection, range(10 + copies, 10 + wanted))
                copies = wanted
            yield _raw(workspace, database, since, rows)
            samples = []
            for _ in range(plan.repeats):
                samples.append(_run(made, connection, plan, paid))
                paid += plan.changed
            yield _line(plan, samples, rows)
    with workspace.mariadb.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {database}")


def _raw(workspace: Workspace, database: str, since: str, rows: int) -> Line:
    """Read the rows that the run has to read: once to warm the database's memory, then measured."""
    if not workspace.plan.tiny:
        raw_reading(workspace, database, since=since)
    samples = [raw_reading(workspace, database, since=since) for _ in range(workspace.plan.repeats)]
    note = f"rows of the {workspace.plan.lookback:,} accounts; {rows:,} customer rows in the table"
    return line("hourly", RAW, 0, samples, note)


def _run(made: product.Product, connection: Any, plan: Plan, first: int) -> Sample:
    """Change some accounts that no earlier call has changed, and run."""
    changed = [index % plan.lookback for index in range(first, first + plan.changed)]
    # Payments are stamped to the second: the next one is surely after the watermark, and over when the run begins.
    time.sleep(1.1)
    data.pay(connection, changed)
    time.sleep(0.1)
    made.make_due()
    return made.deliver(delivered=len(changed), unchanged=plan.lookback - len(changed))


def _line(plan: Plan, samples: list[Sample], rows: int) -> Line:
    note = (
        f"{plan.changed:,} changed, {plan.lookback - plan.changed:,} unchanged in the lookback; "
        f"{rows:,} customer rows in the table"
    )
    return line("hourly", NAME, 0, samples, note)
