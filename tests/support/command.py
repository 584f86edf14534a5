"""The command as a user has it: a process of its own, in a folder of its own, with a clean environment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import incident_process
from tests.support import prepared

TIMEOUT_SECONDS = 90
"""How long a command may take at most; generous, because the test machine is shared."""

KILLED = -signal.SIGKILL
"""The status of a process that SIGKILL ended, as ``subprocess`` gives it."""

_PREFIX = ":incident_logger:"
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""What a command takes over from the environment of the tests, beside what measures its coverage."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Stdout as one JSON value and nothing else; numbers with a fraction as Decimal."""
        return json.loads(self.stdout, parse_float=Decimal)

    @property
    def json_lines(self) -> list[Any]:
        """Stdout as one JSON value a line."""
        return [json.loads(line, parse_float=Decimal) for line in self.stdout.splitlines()]

    @property
    def log_lines(self) -> list[Any]:
        """Stderr as one JSON value a line, as with ``log_format = json``."""
        return [json.loads(line) for line in self.stderr.splitlines()]

    def messages(self, level: str | None = None) -> list[str]:
        """The messages on stderr in the default log format, of one level or of all."""
        found = (line.partition(_PREFIX) for line in self.stderr.splitlines() if _PREFIX in line)
        return [message for name, _, message in found if level in {None, name}]


class Running:
    """A command that runs, and is ended with the block that started it."""

    def __init__(self, process: "subprocess.Popen[str] | prepared.Forked") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> Finished:
        """End it as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        return self.wait()

    def terminate(self) -> Finished:
        """Ask it to end in good order."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> Finished:
        """Wait for its end."""
        stdout, stderr = self._process.communicate(timeout=TIMEOUT_SECONDS)
        return Finished(status=self._process.wait(), stdout=stdout or "", stderr=stderr or "")

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None


class Command:
    """``incident-process`` in one folder. ``configure`` writes its configuration, a call runs it to its end.

    ``fresh``: each process begins with an interpreter of its own. Otherwise those that nothing special is asked of are
    forked from one that has done the imports already, which saves much of the time of the tests; not so where the
    coverage of each process is measured.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.fresh = fresh or any(name.startswith("COVERAGE") for name in os.environ)
        self.folder = folder
        self.config = folder / "config" / "databaseConfig.ini"
        self.environment: dict[str, str] = {}
        """Set for every command, beside the clean environment."""
        self._sections: dict[str, dict[str, object]] = {}

    def configure(self, **sections: Mapping[str, object]) -> None:
        """Write the configuration, with these sections over those of earlier calls; a value None takes a key out."""
        for name, values in sections.items():
            keys = self._sections.setdefault(name.upper(), {})
            keys.update(values)
            self._sections[name.upper()] = {key: value for key, value in keys.items() if value is not None}
        lines = []
        for name, keys in self._sections.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in keys.items()), ""]
        self.write("\n".join(lines))

    def write(self, text: str) -> None:
        """Write the configuration file as it is given."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        whole = self.config.with_suffix(".new")  # a command that starts now must not read half of it
        whole.write_text(text, encoding="utf-8")
        whole.replace(self.config)

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, **how: Any) -> Finished:
        """Run the command to its end; ``how`` is as in ``started``."""
        with self.started(*arguments, env=env, **how) as running:
            return running.wait()

    def run(self, env: Mapping[str, str] | None = None) -> Finished:
        """Run ``run --json`` to its end."""
        return self("run", "--json", env=env)

    @contextmanager
    def started(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> Iterator[Running]:
        """Start the command; if it still runs at the end of the block, it is killed.

        Args:
            arguments: What follows ``incident-process``.
            env: Set beside the clean environment.
            by: A program, with its arguments, that starts the command in its place.
            stdout: A file descriptor; what goes there instead of a pipe is not in ``Finished``.
            stderr: As ``stdout``.
        """
        environment = self._environment() | dict(env or {})
        if not (self.fresh or by) and stdout == stderr == subprocess.PIPE and prepared.can_run(arguments, environment):
            with _forked(arguments, self.folder, environment) as forked:
                yield Running(forked)
            return
        process = subprocess.Popen(
            [*by, sys.executable, "-m", "incident_process", *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
        )
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("COVERAGE")}
        package = str(Path(incident_process.__file__).parent.parent)
        # A home of its own: without a configuration, the embedded default would use the user's data folder.
        home = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder / "data")}
        return kept | home | {"PYTHONPATH": package} | self.environment


@contextmanager
def _forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> "Iterator[prepared.Forked]":
    with closing(prepared.Forked(arguments, folder, environment)) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def freeze(pid: int) -> None:
    """Stop a process, and return when each of its threads has stopped: one that had work could do it until then."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(_state(thread) in {"T", "Z", ""} for thread in Path(f"/proc/{pid}/task").iterdir()))


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has just ended
        return ""


def wait_until(happened: Any, seconds: float = 60.0) -> None:
    """Wait until ``happened()`` is true; fail when that takes too long."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise AssertionError(f"did not happen within {seconds:g} s")
        time.sleep(0.02)
