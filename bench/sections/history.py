"""The same window over accounts with few and with many earlier loads."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from bench import data, product
from bench.measure import Line, line
from bench.workspace import Workspace, say

NAME = "window over accounts with {} loads"


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield one line for each depth."""
    plan = workspace.plan
    for loads in plan.loads:
        say(f"{plan.history:,} accounts with {loads} loads each ...")
        database = data.load(workspace.mariadb, plan.history, plan.history, assets=1)
        with workspace.mariadb.connect(database) as connection:
            data.deepen(connection, loads)
        samples = []
        for _ in range(plan.repeats):
            made = product.on_sqlite(
                workspace.folder, workspace.source(database), workspace.receiver.url, workspace.watched
            )
            made.set_watermark(f"{datetime.now(UTC) - timedelta(hours=12):%Y-%m-%d %H:%M:%S}")
            samples.append(made.deliver(delivered=plan.history))
        note = f"{plan.history:,} accounts in the window, one customer row and two payments a load"
        yield line("history", NAME.format(loads), plan.history, samples, note)
        with workspace.mariadb.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {database}")
