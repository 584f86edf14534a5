"""A value of the state that cannot be read is one sentence with table and column, in every command (SPEC 6, 7)."""

from typing import Any

import pytest
from pymongo import MongoClient

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.e2e.test_repair import load

ACCOUNTS = tuple(f"{number:010d}" for number in range(3))


@pytest.fixture(params=TRACKINGS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    made = make_site("sqlite", request.param)
    made.prepare()
    load(made, ACCOUNTS, day(5))
    assert made.run()["delivered"] == len(ACCOUNTS)
    return made


def damage(site: Site, table: str, column: str, value: Any) -> None:
    if site.state is not None:
        site.state.sql(f"UPDATE {table} SET {column} = ?", value)
        return
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        client[site.mongo[1]][table].update_many({}, {"$set": {column: value}})


def refusals(site: Site, column: str, *commands: tuple[str, ...]) -> None:
    for command in commands:
        refused = site.command(*command)
        assert refused.status == 1, (command, refused.stderr)
        (message,) = refused.messages("ERROR")
        assert f"The state is damaged: {column} holds a value that cannot be read" in message, command
        assert "report it" not in message
        assert "0770" not in message


def test_a_status_that_no_version_knows(site: Site) -> None:
    damage(site, "Process_Operation_Run", "Status", "0770")
    refusals(site, "Process_Operation_Run.Status", ("history",), ("status",))


def test_a_status_of_the_ledger_that_no_version_knows(site: Site) -> None:
    damage(site, "Incident_Delivery", "Status", "0770")
    refusals(site, "Incident_Delivery.Status", ("reconcile",), ("status",), ("deliveries",))


@pytest.mark.parametrize("site", ["sqlite", "mongo"], indirect=True)
@pytest.mark.parametrize(
    ("table", "column", "commands"),
    [
        ("Process_Operation_Run", "Started_Dtm", [("history",), ("status",)]),
        ("Incident_Delivery", "Created_Dtm", [("deliveries",)]),
    ],
)
def test_a_time_that_is_none(site: Site, table: str, column: str, commands: list[tuple[str, ...]]) -> None:
    damage(site, table, column, b"0770")
    refusals(site, f"{table}.{column}", *commands)


COMMON = (
    ("Process_Operation_Run", "Status", "no 0770"),
    ("Process_Operation_Run", "Host", b"no 0770"),
    ("Incident_Delivery", "Attempts", "no 0770"),
    ("Incident_Delivery", "Account_Num", b"no 0770"),
    ("Incident_Outbox", "Run_Id", b"no 0770"),
    ("Incident_Outbox", "Body", "no 0770"),
)
DAMAGES = {
    "sqlite": (
        *COMMON,
        ("Process_Operation_Run", "Started_Dtm", b"no 0770"),
        ("Process_Operation_Lease", "Token", "no 0770"),
        ("Incident_Outbox", "Token", "no 0770"),
        ("Incident_Outbox", "First_Incident_Id", "no 0770"),
        ("Incident_State_Version", "Needs", "no 0770"),
    ),
    "mongo": (
        *COMMON,
        ("Process_Operation_Lease", "token", "no 0770"),
        ("Process_Operation_Lease", "expires_at", "no 0770"),
        ("Incident_Outbox", "Incident_Ids", "no 0770"),
        ("Incident_State_Version", "Needs", "no 0770"),
    ),
}


@pytest.mark.parametrize("site", ["sqlite", "mongo"], indirect=True)
def test_a_run_says_it_and_changes_nothing(site: Site) -> None:
    """Neither ledger, outbox and watermark nor the receiver; with the value put right, the next run delivers."""
    site.command.configure(api={"max_attempts": 1, "retry_seconds": 0}, process={"lookback_seconds": 864_000})
    load(site, ACCOUNTS, day(2))
    site.receiver.control(fail_rate=1)
    site.make_due()
    site.run(4)
    site.receiver.calm()
    site.make_due()
    requests = len(site.requests())
    for table, column, value in DAMAGES["mongo" if site.state is None else "sqlite"]:
        before = values(site, table, column)
        damage(site, table, column, value)
        damaged = kept(site)
        refused = site.command("run")
        assert refused.status == 1, (table, column, refused.stderr)
        (message,) = refused.messages("ERROR")
        assert "report it" not in message, (table, column, message)
        assert "0770" not in message
        assert column in message if column != "Body" else "an outbox entry is damaged" in message
        assert kept(site) == damaged, (table, column)
        put_back(site, table, column, before)
    assert len(site.requests()) == requests
    report = site.run()
    assert (report["delivered"], report["pending"]) == (len(ACCOUNTS), 0)


def kept(site: Site) -> list[list[Any]]:
    """What a refused run must leave as it is: all but the lease, and its token on what is pending."""
    tables = [everything(site, name) for name in ("Incident_Outbox", "Incident_Delivery", "Process_Operation")]
    if site.state is None:
        return [[{**entry, "Token": None} for entry in table] for table in tables]
    return [[(*row[:5], *row[6:]) for row in tables[0]], *tables[1:]]


def everything(site: Site, table: str) -> list[Any]:
    """All rows of a table, or documents of a collection."""
    if site.state is not None:
        return site.state.sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        return list(client[site.mongo[1]][table].find().sort("_id"))


def values(site: Site, table: str, column: str) -> dict[Any, Any]:
    """The column's value in each row."""
    if site.state is not None:
        return dict(site.state.sql(f"SELECT rowid, {column} FROM {table}"))
    return {found["_id"]: found[column] for found in everything(site, table)}


def put_back(site: Site, table: str, column: str, before: dict[Any, Any]) -> None:
    """Give the rows these values again, and leave what a run has written since."""
    if site.state is not None:
        for row, value in before.items():
            site.state.sql(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", value, row)
        return
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        for row, value in before.items():
            client[site.mongo[1]][table].update_one({"_id": row}, {"$set": {column: value}})
