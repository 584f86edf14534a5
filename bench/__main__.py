"""``make bench``: the product beside the limits of the machine, in one run, on the same data and receiver.

ACCOUNTS (100000) times SCALE (1) in the environment say how much. What each line means:
docs/development/performance-notebook.md.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pymysql
from pymongo.errors import PyMongoError

from bench import plot, report
from bench.measure import Case, Line, Sample, line, unmeasured
from bench.plan import plan
from bench.sections import history, hourly, latency, limits, naive, ours, peers, starts
from bench.targets import check_targets
from bench.workspace import Workspace, say

ROOT = Path(__file__).parent.parent
CASES: dict[str, Callable[[Workspace], Iterator[Case]]] = {"limits": limits.cases, "ours": ours.cases}
"""Sections with measurements that are done in turn, round by round."""
FAULTS = (RuntimeError, OSError, subprocess.SubprocessError, pymysql.MySQLError, PyMongoError)
"""What a measurement may end with when a server or a command is at fault."""

FAILED = "it failed"
SECTIONS: dict[str, Callable[[Workspace], Iterator[Line]]] = {
    "limits": limits.lines,
    "ours": ours.lines,
    "naive": naive.lines,
    "peers": peers.lines,
    "hourly": hourly.lines,
    "history": history.lines,
    "starts": starts.lines,
    "latency": latency.lines,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for; return the exit status: 1 when a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the product beside its limits.")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, from {','.join(SECTIONS)}")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="results.json, plots, and the peers")
    parser.add_argument("--write-docs", action="store_true", help="put the figures and the plot into docs")
    chosen = parser.parse_args(arguments)
    wanted = chosen.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"--only {','.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended also then
    measured = plan()
    folder: Path = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    conditions = report.conditions(measured)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Workspace(measured, Path(name), folder) as workspace:
        try:
            for one in measure(workspace, [section for section in SECTIONS if section in wanted]):
                lines.append(one)
                say(f"  {' '.join(filter(None, report.cells(one, None)[:3]))}")
        finally:  # an hour's figures are not lost because the last measurement failed
            targets = [] if measured.tiny else check_targets(lines)  # of so few accounts only the start would be judged
            (folder / "results.json").write_text(report.as_json(conditions, lines, targets), encoding="utf-8")
            sys.stdout.write(report.screen(lines, targets) + "\n")
    plot.plot(lines, folder)
    if chosen.write_docs:
        plot.plot(lines, ROOT / "docs")
        report.write_docs(report.PAGE, report.summary(conditions, lines))
        report.write_docs(report.NOTEBOOK, report.markdown(conditions, lines, targets))
    return 1 if any(FAILED in one.note for one in lines) else 0


def measure(workspace: Workspace, wanted: Sequence[str]) -> Iterator[Line]:
    """Yield the lines of the sections: first those of the sections that are measured in turn.

    A section that fails yields a line that says so; the others go on.
    """
    cases = [case for section in wanted if section in CASES for case in CASES[section](workspace)]
    taken: dict[str, list[Sample]] = {case.name: [] for case in cases}
    failed: dict[str, Exception] = {}
    for number in range(max((case.repeats for case in cases), default=0)):
        for case in cases:
            if number < case.repeats and case.name not in failed:
                say(f"{case.name}, {number + 1} of {case.repeats} ...")
                try:
                    taken[case.name].append(case.run())
                except FAULTS as exc:
                    failed[case.name] = exc
    for section in wanted:
        for case in cases:
            if case.section == section and case.name in failed:
                yield _failed(section, case.name, failed[case.name])
            elif case.section == section:
                yield line(section, case.name, case.count, taken[case.name], case.note)
        try:
            yield from SECTIONS[section](workspace)
        except FAULTS as exc:
            yield _failed(section, f"the rest of {section}", exc)


def _failed(section: str, name: str, fault: Exception) -> Line:
    say(f"{name}: {type(fault).__name__}: {fault}")
    return unmeasured(section, name, f"{FAILED} ({type(fault).__name__})")


if __name__ == "__main__":
    sys.exit(main())
