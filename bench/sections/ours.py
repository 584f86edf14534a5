"""The product's first load on each state, by the installed command, whole process."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from pymongo import MongoClient

from bench import product
from bench.measure import Case, Line, Sample, command, line
from bench.plan import CHUNK
from bench.product import clean
from bench.programs import mongo_writes
from bench.workspace import Workspace, say

ON_SQLITE = "ours, state on SQLite"
ON_SQLITE_SMALL = "ours, state on SQLite, a tenth of the accounts"
ON_MARIADB = "ours, state on MariaDB"
ON_MONGO = "ours, state on MongoDB's protocol"
RAW_MONGO = "raw writes of an incident on MongoDB's protocol"


def cases(workspace: Workspace) -> Iterator[Case]:
    """Yield what is measured in turn with the raw limits."""
    plan = workspace.plan
    first = f"first load, whole process; source on MariaDB; {workspace.receiver.name}"

    def on_sqlite() -> Sample:
        made = product.on_sqlite(
            workspace.folder, workspace.source(workspace.main), workspace.receiver.url, workspace.watched
        )
        return made.deliver(delivered=plan.accounts)

    def on_mariadb() -> Sample:
        made = product.on_mariadb(
            workspace.folder,
            workspace.source(workspace.main),
            workspace.receiver.url,
            workspace.watched,
            workspace.mariadb,
        )
        return made.deliver(delivered=plan.accounts)

    yield Case(section="ours", name=ON_SQLITE, count=plan.accounts, run=on_sqlite, repeats=plan.repeats, note=first)
    yield Case(section="ours", name=ON_MARIADB, count=plan.accounts, run=on_mariadb, repeats=plan.repeats, note=first)


def lines(workspace: Workspace) -> Iterator[Line]:
    """Yield the measurements that take turns with no other."""
    plan = workspace.plan
    if not plan.tiny:
        made = product.on_sqlite(
            workspace.folder, workspace.source(workspace.small), workspace.receiver.url, workspace.watched
        )
        note = "memory must not grow with accounts"
        yield _single(ON_SQLITE_SMALL, plan.small, made.deliver(delivered=plan.small), note)
    note = "the receiver, which writes each body to a file, is the limit"
    yield _single("ours, state on SQLite, the project's own receiver", plan.small, workspace.to_own_receiver, note)
    yield from _mongo(workspace)


def _mongo(workspace: Workspace) -> Iterator[Line]:
    """Yield the server's raw rate and the product's rate over it, measured in turn."""
    plan, server = workspace.plan, workspace.mongo
    source = workspace.source(workspace.main if plan.mongo == plan.accounts else workspace.small)
    watched = workspace.watched | ({"state": server.pid} if server.pid is not None else {})
    raw: list[Sample] = []
    ours: list[Sample] = []
    inserts, updates = [], []
    for turn in range(plan.repeats):
        databases = [f"incident_bench_{os.getpid()}_{turn}_{name}" for name in ("raw", "ours")]
        try:
            say(f"{server.name}: {plan.mongo:,} incidents raw, then by the product, {turn + 1} of {plan.repeats} ...")
            made = [
                product.on_mongo(workspace.folder, source, workspace.receiver.url, watched, server, database)
                for database in databases
            ]
            arguments = [server.url, databases[0], workspace.bodies, plan.mongo, CHUNK]
            sample = command(
                [sys.executable, mongo_writes.__file__, *map(str, arguments)],
                servers={name: pid for name, pid in watched.items() if name == "state"},
                environment=clean(),
            )
            spent = json.loads(sample.output)
            inserts.append(plan.mongo / spent["insert"])
            updates.append(plan.mongo / spent["update"])
            raw.append(replace(sample, seconds=spent["all"]))
            ours.append(made[1].deliver(delivered=plan.mongo))
        finally:
            with MongoClient[dict[str, object]](server.url) as client:
                for database in databases:
                    client.drop_database(database)
    note = f"{server.name}; insert_many {median(inserts):,.0f}/s, update in lists {median(updates):,.0f}/s"
    yield line("ours", RAW_MONGO, plan.mongo, raw, note)
    yield line("ours", ON_MONGO, plan.mongo, ours, server.name)


def _single(name: str, count: int, sample: Sample, note: str) -> Line:
    return line("ours", name, count, [sample], note)
