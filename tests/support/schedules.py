"""The command ``schedule`` as a process that runs, and what it answers."""

import http.client
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.command import Command, Finished, Running, wait_until
from tests.support.ports import HeldPort

QUICK: dict[str, object] = {"poll_seconds": 0.2, "retry_seconds": 0.5, "retry_cap_seconds": 2, "stop_seconds": 15}


class Schedule:
    """A schedule that runs; its log is read from a file while it does."""

    def __init__(self, running: Running, log: Path, port: int) -> None:
        self.running = running
        self.port = port
        self._log = log
        self._begin = log.stat().st_size if log.exists() else 0

    def log(self) -> list[str]:
        """The messages since it began, each with its level: ``INFO:…``."""
        if not self._log.exists():
            return []
        whole, _, _ = self._log.read_bytes()[self._begin :].rpartition(b"\n")  # the rest is being written
        lines = whole.decode().splitlines()
        return [line.partition(" ")[2].replace(":incident_logger:", ":", 1) for line in lines]

    def count(self, beginning: str) -> int:
        """Return how many messages begin with this text."""
        return sum(line.startswith(beginning) for line in self.log())

    def wait_for(self, beginning: str, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until this many messages begin so; fail with the log when they do not come, or when it has ended."""

        def there() -> bool:
            return self.count(beginning) >= times or self.running.has_ended

        try:
            wait_until(there, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{beginning!r} did not come: {self.log()}") from exc
        assert self.count(beginning) >= times, self.log()

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of an answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()

    def ready(self) -> dict[str, Any]:
        """What ``/readyz`` says; its status is 200 exactly when it says that all is ready."""
        status, body = self.ask("/readyz")
        report: dict[str, Any] = json.loads(body)
        assert (status == 200) is report["ready"]
        return report

    def hang_up(self) -> None:
        """Send SIGHUP."""
        os.kill(self.running.pid, signal.SIGHUP)

    def stop(self) -> Finished:
        """Send SIGTERM, which has to end it with status 0."""
        finished = self.running.terminate()
        assert finished.status == 0, finished.stderr
        return finished


@contextmanager
def schedule(
    command: Command, *, wait: bool = True, env: Mapping[str, str] | None = None, **settings: object
) -> Iterator[Schedule]:
    """Start a schedule on a free port, with these keys of ``[SCHEDULE]``, and wait until it is at work."""
    with closing(HeldPort()) as port:
        log = command.folder / f"schedule-{port.number}.log"
        command.configure(schedule=QUICK | {"http_port": port.number} | settings, log={"file": log})
        with command.started("schedule", env=env) as running:
            started = Schedule(running, log, port.number)
            if wait:
                started.wait_for("INFO:The schedule of operation")
            yield started
