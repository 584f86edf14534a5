"""Pages that an operator follows in earnest are walked: their own commands, in their order, against real parts.

A walk takes each command from the page. So a command that the page changes, adds or moves fails here until the walk
follows, and what the page says of it is asserted beside it.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from incident_process.state.sql.schema import PROCESS_OPERATION
from tests.e2e.conftest import OPERATION, MakeSite, ServerDatabase, Site, day
from tests.e2e.test_repair import load
from tests.e2e.test_upgrade import as_of_first_release
from tests.support.command import Finished
from tests.support.mariadb import MariaDBServer
from tests.support.markdown import section
from tests.support.receivers import start_receiver

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(incident-process [^`]*)`")
ACCOUNTS = tuple(f"{number:010d}" for number in range(6))


def commands(text: str) -> list[str]:
    """Return the commands of a text in their order: lines of shell blocks, and those in the running text."""
    found = [(match.start(), line) for match in BLOCK.finditer(text) for line in match[1].splitlines()]
    outside = BLOCK.sub(lambda match: " " * len(match[0]), text)
    found += [(match.start(), match[1]) for match in INLINE.finditer(outside)]
    return [line.partition(" #")[0].strip() for _, line in sorted(found, key=lambda item: item[0]) if line.strip()]


class Walk:
    """The commands of some sections of a page, run one after the other in the folder of a site.

    Args:
        site: Its folder and configuration.
        page: The page's name.
        titles: Headings of the sections, in the order in which they are walked; none: the whole page.
        instead: What stands on the page for something of the reader's own, and what it is here.
    """

    def __init__(self, site: Site, page: str, *titles: str, instead: Mapping[str, str] | None = None) -> None:
        text = (PAGES / page).read_text(encoding="utf-8")
        parts = [section(text, title) for title in titles] or [text]
        self._left = [command for part in parts for command in commands(part)]
        self._site = site
        self._instead = dict(instead or {})

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert kind is not None or self._left == [], "commands of the page that the walk does not know"

    def __call__(self, command: str, expect: int = 0) -> Finished:
        """Run the page's next command, which must be this one and end with this status; return how it ended."""
        self.leave(command)
        for placeholder, value in self._instead.items():
            command = command.replace(placeholder, value)
        site = self._site
        if command.startswith("incident-process "):
            finished = site.command(*shlex.split(command)[1:])
        else:
            folder = site.command.folder
            done = subprocess.run(
                ["/bin/sh", "-ec", command],
                cwd=folder,
                env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
                text=True,
                capture_output=True,
                check=False,
            )
            finished = Finished(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
        assert finished.status == expect, (command, finished.stdout, finished.stderr)
        return finished

    def leave(self, command: str) -> None:
        """Pass over the page's next command, which must be this one."""
        assert self._left, f"the page has no command {command!r}"
        assert self._left.pop(0) == command


def accounts(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["account_num"] for row in rows)


def export(site: Site, name: str, *without: str) -> None:
    """Write what the receiver has, but for these accounts, as a JSON library writes it."""
    bodies = [json.loads(row["body"]) for row in site.accepted() if row["account_num"] not in without]
    (site.command.folder / name).write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")


def used_keys(site: Site) -> list[tuple[str, str]]:
    """Account and idempotency key of each request, in their order."""
    return [(row["account_num"], row["idempotency_key"]) for row in site.requests() if row["account_num"]]


def delivered(make_site: MakeSite, tracking: str, **process: str) -> Site:
    """Return a site whose state knows three accounts as delivered."""
    site = make_site("mariadb" if tracking == "sqlite" else "sqlite", tracking)
    site.command.configure(process=process)
    site.prepare()
    load(site, ACCOUNTS[:3], day(5))
    assert site.run()["delivered"] == 3
    return site


@pytest.mark.parametrize("tracking", ["mariadb", "sqlite"])
def test_a_restored_state_sends_again_what_it_does_not_know_under_the_same_keys(
    make_site: MakeSite, tracking: str
) -> None:
    site = delivered(make_site, tracking, operation_name=f"Restored from {tracking}")  # the receiver knows other keys
    site.receiver.control(honour_keys=True)
    instead = {"DAY": day(5)}
    if isinstance(site.state, ServerDatabase):
        at = urlsplit(site.state.url)
        login = {"host": at.hostname, "port": at.port, "user": at.username, "password": at.password or ""}
        # From 11.4 on MariaDB's client insists on TLS, which the server of the tests does not have.
        lines = ["[client]", *(f"{name}={value}" for name, value in login.items()), "loose-skip-ssl"]
        (site.command.folder / ".my.cnf").write_text("\n".join(lines), encoding="utf-8")
        instead["incident_state"] = site.state.name
    else:
        assert site.state is not None
        instead["state.db"] = site.state.url.removeprefix("sqlite:///")
    titles = ("## Back it up", "## Put it back", "## One account that keeps the wrong content")
    with Walk(site, "restore-state.md", *titles, instead=instead) as walk:
        for command, of in (
            ("mysqldump --single-transaction --databases incident_state >state.sql", "mariadb"),
            ("mongodump --db drc_incident --out state", "mongo"),
            ("incident-process state backup copy.db", "sqlite"),
        ):
            (walk if of == tracking else walk.leave)(command)
        load(site, ACCOUNTS[3:5], day(0))
        site.make_due()
        assert site.run()["delivered"] == 2
        first = site.requests()[-2:]
        assert re.search("^lease +-$", walk("incident-process status").stdout, re.MULTILINE)
        for command, of in (
            ("mysql <state.sql", "mariadb"),
            ("mongorestore --drop state", "mongo"),
            ("rm -f state.db-wal state.db-shm && cp copy.db state.db", "sqlite"),
        ):
            (walk if of == tracking else walk.leave)(command)
        walk("incident-process init")
        walk("incident-process doctor")
        export(site, "receiver.jsonl")
        assert len(site.deliveries()) == 3, "the copy's ledger"
        walk("incident-process reconcile --receiver-log receiver.jsonl")
        site.make_due()
        assert site.run()["delivered"] == 2
        again = site.requests()[-2:]
        assert len(site.accepted()) == 5, "it honours the key and keeps what it has"
        assert sorted(used_keys(site)[-2:]) == sorted((row["account_num"], row["idempotency_key"]) for row in first)
        assert min(row["incident_id"] for row in again) > max(row["incident_id"] for row in first)
        walk("incident-process backfill --from DAY --to DAY --force")
        assert accounts(site.accepted()[5:]) == list(ACCOUNTS[:3])


def test_a_take_over_goes_on_where_the_old_scripts_stopped(make_site: MakeSite) -> None:
    """The receiver has all from the old scripts but one account that they lost, and one that came since."""
    site = make_site("mariadb", "mariadb")
    assert site.state is not None
    site.state.sql(f"CREATE TABLE Process_Operation ({PROCESS_OPERATION.columns})")
    watermark = f"{day(1)} 23:00:00"
    site.state.sql(
        "INSERT INTO Process_Operation VALUES (7, ?, ?, 60, ?, ?, NULL)", watermark, OPERATION, watermark, watermark
    )
    new, in_lookback, lost, *had = ACCOUNTS
    for account, back in ((new, 0), (in_lookback, 1), (lost, 9), *((account, 9) for account in had)):
        load(site, (account,), day(back))
    row = site.operation()
    with Walk(site, "take-over.md") as walk:
        walk("incident-process init")
        assert site.operation() == row
        walk("incident-process doctor")
        assert f"{day(1)}T23:00:00Z" in walk("incident-process status").stdout
        shown = [site.command("preview", "--account", account).stdout for account in (in_lookback, *had)]
        text = "".join(json.dumps(json.loads(document)) + "\n" for document in shown)
        (site.command.folder / "receiver.jsonl").write_text(text, encoding="utf-8")
        compared = walk("incident-process reconcile --receiver-log receiver.jsonl", expect=4)
        assert re.findall(r"^missing +(\d{10})$", compared.stdout, re.MULTILINE) == [new, lost]
        repaired = walk("incident-process reconcile --receiver-log receiver.jsonl --repair")
        (warned,) = repaired.messages("WARNING")
        assert "the state knows none of them" in warned, "of the first run, whichever it is"
        assert accounts(site.accepted()) == [new, lost]
        previewed = walk("incident-process preview --limit 3").stdout
        assert set(re.findall(r'"Account_Num": "(\d+)"', previewed)) == {in_lookback}
        ran = walk("incident-process run")
        assert ran.messages("WARNING") == []
        assert accounts(site.accepted()) == [new, in_lookback, lost]
        walk("incident-process status")
    moved = site.operation()
    assert (moved["Process_Operation_Sequence"], moved["Operation_name"]) == (8, OPERATION)
    assert moved["Last_execution_dtm"] > row["Last_execution_dtm"]


def test_an_upgrade_leaves_everything_as_it_is(make_site: MakeSite) -> None:
    site = delivered(make_site, "mariadb")
    with Walk(site, "upgrade.md", "## One host") as walk:
        assert re.search("^lease +-$", walk("incident-process status").stdout, re.MULTILINE)
        as_of_first_release(site)
        site.make_due()
        assert "incident-process init" in site.finish(2).stderr
        walk("incident-process init")
        walk("incident-process doctor")
    ran = site.finish()
    assert any(
        message.startswith(f"The state notes that operation '{OPERATION}' delivers to ")
        for message in ran.messages("INFO")
    )
    assert (ran.json["status"], len(site.accepted())) == ("no_data", 3)


def test_another_receiver_and_another_name(make_site: MakeSite, tmp_path: Path) -> None:
    site = delivered(make_site, "mariadb", operation_name="Incident extraction")
    keys = {entry["account"]: entry["idempotency_key"] for entry in site.deliveries()}
    (tmp_path / "other").mkdir()
    with (
        start_receiver(tmp_path / "other") as other,
        Walk(site, "receiver-and-name.md", instead={"2026-12-31": day(0)}) as walk,
    ):
        moved = site.receiver.url.replace("127.0.0.1", "localhost")
        site.command.configure(api={"api_url": moved})
        told = site.finish(2).stderr
        assert site.receiver.url.partition("//")[2] in told
        assert moved.partition("//")[2] in told
        walk("incident-process state receiver", expect=2)
        walk("incident-process state receiver --accept")
        site.make_due()
        assert site.run()["delivered"] == 0

        site.command.configure(api={"api_url": other.url})
        site.finish(2)
        walk("incident-process backfill --from 2020-01-01 --to 2026-12-31 --force")
        assert accounts(other.accepted()) == list(ACCOUNTS[:3])
        site.make_due()
        assert site.run()["delivered"] == 0, "the state knows the new one"

        export(site, "export.jsonl", ACCOUNTS[0])
        site.command.configure(api={"api_url": site.receiver.url})
        site.finish(2)
        walk("incident-process reconcile --receiver-log export.jsonl --repair")
        assert accounts(site.accepted()[3:]) == [ACCOUNTS[0]]
        site.make_due()
        assert site.run()["delivered"] == 0

        walk('incident-process state rename "Incident extraction" "Incident extraction from data lake"')
        assert site.finish(6).json["status"] == "inactive"
        site.command.configure(process={"operation_name": "Incident extraction from data lake"})
        site.make_due()
        assert site.run()["delivered"] == 0
        assert keys.items() <= {(entry["account"], entry["idempotency_key"]) for entry in site.deliveries()}

        site.command.configure(process={"operation_name": "Another operation"})
        site.finish(6)
        assert "'Another operation' is created" in walk("incident-process init").stdout
        assert site.run()["delivered"] == 3


def test_a_moved_state_sends_nothing_again(make_site: MakeSite, mariadb_database: str, mariadb: MariaDBServer) -> None:
    site = delivered(make_site, "sqlite")
    assert site.state is not None
    old, copy = site.state.url, mariadb.url(mariadb_database)
    there = {"mysql://incident_state:password@host:3306/incident_state": copy}
    with Walk(site, "move-state.md", instead=there) as walk:
        walk("incident-process state copy --to mysql://incident_state:password@host:3306/incident_state")
        site.command.configure(state={"url": copy})
        walk("incident-process doctor")
        assert "delivered 3" in walk("incident-process status").stdout
        assert site.run()["delivered"] == 0
        site.command.configure(state={"url": old})
        assert mariadb_database in site.finish(None).stderr, "the old state says where the copy is"
        walk("incident-process state copy --undo")
        assert site.run()["delivered"] == 0
    assert len(site.accepted()) == 3
