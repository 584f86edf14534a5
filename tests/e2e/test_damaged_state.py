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
