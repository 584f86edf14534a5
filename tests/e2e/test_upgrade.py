"""A state of another version: only init brings it up to date, and nothing works on one that it would harm (SPEC 6)."""

from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient

from incident_process.state import schema_version
from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.e2e.test_repair import load
from tests.support.command import wait_until
from tests.support.mariadb import MariaDBServer
from tests.support.schedules import schedule

ACCOUNTS = tuple(f"{number:010d}" for number in range(3))
SQL = pytest.mark.parametrize("site", ["sqlite", "mariadb"], indirect=True)
COMMANDS = (
    ("run", "--json"),
    ("status",),
    ("history",),
    ("deliveries",),
    ("preview",),
    ("reconcile",),
    ("reconcile", "--repair"),
    ("dead-letters", "list"),
    ("prune", "--older-than", "90d"),
    ("backfill", "--from", day(9), "--to", day(0)),
    ("state", "receiver", "--accept"),
    ("state", "rename", "a", "b"),
)


@pytest.fixture(params=TRACKINGS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """Three accounts delivered."""
    made = make_site("sqlite", request.param)
    made.prepare()
    load(made, ACCOUNTS, day(5))
    assert made.run()["delivered"] == len(ACCOUNTS)
    made.make_due()
    return made


def as_of_first_release(site: Site) -> None:
    """Take away what a state of 0.1.0 does not have."""
    assert site.state is not None
    for table in ("Process_Operation_Identity", "Incident_State_Version"):
        site.state.sql(f"DROP TABLE {table}")
    site.state.sql("ALTER TABLE Incident_Delivery DROP COLUMN Earlier_Digests")


def set_version(site: Site, number: int, needs: int) -> None:
    if site.state is not None:
        site.state.sql("UPDATE Incident_State_Version SET Version = ?, Needs = ?", number, needs)
        return
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        form = {"Version": number, "Needs": needs}
        client[site.mongo[1]]["Incident_State_Version"].update_one({"_id": "state"}, {"$set": form})


def tables(site: Site) -> set[str]:
    assert site.state is not None
    if site.state.dialect == "sqlite":
        return {name for (name,) in site.state.sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {name for (name,) in site.state.sql("SHOW TABLES")}


@SQL
def test_a_state_of_an_earlier_version_is_left_to_init(site: Site) -> None:
    as_of_first_release(site)
    before = tables(site)
    for command in COMMANDS:
        refused = site.command(*command)
        assert refused.status == 2, (command, refused.stderr)
        assert "Process_Operation_Identity" in refused.stderr, command
        assert "incident-process init" in refused.stderr, command
        assert "Traceback" not in refused.stderr
    doctor = site.command("doctor", "--json")
    assert doctor.status == 2
    assert any("Incident_State_Version" in item["finding"] for item in doctor.json if item["level"] == "error")
    assert tables(site) == before, "nobody but init has created anything"
    assert len(site.accepted()) == len(ACCOUNTS)

    assert site.command("init").status == 0
    assert tables(site) > before
    finished = site.finish()
    assert finished.json["delivered"] == 0, "the ledger is what it was"
    assert any(f"delivers to {site.receiver.url}" in message for message in finished.messages("INFO"))
    again = site.finish()
    assert not any("delivers to" in message for message in again.messages("INFO")), "it is noted once"


@SQL
def test_a_schedule_waits_for_init_and_goes_on(site: Site) -> None:
    """On a cluster the pods of the new version may start before the job that runs init is done."""
    as_of_first_release(site)
    with schedule(site.command, wait=False, interval_seconds=1) as running:
        wait_until(lambda: any("incident-process init" in line for line in running.log()), 30)
        status, body = running.ask("/readyz")
        assert (status, b"Traceback" in body) == (503, False)
        assert running.ask("/healthz")[0] == 200, "nothing is gained by starting it again"
        assert site.command("init").status == 0
        running.wait_for("INFO:Run ")
        running.stop()
    assert not [line for line in running.log() if "Traceback" in line]


@SQL
def test_a_column_that_is_missing_is_named_and_added_by_init(site: Site) -> None:
    assert site.state is not None
    site.state.sql("ALTER TABLE Incident_Delivery DROP COLUMN Rows_Digest")
    refused = site.finish(expect=2)
    assert "It lacks Incident_Delivery.Rows_Digest." in refused.stderr
    assert site.command("init").status == 0
    assert site.run()["delivered"] == 0


def test_a_state_of_mongodb_without_a_version_goes_on(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.prepare()
    load(site, ACCOUNTS, day(5))
    assert site.run()["delivered"] == len(ACCOUNTS)
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        database: Any = client[site.mongo[1]]
        database["Incident_State_Version"].drop()
        database["Process_Operation_Identity"].drop()
        finished = site.finish()
        assert finished.json["delivered"] == 0
        assert any(f"delivers to {site.receiver.url}" in message for message in finished.messages("INFO"))
        (noted,) = database["Incident_State_Version"].find()
        assert (noted["Version"], noted["Needs"]) == (schema_version.CURRENT, schema_version.NEEDS)


def test_a_newer_state_that_would_be_harmed_is_refused(site: Site) -> None:
    set_version(site, schema_version.CURRENT + 3, schema_version.CURRENT + 1)
    for command in (*COMMANDS, ("init",), ("doctor",)):
        refused = site.command(*command)
        assert refused.status == 2, (command, refused.stderr)
        assert "newer version of this program" in refused.stderr + refused.stdout, command
    assert len(site.accepted()) == len(ACCOUNTS)


def test_a_newer_state_that_takes_no_harm_is_worked_on_and_keeps_its_version(site: Site) -> None:
    set_version(site, schema_version.CURRENT + 3, schema_version.CURRENT)
    assert site.command("init").status == 0
    assert site.run()["delivered"] == 0
    if site.state is not None:
        assert site.state.sql("SELECT Version FROM Incident_State_Version") == [(schema_version.CURRENT + 3,)]


def test_what_init_lacks_is_named_and_nothing_else(make_site: MakeSite, mariadb: MariaDBServer) -> None:
    site = make_site("sqlite", "mariadb")
    site.prepare()
    assert site.state is not None
    name = site.state.url.rpartition("/")[2]
    host = site.state.url.rpartition("@")[2]
    with closing(mariadb.connect(None)) as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name}.Incident_Delivery DROP COLUMN Rows_Digest")
        cursor.execute("CREATE USER 'upgrading'@'%' IDENTIFIED BY 'synthetic'")
        try:
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX ON {name}.* TO 'upgrading'@'%'")
            site.command.configure(state={"url": f"mysql://upgrading:synthetic@{host}"})
            refused = site.command("init")
            assert refused.status == 3
            assert "Grant ALTER on" in refused.stderr
            assert "Incident_Delivery" in refused.stderr
            assert "Grant SELECT" not in refused.stderr, "what is granted is not asked for"
            cursor.execute(f"GRANT ALTER ON {name}.* TO 'upgrading'@'%'")
            assert site.command("init").status == 0
        finally:
            cursor.execute("DROP USER 'upgrading'@'%'")
