"""After its delivery no body is left in the files of a SQLite state, and a local cluster answers no HTTP."""

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from incident_process.settings import Settings
from tests.e2e.conftest import MakeSite, Site, day
from tests.support.cluster import children
from tests.support.command import wait_until

MARK = "Ms Unmistakable Perera"


def given(made: Site, accounts: int = 200) -> Site:
    rows = (
        {"ACCOUNT_NUM": f"{n:06d}", "ASSET_ID": "A1", "CONTACT_PERSON": MARK, "LOAD_DATE": day(2)}
        for n in range(accounts)
    )
    made.customers(*rows)
    return made


def traces(folder: Path) -> list[str]:
    """The state's files that hold compressed bodies or what stands in them."""
    magic = b"\x28\xb5\x2f\xfd"  # of a frame of zstandard
    return [
        file.name for file in folder.glob("state.db*") if magic in (data := file.read_bytes()) or MARK.encode() in data
    ]


READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM Process_Operation").fetchall()
print("ready", flush=True)
sys.stdin.read()
"""
"""Has the state open, as the dashboard has it, and is not in the middle of a reading."""


@contextmanager
def reading(state: Path) -> Iterator[None]:
    """Have another process read the state; in this one, SQLite's locks would end with any other look at the file."""
    command = [sys.executable, "-c", READER, str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        yield
        reader.stdin.close()


@pytest.mark.parametrize("beside", [nullcontext, reading], ids=["alone", "beside a reader"])
def test_no_body_is_left_in_the_state_s_files(
    make_site: MakeSite, tmp_path: Path, beside: Callable[[Path], AbstractContextManager[None]]
) -> None:
    state = tmp_path / "state.db"
    site = given(make_site())
    site.command.configure(state={"url": f"sqlite:///{state}"}, process={"chunk_accounts": 50})
    site.prepare()
    with beside(state):
        site.receiver.control(fail_rate=1)
        assert site.run(4)["pending"] == 200
        assert traces(tmp_path) != [], "what is pending has to be kept"
        site.receiver.calm()
        with closing(sqlite3.connect(state)) as due, due:
            due.execute("UPDATE Process_Operation SET Next_execution_dtm = '1900-01-01 00:00:00'")
        assert site.run()["delivered"] == 200
        assert traces(tmp_path) == []


def test_a_local_cluster_listens_to_nobody_without_a_certificate(make_site: MakeSite) -> None:
    site = given(make_site(), accounts=60)
    site.command.configure(engine={"engine": "dask", "workers": 1}, process={"chunk_accounts": 20})
    site.prepare()
    assert Settings.load(site.command.config, {}).engine.engine == "dask"
    site.receiver.control(latency_ms=2000)
    with site.command.started("run", "--json") as running:
        wait_until(site.requests, 60)
        ports = listening({running.pid, *children(running.pid)})
        assert ports, "scheduler and worker talk over TLS"
        assert [port for port in ports if says_http(port)] == []
        site.receiver.control(latency_ms=0)
        assert running.wait().status == 0


def listening(processes: set[int]) -> set[int]:
    """TCP ports that these processes listen on."""
    links = {
        str(link.readlink()) for pid in processes for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()
    }
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    found = (line.split() for line in lines)
    return {int(one[1].rpartition(":")[2], 16) for one in found if one[3] == "0A" and f"socket:[{one[9]}]" in links}


def says_http(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=3) as one:
        one.settimeout(3)
        one.sendall(b"GET /info/main/workers.html HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        return one.recv(100).startswith(b"HTTP/")
    return False
