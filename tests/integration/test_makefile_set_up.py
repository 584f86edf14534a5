"""`make` sets itself up: what was interrupted is made anew, and what cannot be done is one sentence.

The Makefile and its scripts are the real ones, over a package without dependencies, so that no network is needed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 120.0

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sample"
version = "1.0"
"""
BACKEND = """
import os, time, zipfile
from pathlib import Path

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    Path("building").touch()
    time.sleep(float(os.environ.get("BUILD_SECONDS", "0")))
    requires = os.environ.get("BUILD_REQUIRES", "")
    metadata = ["Metadata-Version: 2.1", "Name: sample", "Version: 1.0"]
    metadata += [f"Requires-Dist: {requires}"] if requires else []
    name = "sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("sample.py", "")
        wheel.writestr("sample-1.0.dist-info/METADATA", "\\n".join(metadata) + "\\n")
        wheel.writestr("sample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr("sample-1.0.dist-info/RECORD", "")
    return name
"""


class Checkout:
    """A folder as a newcomer has it after `git clone`, with a small package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "constraints.txt").touch()
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "backend.py").write_text(BACKEND)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHON": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": "http://127.0.0.1:1/",
            "PIP_RETRIES": "0",
        }

    def start(self, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["env", "--default-signal=INT", "make", "setup"],  # background jobs of a shell ignore it
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, expect: int = 0, **variables: str) -> list[str]:
        """Run `make setup` to its end; return what it said."""
        with self.start(**variables) as process:
            said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == expect, said
        lines = [line for line in said.splitlines() if not line.startswith("make:")]
        if expect == 0:
            assert lines.pop() == "Done. Next: . .venv/bin/activate"
        return lines

    def is_whole(self) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        command = [str(python), "-c", "import pip, sample"]
        return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout")


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the folder is there": lambda folder: (folder / ".venv").exists(),
    "the interpreter is there": lambda folder: (folder / ".venv" / "bin" / "python").exists(),
    "pip is half there": lambda folder: any(folder.glob(".venv/lib/python3*/site-packages/pip")),
    "the package is being installed": lambda folder: (folder / "building").exists(),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_first_make_that_is_interrupted_is_made_anew_by_the_next(checkout: Checkout, number: signal.Signals) -> None:
    for moment, reached in MOMENTS.items():
        (checkout.folder / "building").unlink(missing_ok=True)
        with checkout.start(BUILD_SECONDS="60") as process:
            started = time.monotonic()
            while not reached(checkout.folder) and process.poll() is None:
                assert time.monotonic() - started < SECONDS, moment
                time.sleep(0.002)
            os.killpg(process.pid, number)
            process.communicate(timeout=SECONDS)
        assert process.returncode != 0, moment
        assert not checkout.is_whole(), moment
    said = checkout.make()
    assert "setting it up was interrupted" in said[0]
    assert checkout.is_whole()
    assert checkout.make() == [], "what is whole is left as it is"


def test_a_venv_that_is_not_whole_is_made_anew_whatever_has_left_it(checkout: Checkout) -> None:
    """As version 0.1.0 left it: there is no mark of an interruption, and no pip."""
    command = [checkout.environment["PYTHON"], "-m", "venv", "--without-pip", str(checkout.folder / ".venv")]
    subprocess.run(command, check=True)
    assert "no Python with pip" in checkout.make()[0]
    assert checkout.is_whole()
    moved = checkout.folder.rename(checkout.folder.with_name("moved"))
    checkout.folder = moved
    assert "has moved" in checkout.make()[0]
    assert checkout.is_whole()


def test_another_interpreter_makes_it_anew_and_none_given_keeps_it(checkout: Checkout, tmp_path: Path) -> None:
    checkout.make()
    other = tmp_path / "other" / "python3"
    other.parent.mkdir()
    shutil.copy(checkout.environment["PYTHON"], other)
    assert "another Python" in checkout.make(PYTHON=str(other))[0]
    assert f"home = {other.parent}" in (checkout.folder / ".venv" / "pyvenv.cfg").read_text()
    assert checkout.make(PYTHON="") == []
    (said,) = checkout.make(expect=2, PYTHON="/no/such/python")
    assert said.startswith("Python 3.11 or newer is needed, and '/no/such/python' is not.")
    assert checkout.is_whole()


def test_no_network_is_one_sentence(checkout: Checkout) -> None:
    announced, said = checkout.make(expect=2, BUILD_REQUIRES="something-from-the-index")
    assert announced.startswith("Making .venv")
    assert re.fullmatch(r"pip reaches no package index \(Connection refused\): mend the network .*", said)
    assert "was interrupted" in checkout.make()[0]
    assert checkout.is_whole()


def test_two_makes_at_once_do_the_work_once(checkout: Checkout) -> None:
    with checkout.start() as one, checkout.start() as two:
        both = [process.communicate(timeout=SECONDS)[0] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), both
    assert sum("Making .venv" in said for said in both) == 1
    assert sum("Another make" in said for said in both) == 1
    assert checkout.is_whole()


def test_programs_that_are_missing_are_named_and_a_failed_update_stops(checkout: Checkout, tmp_path: Path) -> None:
    """Root would install them: there apt's own sources are put out of reach."""
    config = tmp_path / "apt.conf"
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:1/debian bookworm main\n")
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{tmp_path}/lists";\nDir::Cache "{tmp_path}";\n'
    )
    wanted = ["sh:dash", "no-such-program:package-of-none", "libno-such.so.7:package-of-nobody"]
    done = subprocess.run(
        ["scripts/ensure-programs", *wanted],
        cwd=checkout.folder,
        env=checkout.environment | {"APT_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = done.stderr.splitlines()[-1]
    assert "package-of-none package-of-nobody" in said
    assert "dash" not in said
    if os.geteuid() == 0:
        assert said.startswith("apt-get update failed, so package-of-none package-of-nobody cannot be installed: ")
    else:
        assert "sudo apt-get install" in said
