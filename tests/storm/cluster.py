"""The cluster of a storm: a scheduler and three workers, any of which is killed, frozen or replaced meanwhile."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.storm.plan import Fault
from tests.support.cluster import Cluster
from tests.support.command import Command

WORKERS = 3


class ClusterPlace:
    """Started by hand, as an operator would; the configuration always names the scheduler that there is now."""

    def __init__(self, stack: ExitStack, folder: Path, command: Command) -> None:
        self._folder = folder / "cluster"
        self._folder.mkdir()
        self._command = command
        self._generation = 0
        self._workers: list[subprocess.Popen[bytes]] = []
        self._frozen: list[subprocess.Popen[bytes]] = []
        self._cluster: Cluster | None = None
        stack.callback(self.kill)
        self.start()

    def start(self) -> None:
        """Start a scheduler on a port of its own choice, which is another one each time, and its workers."""
        self._generation += 1
        folder = self._folder / str(self._generation)
        folder.mkdir()
        self._cluster = Cluster(folder)
        self._workers = [self._cluster.worker() for _ in range(WORKERS)]
        self._command.configure(engine={"engine": "dask", "scheduler": self._cluster.address})

    def kill(self) -> None:
        """End scheduler and workers as the loss of their machine would."""
        if self._cluster is not None:
            self._cluster.close()

    def ways(self, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
        """Return what begins the fault and what ends it."""
        at = int(fault.details.get("worker", 0))
        return {
            "kill worker": (lambda: self._kill_worker(at), self._add_worker),
            "freeze worker": (lambda: self._freeze(at), self._thaw),
            "add worker": (self._add_worker, lambda: self._kill_worker(at)),
            "kill scheduler": (self.kill, self.start),
        }[fault.kind]

    def _kill_worker(self, at: int) -> None:
        worker = self._workers.pop(at % len(self._workers))
        worker.kill()
        worker.wait()

    def _add_worker(self) -> None:
        if self._cluster is not None:
            self._workers.append(self._cluster.worker())

    def _freeze(self, at: int) -> None:
        worker = self._workers[at % len(self._workers)]
        os.kill(worker.pid, signal.SIGSTOP)
        self._frozen.append(worker)

    def _thaw(self) -> None:
        for worker in self._frozen:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)
        self._frozen.clear()
