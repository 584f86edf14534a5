"""One measurement: a command as a process of its own, its time, its processor time, its memory, and its servers'."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.programs import launch

TICK = os.sysconf("SC_CLK_TCK")
LIMIT_SECONDS = 3600
"""When a measured command counts as hung."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of a command. Seconds; ``peak`` in bytes; ``machine`` is all processors' busy time meanwhile."""

    seconds: float
    cpu: float
    peak: int
    machine: float
    servers: Mapping[str, float] = field(default_factory=dict)
    """Processor time of each server that was named, meanwhile."""
    output: str = ""
    """What the command wrote on stdout."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table, medians over its samples; processor times in µs an incident (count 0: a process)."""

    section: str
    name: str
    count: int
    seconds: float
    best_seconds: float
    samples: int
    cpu_us: float | None
    machine_us: float | None
    servers_us: Mapping[str, float]
    peak_mib: float | None
    note: str

    @property
    def per_second(self) -> float | None:
        """Incidents a second by the median; None where no incidents are counted."""
        return self.count / self.seconds if self.count else None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A future line, measured in turn with others: ``run`` is one measurement of ``count`` incidents."""

    section: str
    name: str
    count: int
    run: Callable[[], Sample]
    repeats: int = 1
    note: str = ""


def line(section: str, name: str, count: int, samples: Sequence[Sample], note: str = "") -> Line:
    """Return the line of samples of ``count`` incidents each (0: whole processes, and processor times are theirs)."""
    share = 1e6 / (count or 1)
    return Line(
        section=section,
        name=name,
        count=count,
        seconds=median([one.seconds for one in samples]),
        best_seconds=min(one.seconds for one in samples),
        samples=len(samples),
        cpu_us=median([one.cpu for one in samples]) * share or None,
        machine_us=median([one.machine for one in samples]) * share or None,
        servers_us={name: median([one.servers[name] for one in samples]) * share for name in samples[0].servers},
        peak_mib=max(one.peak for one in samples) / 2**20 or None,
        note=note,
    )


def unmeasured(section: str, name: str, reason: str) -> Line:
    """Return the line of what could not be measured, and why."""
    return Line(
        section=section,
        name=name,
        count=0,
        seconds=0.0,
        best_seconds=0.0,
        samples=0,
        cpu_us=None,
        machine_us=None,
        servers_us={},
        peak_mib=None,
        note=f"not measured: {reason}",
    )


def command(
    arguments: Sequence[str | Path],
    *,
    servers: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Sample:
    """Run a command to its end, and measure it.

    Args:
        arguments: The program's path and its arguments.
        servers: Name and process id of the servers whose processor time is of interest, their children included.
        environment: The command's whole environment; this process' own by default.
        folder: Where it runs.

    Raises:
        RuntimeError: It ended with another status than 0; the message has the end of what it wrote on stderr.
    """
    watched = dict(servers or {})
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        result, out, err = (Path(name) / one for one in ("result", "out", "err"))
        before = {one: cpu_of(pid) for one, pid in watched.items()}
        busy = machine()
        subprocess.run(
            [sys.executable, "-I", "-S", launch.__file__, result, out, err, *map(str, arguments)],
            env=environment,
            cwd=folder,
            check=True,
            timeout=LIMIT_SECONDS,
        )
        busy = machine() - busy
        used = {one: cpu_of(pid) - before[one] for one, pid in watched.items()}
        found = json.loads(result.read_text())
        if found["status"]:
            shown = (out.read_text(errors="replace") + err.read_text(errors="replace"))[-2000:]
            raise RuntimeError(f"{arguments[0]} ended with status {found['status']}: {shown}")
        return Sample(
            seconds=found["seconds"],
            cpu=found["cpu"],
            peak=found["peak"],
            machine=busy,
            servers=used,
            output=out.read_text(),
        )


def machine() -> float:
    """Return the seconds for which the machine's processors have been busy since its start, with any work."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICK


def cpu_of(pid: int) -> float:
    """Return the processor time of a process and its present children, in seconds; 0 when it is gone."""
    try:
        # The name in brackets may hold blanks.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK + sum(cpu_of(int(child)) for child in children)
