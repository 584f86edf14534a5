"""state copy and state backup: the same state in another database, and nothing sent again (SPEC 7)."""

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite, ServerDatabase, Site, SqliteDatabase, day
from tests.e2e.test_repair import load

ACCOUNTS = tuple(f"{number:010d}" for number in range(9))
WAYS = [("sqlite", "mariadb"), ("sqlite", "mongo"), ("mariadb", "mongo"), ("mongo", "sqlite"), ("mongo", "mariadb")]


class Moved:
    """A site whose state can be copied to another kind of database."""

    def __init__(self, site: Site, url: str, sections: dict[str, dict[str, object]], state: Any) -> None:
        self.site, self.url, self._sections, self._state = site, url, sections, state

    def go_over(self) -> None:
        """Let the configuration name the copy."""
        self.site.command.configure(**self._sections)
        self.site.state = self._state


@pytest.fixture(params=WAYS, ids="-".join)
def moved(request: pytest.FixtureRequest, make_site: MakeSite, tmp_path: Path) -> Iterator[Moved]:
    """Deliveries of several kinds: delivered twice, dead, skipped, and one that waits in the outbox."""
    before, after = request.param
    site = make_site("sqlite", before)
    site.command.configure(process={"chunk_accounts": 4}, api={"max_attempts": 1})
    site.prepare()
    load(site, ACCOUNTS, day(9), ASSET_ID="A1")
    site.payments({"AP_ACCOUNT_NUMBER": "9000000002", "LOAD_DATE": f"{day(9)} 10:00:00"})
    site.receiver.control(fail_accounts={ACCOUNTS[0]: 422})
    assert site.run()["delivered"] == len(ACCOUNTS) - 1
    load(site, ACCOUNTS[1:4], day(1), OUTSTANDING="7.00", ASSET_ID="A1")
    site.receiver.control(fail_accounts={ACCOUNTS[1]: 503})
    site.make_due()
    assert site.run(expect=4)["pending"] == 1
    site.receiver.calm()
    state: Any = None
    if after == "mongo":
        url, database = request.getfixturevalue("mongo_url"), request.getfixturevalue("mongo_database")
        sections: dict[str, dict[str, object]] = {
            "process": {"tracking": "mongo"},
            "mongodb": {"MONGO_URL": url, "DATABASE_NAME": database},
        }
        server, mark, options = url.partition("?")
        yield Moved(site, f"{server.rstrip('/')}/{database}{mark}{options}", sections, None)
        return
    state = SqliteDatabase(tmp_path / "copy.db")
    if after == "mariadb":
        state = ServerDatabase(request.getfixturevalue("mariadb"))
    yield Moved(site, state.url, {"process": {"tracking": "sql"}, "state": {"url": state.url}}, state)
    if after == "mariadb":
        state.server.drop_database(state.name)


def told(site: Site) -> dict[str, Any]:
    status = site.command("status", "--json").json
    return {name: status[name] for name in ("operation", "sequence", "last_execution_dtm", "deliveries")}


def ledger(site: Site) -> list[dict[str, Any]]:
    return [{name: entry[name] for name in entry if name not in {"created", "updated"}} for entry in site.deliveries()]


def test_a_copied_state_sends_nothing_again(moved: Moved) -> None:
    site = moved.site
    before, entries = told(site), ledger(site)
    runs = [run["run_id"] for run in site.history()]
    copied = site.command("state", "copy", "--to", moved.url, "--json")
    assert copied.status == 0, copied.stderr
    assert copied.json == {"deliveries": len(entries) - 1, "pending": 1, "runs": len(runs)}
    old = site.command.run()
    assert (old.status, old.json["status"]) == (2, "failed"), "the old state is left to nobody by mistake"
    assert "was copied to" in old.stderr
    again = site.command("state", "copy", "--to", moved.url)
    assert again.status == 2

    moved.go_over()
    assert told(site) == before
    assert ledger(site) == entries
    assert [run["run_id"] for run in site.history()] == runs
    sent = len(site.accepted())
    site.make_due()
    report = site.run()
    assert report["delivered"] == 1, "what waited"
    assert len(site.accepted()) == sent + 1
    site.make_due()
    assert site.run()["delivered"] == 0
    reconciled = site.command("reconcile", "--json")
    assert (reconciled.status, reconciled.json["stale"], reconciled.json["missing"]) == (0, 0, 0)
    ids = [entry["incident_id"] for entry in site.deliveries()]
    assert len(set(ids)) == len(ids)


def test_a_copy_that_is_not_used_can_be_undone(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.prepare()
    load(site, ACCOUNTS[:2], day(9))
    assert site.run()["delivered"] == 2
    assert site.command("state", "copy", "--to", f"sqlite:///{tmp_path}/copy.db").status == 0
    site.make_due()
    assert site.run(expect=2)["status"] == "failed"
    assert site.command("doctor").status == 2
    assert site.command("state", "copy", "--undo").status == 0
    assert site.run()["delivered"] == 0
    full = site.command("state", "copy", "--to", f"sqlite:///{tmp_path}/copy.db")
    assert full.status == 2
    assert "name an empty one" in full.stderr
    for wrong in ("redis://host/1", "mongodb://user:secret@host:1/", "nothing", "sqlite:///no/such/folder/x.db"):
        refused = site.command("state", "copy", "--to", wrong)
        assert refused.status in {2, 3}
        assert "Traceback" not in refused.stderr
        assert "secret" not in refused.stderr
    assert site.command("state", "copy").status == 2


def test_a_backup_of_sqlite_is_whole_and_for_the_owner_alone(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.prepare()
    load(site, ACCOUNTS, day(9))
    assert site.run()["delivered"] == len(ACCOUNTS)
    copy = tmp_path / "copy.db"
    made = site.command("state", "backup", str(copy), "--json")
    assert (made.status, made.json["file"]) == (0, str(copy)), made.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM Incident_Delivery").fetchone() == (len(ACCOUNTS),)
    again = site.command("state", "backup", str(copy))
    assert again.status == 2
    assert json.dumps(made.json)
    assert site.command("state", "backup", str(tmp_path / "no" / "folder.db")).status == 2


def test_only_sqlite_is_backed_up(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site("sqlite", "mongo")
    refused = site.command("state", "backup", str(tmp_path / "copy.db"))
    assert refused.status == 2
    assert "mongodump" in refused.stderr
