"""scripts/run-tests: whoever ends it early ends its tests and their servers with it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import wait_until

ROOT = Path(__file__).parents[2]
A_TEST = """
import os, subprocess, sys, time
from pathlib import Path

def test_with_a_server():
    folder = Path(os.environ["TMPDIR"]) / "data"
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(folder)])
    Path(os.environ["TOLD"]).write_text(f"{os.getpid()} {server.pid} {folder.parent}")
    time.sleep(60)
"""


def is_there(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_ended_leaves_no_server_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    told = tmp_path / "told"
    (tmp_path / "test_it.py").write_text(A_TEST)
    with subprocess.Popen(
        [ROOT / "scripts" / "run-tests", "-n", "0", "-p", "no:cacheprovider", tmp_path / "test_it.py"],
        env={**os.environ, "TMPDIR": str(tmp_path), "TOLD": str(told)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        wait_until(lambda: told.exists() and len(told.read_text().split()) == 3, 60)
        tests, server, folder = told.read_text().split()
        assert is_there(int(server))
        if number is signal.SIGINT:
            os.killpg(running.pid, number)  # as a terminal does
        else:
            running.send_signal(number)
        assert running.wait(30) == 128 + number
    assert not is_there(int(tests))
    wait_until(lambda: not is_there(int(server)), 10)  # it has been killed, and takes a moment to be gone
    assert not Path(folder).exists()
