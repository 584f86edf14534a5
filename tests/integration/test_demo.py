"""The demo as a user starts it, the comparison that it ends with, and the rows that it is made of."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import incident_process
from incident_process.sandbox.demo.compare import Comparison, compare
from incident_process.sandbox.demo.data import Population
from incident_process.sandbox.demo.tables import create_sqlite, declared_types, insert
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE

SECONDS = 180
DAY = date(2026, 2, 3)
TIME = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
HOSTILE = {
    "INCIDENT_PROCESS_CONFIG": "nowhere.ini",
    "INCIDENT_PROCESS_FAULT": "opened:1",
    "INCIDENT_PROCESS__API__API_URL": "http://127.0.0.1:9/",
}
"""Variables that would spoil every run if they reached it."""


def demo_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "incident_process", "demo", *arguments]


def environment(temporary: Path) -> dict[str, str]:
    temporary.mkdir()
    package = Path(incident_process.__file__).parents[1]
    return os.environ | HOSTILE | {"PYTHONPATH": str(package), "TMPDIR": str(temporary)}


def run_demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo in a current folder of its own, its output piped."""
    current = folder / "current"
    current.mkdir()
    return subprocess.run(
        demo_command(*arguments),
        cwd=current,
        env=environment(folder / "tmp"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def without_figures(line: str) -> str:
    """Return a line with each figure above 0 as a sign, and one blank where there are several."""
    return re.sub(r"[1-9][\d,]*", "#", " ".join(line.split()))


# -- the story --------------------------------------------------------------------------------------------------------


def test_the_demo_misses_and_doubles_nothing(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--accounts", "60")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^missed: .* 0$", done.stdout, re.MULTILINE)
    assert re.search(r"^duplicated: .* 0$", done.stdout, re.MULTILINE)
    assert re.search(r"^Incident_Ids that stand for two contents .* 0$", done.stdout, re.MULTILINE)
    assert "missed 0, duplicated 0" in done.stdout
    assert "demo --folder" in done.stdout
    assert "\x1b" not in done.stdout
    prose = [line for line in done.stdout.splitlines() if not line.startswith("  ")]  # the rest is for pasting
    assert max(map(len, prose)) <= 100
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "current").iterdir()) == []
    # The README shows the end of a larger demo: the same lines, with other figures where they are not to be 0.
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    said = {without_figures(line) for line in done.stdout.splitlines()}
    assert len(shown.splitlines()) >= 5
    assert [line for line in shown.splitlines() if without_figures(line) not in said] == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that was told to keep it; its name is one that URLs and INI files find hard."""
    base = tmp_path_factory.mktemp("demo")
    folder = base / "kept 100% of; it #1?"
    done = run_demo(base, "--accounts", "12", "--folder", str(folder), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["missed"], found["duplicated"], found["reused_ids"]) == ([], [], [])
    assert found["accepted"] > found["accounts"] > 10
    assert f"status --config '{folder}/demo.ini'" in done.stderr
    return folder


def test_a_kept_folder_can_be_looked_into(kept: Path) -> None:
    command = [sys.executable, "-m", "incident_process", "history", "--json", "--config", str(kept / "demo.ini")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("INCIDENT_PROCESS")}
    env["PYTHONPATH"] = str(Path(incident_process.__file__).parents[1])
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=True)

    runs = json.loads(done.stdout)
    statuses = [run["status"] for run in runs]
    assert len(statuses) == 5
    assert (statuses[0], *statuses[2:]) == ("completed", "no_data", "completed", "completed")
    assert sorted(path.name for path in kept.glob("*.db")) == ["receiver.db", "source.db", "state.db"]


def test_a_folder_is_not_used_twice(kept: Path, tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--folder", str(kept))
    assert done.returncode == 2
    assert "name a new folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    env = environment(tmp_path / "tmp")
    with subprocess.Popen(demo_command(), cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        while "1. First run" not in demo.stdout.readline():
            assert demo.poll() is None
        receivers = children(demo.pid)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(SECONDS) == 128 + signal.SIGTERM

    assert receivers
    assert not any(Path(f"/proc/{pid}").exists() for pid in receivers)
    assert list((tmp_path / "tmp").iterdir()) == []


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


# -- the comparison ---------------------------------------------------------------------------------------------------


class Files:
    """A copy of a finished demo's source and receiver's file, to be tampered with."""

    def __init__(self, kept: Path, folder: Path) -> None:
        self.source = Path(shutil.copy(kept / "source.db", folder))
        self.receiver = Path(shutil.copy(kept / "receiver.db", folder))

    def compare(self) -> Comparison:
        return compare(self.source, self.receiver)

    @contextmanager
    def tamper(self, path: Path) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(path)) as connection, connection:
            yield connection


@pytest.fixture
def files(kept: Path, tmp_path: Path) -> Files:
    return Files(kept, tmp_path)


def last_accepted(connection: sqlite3.Connection) -> tuple[int, str, str, dict[str, Any]]:
    seq, account, key, body = connection.execute(
        "SELECT seq, account_num, idempotency_key, body FROM accepted ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return seq, account, key, json.loads(body)


def test_an_honest_log_has_no_difference(files: Files) -> None:
    found = files.compare()
    assert found.differences == []
    assert found.accounts == 12 + 1 + 1  # the history, a new account, one that had waited for its customer row
    assert found.waiting == 1
    assert found.accepted > found.accounts


def test_an_account_that_was_never_accepted_is_missed(files: Files) -> None:
    with files.tamper(files.receiver) as connection:
        account = last_accepted(connection)[1]
        connection.execute("DELETE FROM accepted WHERE account_num = ?", (account,))

    found = files.compare()
    assert found.missed == [f"account ******{account[-4:]}: nothing was accepted"]
    assert found.duplicated == found.reused_ids == []


def test_an_account_whose_last_content_was_not_accepted_is_missed(files: Files) -> None:
    with files.tamper(files.receiver) as connection:
        seq, account, *_ = last_accepted(connection)
        connection.execute("DELETE FROM accepted WHERE seq = ?", (seq,))

    assert files.compare().missed == [
        f"account ******{account[-4:]}: what was accepted last differs from the source in last payment"
    ]


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ("OUTSTANDING = OUTSTANDING + 0.01", "arrears"),
        ("LOAD_DATE = '2099-01-01'", "reading date"),
        ("PRODUCT_NAME = 'Another product'", "products"),
        ("MOBILE_CONTACT = '0790000000'", "contacts"),
    ],
)
def test_content_that_differs_from_the_source_is_missed(files: Files, change: str, subject: str) -> None:
    with files.tamper(files.receiver) as connection:
        account = last_accepted(connection)[1]
    with files.tamper(files.source) as connection:
        connection.execute(f"UPDATE debt_cust_detail SET {change} WHERE ACCOUNT_NUM = ?", (account,))

    (missed,) = files.compare().missed
    assert subject in missed


def test_a_content_accepted_twice_in_succession_is_a_duplicate(files: Files) -> None:
    with files.tamper(files.receiver) as connection:
        _, account, key, document = last_accepted(connection)
        document["Incident_Id"] += 1
        document["Account_Cross_Details"][0]["Incident_Id"] += 1
        document["Created_Dtm"] = document["updatedAt"] = "2031-01-01T00:00:00.000Z"
        connection.execute(
            "INSERT INTO accepted SELECT MAX(seq) + 1, received_at, ?, ?, ?, ? FROM accepted",
            (document["Incident_Id"], account, key, json.dumps(document).encode()),
        )

    found = files.compare()
    assert found.duplicated == [f"account ******{account[-4:]}: the same content was accepted twice in succession"]
    assert found.missed == found.reused_ids == []


def test_an_id_in_two_bodies_is_reused(files: Files) -> None:
    with files.tamper(files.receiver) as connection:
        seq, *_, document = last_accepted(connection)
        other = connection.execute("SELECT MIN(incident_id) FROM accepted").fetchone()[0]
        document["Incident_Id"] = other
        connection.execute("UPDATE accepted SET body = ? WHERE seq = ?", (json.dumps(document).encode(), seq))

    assert files.compare().reused_ids == [f"Incident_Id {other} stands for two contents"]


def test_an_id_requested_under_two_keys_is_reused(files: Files) -> None:
    """The receiver turned the second content away with 409, so only its request is there to tell."""
    with files.tamper(files.receiver) as connection:
        number = connection.execute("SELECT MAX(incident_id) FROM accepted").fetchone()[0]
        connection.execute(
            "INSERT INTO request (received_at, incident_id, idempotency_key, answer) VALUES ('', ?, 'other', 409)",
            (number,),
        )

    assert files.compare().reused_ids == [f"Incident_Id {number} stands for two contents"]


# -- the rows ---------------------------------------------------------------------------------------------------------


def test_rows_follow_from_the_seed_alone() -> None:
    small, large = list(Population().customers(range(5), DAY)), list(Population().customers(range(50), DAY))
    assert large[: len(small)] == small
    assert list(Population().customers([3], DAY)) == [row for row in large if row[3] == Population().account(3)]
    assert list(Population(seed=2).customers(range(5), DAY)) != small
    assert list(Population().payments(range(5), TIME)) == list(Population().payments(range(50), TIME))[:5]


def test_each_account_has_a_number_and_one_to_four_assets() -> None:
    people = Population()
    numbers = [people.account(index) for index in range(20_000)]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"00\d{8}", number) for number in numbers)
    assert {people.assets(index) for index in range(200)} == {1, 2, 3, 4}
    assert len(list(Population(assets=3).customers(range(7), DAY))) == 21


def test_rows_stream() -> None:
    assert len(list(islice(Population().customers(range(10**9), DAY), 10))) == 10


@pytest.mark.parametrize(
    ("loaded", "text"),
    [
        (DAY, "2026-02-03"),
        (TIME, "2026-02-03 04:05:06"),
        (TIME.replace(microsecond=70), "2026-02-03 04:05:06.000070"),
        (TIME.replace(tzinfo=None), "2026-02-03 04:05:06"),
    ],
)
def test_load_dates_are_written_as_asked(loaded: date, text: str) -> None:
    assert next(Population().customers([0], loaded))[-2] == text
    if isinstance(loaded, datetime):
        assert next(Population().payments([0], loaded))[-1] == text


@pytest.mark.parametrize("table", [CUSTOMER_TABLE, PAYMENT_TABLE])
def test_every_value_fits_its_column(table: str) -> None:
    people = Population(seed=11)
    rows = people.customers(range(400), DAY) if table == CUSTOMER_TABLE else people.payments(range(400), TIME)
    columns = declared_types()[table]
    assert len(columns) == {CUSTOMER_TABLE: 115, PAYMENT_TABLE: 10}[table]
    for row in rows:
        assert len(row) == len(columns)
        for value, (name, kind) in zip(row, columns.items(), strict=True):
            assert value is None or fits(value, kind), name


def fits(value: object, kind: str) -> bool:
    base, *sizes = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", kind)]
    match base:
        case "int":
            return type(value) is int and abs(value) < 2**31
        case "varchar":
            return type(value) is str and 0 < len(value) <= int(sizes[0])
        case "decimal":
            return type(value) is str and bool(re.fullmatch(rf"-?\d{{1,{int(sizes[0]) - 2}}}\.\d\d", value))
        case "date":
            return type(value) is str and date.fromisoformat(value).isoformat() == value
        case _:
            return type(value) is str and datetime.fromisoformat(value).isoformat(" ") == value


def test_nothing_could_be_anybodys() -> None:
    names = list(declared_types()[CUSTOMER_TABLE])
    for row in Population().customers(range(300), DAY):
        values = dict(zip(names, row, strict=True))
        for mail in (values["EMAIL"], values["TECNICAL_CONTACT_EMAIL"]):
            assert mail is None or str(mail).endswith(("@example.com", "@example.org"))
        assert str(values["MOBILE_CONTACT"] or "079").startswith("079")
        assert str(values["WORK_CONTACT"] or "099").startswith("099")
        assert int(str(values["NIC"])[4:7]) > 900  # no day of any year


def test_the_tables_are_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    create_sqlite(path)
    with closing(sqlite3.connect(path)) as connection:
        assert insert(connection, CUSTOMER_TABLE, Population(assets=2).customers(range(3), DAY)) == 6
        assert insert(connection, PAYMENT_TABLE, Population().payments(range(3), TIME)) == 3
        for table, columns in declared_types().items():
            declared = connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
            assert {name: kind.lower() for name, kind in declared} == columns
        indexes = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert indexes == {index.name for index in INDEX_ADVICE}


def test_rows_are_quick_to_make() -> None:
    """Ten times slower than on a modest core still passes: what is guarded is the order of magnitude."""
    began = time.process_time()
    assert sum(1 for _ in Population(assets=3).customers(range(1_000), DAY)) == 3_000
    assert time.process_time() - began < 1
