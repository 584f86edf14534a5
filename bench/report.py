"""The lines as a table: on the screen, as JSON, and between two markers of ``docs/performance.md`` and its notebook."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Line
from bench.plan import Plan
from bench.sections import hourly, ours, starts
from bench.sections.limits import FLOOR
from bench.targets import Target
from incident_process import __version__

_DOCS = Path(__file__).parent.parent / "docs"
PAGE = _DOCS / "performance.md"
NOTEBOOK = _DOCS / "development" / "performance-notebook.md"
"""The two pages with figures: for users, and for those who work on the program."""
BEGIN = "<!-- made by `make bench-docs`: begin -->"
END = "<!-- made by `make bench-docs`: end -->"
_WIDTHS = (52, 9, 9, 9, 10, 11, 11, 11, 7)
FOR_USERS = (ours.ON_SQLITE, ours.ON_MARIADB, hourly.NAME, starts.EMPTY)
SLOW_RECEIVER = "ours, 50 ms"
"""Whole runs that a user has, too: of them the page for users is made."""
HEADINGS = ("", "seconds", "per s", "of floor", "CPU µs", "machine", "database", "receiver", "MiB")


def cells(line: Line, floor: float | None) -> tuple[str, ...]:
    """Return a line as texts: an empty one where there is no figure."""
    rate = line.per_second

    def spent(micros: float | None) -> str:
        """Return the share of one incident, or of the whole process where no incidents are counted."""
        if not micros:
            return ""
        return f"{micros:,.0f}" if line.count else f"{micros / 1000:,.0f} ms"

    return (
        line.name,
        f"{line.seconds:.3f}" if line.samples else "",
        f"{rate:,.0f}" if rate else "",
        f"{rate / floor:.0%}" if rate and floor else "",
        spent(line.cpu_us),
        spent(line.machine_us),
        *(spent(line.servers_us.get(name)) for name in ("database", "receiver")),
        f"{line.peak_mib:,.0f}" if line.peak_mib else "",
    )


def floor_rate(lines: Sequence[Line]) -> float | None:
    """Return the rate that all others are compared with; None when it was not measured."""
    return next((one.per_second for one in lines if one.name == FLOOR and one.samples), None)


def screen(lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """Return everything as plain text."""
    floor = floor_rate(lines)
    shown = [_row(HEADINGS)]
    for section in dict.fromkeys(one.section for one in lines):
        shown += ["", section]
        for one in lines:
            if one.section == section:
                shown += [_row(cells(one, floor)), f"  {one.note}" if one.note else ""]
    shown += ["", "reach"] if targets else []
    shown += [f"{'met ' if one.met else 'NOT '} {one.name}: {one.value} ({one.asked})" for one in targets]
    return "\n".join(line for number, line in enumerate(shown) if line or shown[number - 1])


def conditions(plan: Plan) -> dict[str, Any]:
    """Return the conditions on which the figures depend."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "accounts": plan.accounts,
        "processors": os.cpu_count(),
        "processor": model.group(1) if model else "unknown",
        "memory_gib": round(int(memory.group(1)) / 2**20) if memory else None,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 1),
        "version": version(),
    }


def version() -> str:
    """Return the measured version, in a clone with its commit, because the code changes before the version does."""
    git = shutil.which("git")
    if git is None:
        return __version__
    head = [git, "rev-parse", "--short", "HEAD"]
    found = subprocess.run(head, cwd=_DOCS, capture_output=True, text=True, check=False)
    return f"{__version__} (commit {found.stdout.strip()})" if found.returncode == 0 else __version__


def as_json(conditions: dict[str, Any], lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """Return everything for programs."""
    made = [asdict(one) | {"per_second": one.per_second} for one in lines]
    return json.dumps({"conditions": conditions, "lines": made, "reach": [asdict(one) for one in targets]}, indent=1)


def summary(conditions: dict[str, Any], lines: Sequence[Line]) -> str:
    """Return the text between the markers of the page for users: the lines that matter to them."""
    shown = [one for one in lines if one.samples and (one.name in FOR_USERS or one.name.startswith(SLOW_RECEIVER))]
    rows = [(one.name.removeprefix("ours, "), *_figures(one), one.note) for one in shown]
    return "\n".join(
        [
            _measured(conditions),
            "",
            "| | seconds | incidents/s | MiB | remark |",
            "|---|---:|---:|---:|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            "![Incidents a second](performance.svg)",
        ]
    )


def markdown(conditions: dict[str, Any], lines: Sequence[Line], targets: Sequence[Target]) -> str:
    """Return the text between the markers of the notebook: every line, and the targets."""
    floor = floor_rate(lines)
    text = [
        _measured(conditions),
        "",
        "| demand | measured | asked | |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.value} | {one.asked} | {'met' if one.met else '**not met**'} |" for one in targets),
        "",
        "![Incidents a second](../performance.svg)",
    ]
    for section in dict.fromkeys(one.section for one in lines):
        text += ["", f"**{section}**", "", f"| {' | '.join((*HEADINGS, 'remark'))} |"]
        text += [f"|---|{'---:|' * (len(HEADINGS) - 1)}---|"]
        text += [f"| {' | '.join((*cells(one, floor), one.note))} |" for one in lines if one.section == section]
    return "\n".join(text)


def write_docs(page: Path, made: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between the page's markers.

    Raises:
        ValueError: The page does not have the two markers.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page.name} lacks the lines {begin} and {end} that the figures go between.")
    page.write_text(f"{before}{begin}\n\n{made}\n\n{end}{after}", encoding="utf-8")


def _measured(conditions: dict[str, Any]) -> str:
    """Return when, with which version and on what it was measured."""
    return (
        f"Measured {conditions['measured']} with incident-process {conditions['version']}: "
        f"{conditions['processors']} cores ({conditions['processor']}), "
        f"{conditions['memory_gib']} GiB, Python {conditions['python']}, Linux {conditions['kernel']}, "
        f"ACCOUNTS={conditions['accounts']}. Load of the machine when it began: {conditions['load_before']}; above 0 "
        "means that others were using it."
    )


def _figures(line: Line) -> tuple[str, str, str]:
    """Return seconds, incidents a second and MiB, as ``cells`` writes them."""
    _, seconds, rate, *_, peak = cells(line, None)
    return seconds, rate, peak


def _row(texts: Sequence[str]) -> str:
    first, *others = texts
    return f"{first:<{_WIDTHS[0]}}" + "".join(f"{one:>{width}}" for one, width in zip(others, _WIDTHS[1:], strict=True))
