"""The state is lost, restored from an old copy, or refuses a write after the delivery (SPEC 5, 6, 10)."""

import resource
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.e2e.conftest import SERVERS, TRACKINGS, MakeSite, ServerDatabase, Site, SqliteDatabase, day, moment
from tests.e2e.test_promise_boundary import check_promise, histories, load
from tests.support.command import KILLED, wait_until
from tests.support.mongo_server import MongoServer
from tests.support.sql_server import SqlServer

CHUNK = 4


@contextmanager
def collections_of(site: Site) -> Iterator[Any]:
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0], tz_aware=True) as client:
        yield client[site.mongo[1]]


def lose(site: Site) -> None:
    """Lose the whole state: the file, the tables, the collections."""
    if site.mongo is not None:
        with collections_of(site) as database:
            for name in database.list_collection_names():
                database.drop_collection(name)
    elif isinstance(site.state, SqliteDatabase):
        for file in site.state.file.parent.glob(f"{site.state.file.name}*"):
            file.unlink()
    else:
        assert site.state is not None
        for (table,) in site.state.sql("SHOW TABLES"):
            site.state.sql(f"DROP TABLE {table}")


def copy_state(site: Site) -> Callable[[], None]:
    """Copy the whole state as a backup does; return what puts the copy back in place of what is there then."""
    if site.mongo is not None:
        with collections_of(site) as database:
            kept = {name: list(database[name].find()) for name in database.list_collection_names()}
        return lambda: _put_documents_back(site, kept)
    if isinstance(site.state, SqliteDatabase):
        file, copy = site.state.file, site.state.file.with_suffix(".copy")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return lambda: _put_file_back(file, copy)
    assert isinstance(site.state, ServerDatabase)
    tables = [table for (table,) in site.state.sql("SHOW TABLES")]
    for table in tables:
        site.state.sql(f"CREATE TABLE copy_of_{table} AS SELECT * FROM {table}")
    return lambda: _put_tables_back(site, tables)


def _put_documents_back(site: Site, kept: dict[str, list[Any]]) -> None:
    with collections_of(site) as database:
        for name in database.list_collection_names():
            database[name].delete_many({})
        for name, documents in kept.items():
            if documents:
                database[name].insert_many(documents)


def _put_file_back(file: Path, copy: Path) -> None:
    for left in file.parent.glob(f"{file.name}-*"):
        left.unlink()
    shutil.copyfile(copy, file)


def _put_tables_back(site: Site, tables: list[str]) -> None:
    assert site.state is not None
    for table in tables:
        site.state.sql(f"DELETE FROM {table}")
        site.state.sql(f"INSERT INTO {table} SELECT * FROM copy_of_{table}")


def site_with_a_state_of_its_own(make_site: MakeSite, tracking: str) -> Site:
    """Keep source and state apart, so that one can go without the other."""
    site = make_site("mariadb" if tracking == "sqlite" else "sqlite", tracking)
    site.command.configure(process={"chunk_accounts": CHUNK})
    site.prepare()
    return site


def given_accounts(site: Site, mark: str, count: int = 10) -> dict[str, Decimal]:
    """Put accounts there that no other test has: at a receiver that honours keys they would be known already."""
    final = {f"{mark} {number:02d}": Decimal(f"{number}.50") for number in range(count)}
    rows = ({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "OUTSTANDING": str(v), "LOAD_DATE": day(5)} for a, v in final.items())
    site.customers(*rows)
    return final


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_state_that_was_lost(make_site: MakeSite, tracking: str) -> None:
    """Case 14: without ``init`` nothing is sent; after it nothing is missed, ids are new, and keys are the same."""
    site = site_with_a_state_of_its_own(make_site, tracking)
    site.receiver.control(honour_keys=True)
    final = given_accounts(site, f"lost {tracking}")
    assert site.run()["delivered"] == len(final)
    lose(site)
    if tracking != "mongo":
        refused = site.command("run")
        assert refused.status in {3, 6}
        assert "incident-process init" in refused.stderr
        assert len(site.requests()) == len(final)
    new = f"lost {tracking} new"
    final[new] = Decimal("77.00")
    load(site, new, day(3), OUTSTANDING="77.00")
    site.prepare()
    finished = site.command("run", "--json")
    assert "The state knows no earlier run of this operation" in finished.stderr
    assert finished.json["delivered"] == len(final)
    assert {account: len(contents) for account, contents in histories(site).items()} == dict.fromkeys(final, 1)
    check_promise(site, final)
    ids = Counter(request["incident_id"] for request in site.requests() if request["idempotency_key"])
    assert set(ids.values()) == {1}


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_state_restored_from_an_old_copy(make_site: MakeSite, tracking: str) -> None:
    """Case 14: the copy holds an outbox of long ago and nothing of what came since; nothing is doubled or lost."""
    site = site_with_a_state_of_its_own(make_site, tracking)
    site.receiver.control(honour_keys=True)
    mark = f"old {tracking}"
    final = given_accounts(site, mark)
    assert site.command.run({"INCIDENT_PROCESS_FAULT": "recorded:1"}).status == KILLED
    restore = copy_state(site)
    site.run()
    changed = f"{mark} 00"
    final[changed] = Decimal("99.00")
    load(site, changed, moment(90)[:10], OUTSTANDING="99.00")
    site.make_due()
    assert site.run()["delivered"] == 1
    accepted = len(site.accepted())
    restore()
    site.make_due()
    report = site.run()
    assert (report["status"], report["pending"], report["dead"]) == ("completed", 0, 0)
    assert len(site.accepted()) == accepted == len(final) + 1
    check_promise(site, final)
    site.make_due()
    assert site.run()["status"] == "no_data"


