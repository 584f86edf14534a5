"""A Dask cluster as an operator starts it by hand: a scheduler and workers, each a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import incident_process
from tests.support.command import wait_until

START_SECONDS = 60
"""How long a process may take to be there; generous, because the test machine is shared."""

_KEPT = ("PATH", "LANG", "LC_ALL", "HOME")


class Cluster:
    """Ends with the block that started it, its processes by their ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        arguments = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler = self._start([*arguments, "--scheduler-file", str(self._file)], {})
        wait_until(self._is_known, START_SECONDS)

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        found: str = json.loads(self._file.read_text())["address"]
        return found

    def _is_known(self) -> bool:
        """Return whether the scheduler has written all of its file, which exists before it has content."""
        try:
            return bool(self.address)
        except (OSError, ValueError):
            return False

    def worker(self, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a worker without a nanny, so that its process id is the one to kill, and wait until it is known."""
        log = self._folder / f"worker{len(self._processes)}.log"
        options = ["--no-nanny", "--nthreads", "2", "--no-dashboard", "--local-directory", str(self._folder)]
        process = self._start(["worker", self.address, *options], env or {}, log)
        wait_until(lambda: b"Registered to" in log.read_bytes(), START_SECONDS)
        return process

    def logs(self) -> str:
        """What the workers have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("worker*.log")))

    def close(self) -> None:
        """End scheduler and workers."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
            process.wait()

    def _start(
        self, arguments: list[str], env: Mapping[str, str], log: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("COVERAGE")}
        package = str(Path(incident_process.__file__).parent.parent)
        with (log or self._folder / "scheduler.log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=self._folder,
                env={**kept, "PYTHONPATH": package, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._processes.append(process)
        return process


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """Run a scheduler; the test starts workers as it needs them."""
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def children(pid: int) -> list[int]:
    """Return the worker processes of a coordinator's own cluster, those that are Python's and not its helper."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(entry.name))
    return sorted(found)


def gone(pid: int, seconds: float = 30.0) -> bool:
    """Wait until a process that is no child of this one is gone; return False when it stays."""
    until = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
