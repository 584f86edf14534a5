"""A real receiver in a process of its own, and its log read by code that shares nothing with it."""

import http.client
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import incident_process
from tests.support.ports import HeldPort

READY_SECONDS = 30
STOP_SECONDS = 15


class ReceiverHandle:
    """A receiver that runs. ``url`` is where incidents are posted; it stays the same over ``kill`` and ``restart``."""

    def __init__(self, folder: Path, faults: dict[str, Any]) -> None:
        self.database = folder / "receiver.sqlite"
        self._errors = folder / "receiver.stderr"
        self._port = HeldPort()
        self._start(faults)

    @property
    def base(self) -> str:
        """``http://127.0.0.1:port``."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def pid(self) -> int:
        return self._process.pid

    def control(self, **faults: Any) -> dict[str, Any]:
        """Change the named faults while it runs; returns all that are in force."""
        return self._ask("POST", faults)

    def faults(self) -> dict[str, Any]:
        return self._ask("GET", None)

    def calm(self) -> dict[str, Any]:
        """End all faults."""
        return self._ask("DELETE", None)

    def accepted(self) -> list[dict[str, Any]]:
        """What it accepted, in order; ``body`` as the exact bytes."""
        return self._rows("SELECT * FROM accepted ORDER BY seq")

    def requests(self) -> list[dict[str, Any]]:
        """Every request it was sent, in order; ``answer`` 0 where the client got none."""
        return self._rows("SELECT * FROM request ORDER BY seq")

    def errors(self) -> str:
        """What it wrote on stderr, over all restarts."""
        return self._errors.read_text()

    def kill(self) -> None:
        """Kill it (SIGKILL): it has no time to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it with SIGTERM, unless it has ended already; return the exit status."""
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """Stop it for good."""
        try:
            self.stop()
        finally:
            self._port.close()

    def wait(self) -> int:
        """Wait until another program's signal ends it; return the exit status."""
        return self._process.wait(STOP_SECONDS)

    def restart(self, **faults: Any) -> None:
        """Start it again on the same port and file; faults are what is named here, not what was in force."""
        self.stop()
        self._start(faults)

    def _start(self, faults: dict[str, Any]) -> None:
        package = Path(incident_process.__file__).parent.parent
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "incident_process.sandbox.receiver", "--port", str(self.port)]
        command += ["--database", str(self.database), "--faults", json.dumps(faults)]
        with self._errors.open("a") as errors:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "PYTHONPATH": path}
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], READY_SECONDS)
        line = self._process.stdout.readline().strip() if ready else ""
        if not line:
            self._end(signal.SIGKILL)
            raise RuntimeError(f"the receiver did not start: {self.errors()}")
        self.url = line

    def _end(self, number: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _ask(self, method: str, content: dict[str, Any] | None) -> dict[str, Any]:
        body = None if content is None else json.dumps(content)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, "/_control", body)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise ValueError(answer["detail"])
        return answer

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]


@contextmanager
def start_receiver(folder: Path, **faults: Any) -> Iterator[ReceiverHandle]:
    """Run a receiver on a free port with its file in ``folder``; it is stopped at the end, however that comes."""
    handle = ReceiverHandle(folder, faults)
    try:
        yield handle
    finally:
        handle.close()