@contextmanager
def full_disk(site: Site, pid: int, request: pytest.FixtureRequest) -> Iterator[None]:
    """No file of the process may grow any more: its write-ahead log is as large as it may become."""
    del request
    assert isinstance(site.state, SqliteDatabase)
    log = site.state.file.with_name(f"{site.state.file.name}-wal")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size, resource.RLIM_INFINITY))
    yield


@contextmanager
def no_right_to_write(site: Site, pid: int, request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the rights from the state's user, as an administrator in haste does."""
    del pid, request
    assert isinstance(site.state, ServerDatabase)
    user = f"'{site.state.name}'@'%'"
    tables = [table for (table,) in site.state.sql("SHOW TABLES")]
    for table in tables:
        site.state.sql(f"REVOKE INSERT, UPDATE, DELETE ON {site.state.name}.{table} FROM {user}")
    yield
    for table in tables:
        site.state.sql(f"GRANT INSERT, UPDATE, DELETE ON {site.state.name}.{table} TO {user}")


@contextmanager
def no_server(site: Site, pid: int, request: pytest.FixtureRequest) -> Iterator[None]:
    """End the state's server."""
    del site, pid
    server: MongoServer | None = request.getfixturevalue("mongo_server")
    if server is None:
        pytest.skip("a server that somebody else named is not ended")
    server.kill()
    yield
    server.start()


REFUSALS = {"sqlite": full_disk, "mariadb": no_right_to_write, "mysql": no_right_to_write, "mongo": no_server}


def with_a_user_of_its_own(site: Site) -> None:
    """Have the command use a user whose rights can be taken away, table by table."""
    database = site.state
    assert isinstance(database, ServerDatabase)
    server: SqlServer = database.server
    database.sql(f"CREATE USER '{database.name}'@'%' IDENTIFIED BY 'synthetic'")
    for (table,) in database.sql("SHOW TABLES"):
        database.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database.name}.{table} TO '{database.name}'@'%'")
    url = f"mysql://{database.name}:synthetic@{server.host}:{server.port}/{database.name}"
    site.command.configure(state={"url": url})


@pytest.mark.parametrize("tracking", REFUSALS)
def test_a_write_that_is_refused_after_the_delivery(
    make_site: MakeSite, tracking: str, request: pytest.FixtureRequest
) -> None:
    """Case 14: disk full, no right to write, server gone: the outcome is lost, and the next run asks the receiver."""
    site = site_with_a_state_of_its_own(make_site, tracking)
    site.command.configure(process={"chunk_accounts": 1000})
    if tracking in SERVERS:
        with_a_user_of_its_own(site)
    if site.mongo is not None:
        # A server that is gone is looked for, for 5 s an attempt if the address does not say otherwise.
        site.command.configure(mongodb={"MONGO_URL": f"{site.mongo[0]}&serverSelectionTimeoutMS=500"})
    final = given_accounts(site, "refused")
    site.receiver.control(latency_ms=5000)  # the refusal has to be there before the answers, on a busy machine too
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.accepted()) == len(final))
        with REFUSALS[tracking](site, running.pid, request):
            finished = running.wait()
    assert (finished.status, finished.json["status"]) == (3, "failed"), finished.stderr
    site.receiver.calm()
    report = site.run()
    assert (report["status"], report["resumed"], report["delivered"]) == ("completed", len(final), len(final))
    check_promise(site, final)
    if tracking in SERVERS:
        assert isinstance(site.state, ServerDatabase)
        site.state.sql(f"DROP USER '{site.state.name}'@'%'")
