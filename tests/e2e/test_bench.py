"""The bench still works: a run far too small to mean anything, and what it makes of figures. Nothing is timed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench import report, scale
from bench.measure import Line, Sample, line, unmeasured
from bench.plan import plan
from bench.sections import history, hourly, limits, naive, ours, starts
from bench.targets import check_targets

import incident_process

ROOT = Path(__file__).parent.parent.parent
SECTIONS = ("limits", "ours", "naive", "hourly", "history", "latency")
"""Not the peers, which have to be installed first, nor the starts, which are nothing but more processes."""
LIMIT_SECONDS = 300
"""Generous, because the test machine is shared."""


def test_a_tiny_run_measures_every_line(tmp_path: Path) -> None:
    environment = os.environ | {"ACCOUNTS": "40", "SCALE": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "bench", "--only", ",".join(SECTIONS), "--folder", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # not killed: it has servers to end
            raise
    assert process.returncode == 0, err
    lines = json.loads((tmp_path / "results.json").read_text())["lines"]
    measured = {one["name"]: one for one in lines if one["samples"]}
    assert {one["section"] for one in measured.values()} == set(SECTIONS)
    raw = (limits.RAW, limits.FLOOR, ours.RAW_MONGO, naive.INDEXED)
    for name in (*raw, ours.ON_SQLITE, ours.ON_MARIADB, ours.ON_MONGO, hourly.NAME, history.NAME.format(2)):
        assert measured[name]["seconds"] > 0, name
        assert measured[name]["cpu_us"] > 0, name
        assert name in out
    # Peaks are those of the measured processes, not of the bench that starts them: posting alone is below the command.
    assert measured[limits.RAW]["peak_mib"] < measured[ours.ON_SQLITE]["peak_mib"]


def test_a_tiny_cluster_is_measured_and_fitted(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "bench.scale", "--accounts", "30", "--repeats", "1", "--workers", "1,2"]
    made = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    points = json.loads((tmp_path / "scale.json").read_text())["points"]
    assert [(one["workers"], one["accounts"]) for one in points] == [(1, 30), (2, 60)]
    assert all(one["seconds"] > 0 for one in points)
    assert "| 2 | 16 | 60 |" in made.stdout


def test_the_model_of_a_cluster_goes_through_its_points() -> None:
    points = [
        scale.Point(
            workers=workers, accounts=count, seconds=count / workers / 8 * 0.05 + count * 0.0001, machine_us=0.0
        )
        for workers, count in ((1, 800), (2, 1600), (4, 3200))
    ]
    model = scale.fit(points)
    assert (round(model.wave, 6), round(model.serial, 6)) == (0.05, 0.0001)
    assert round(model.seconds(1600, 16), 6) == 5.16
    assert scale.table(points, model).count("\n") == 7
    assert scale.fit(points[:1]).serial == 0.0


def test_figures_are_medians_and_ratios_of_one_run() -> None:
    lines = [
        _line(limits.FLOOR, 100, [1.0, 9.0, 2.0]),
        _line(ours.ON_SQLITE, 100, [4.0]),
        unmeasured("ours", ours.ON_MARIADB, "there is none"),
        _line(starts.FEW, 0, [0.5]),
        _line(starts.EMPTY, 0, [0.4]),
    ]
    assert lines[0].per_second == 50
    assert lines[0].cpu_us == 20_000
    assert {one.name: (one.value, one.met) for one in check_targets(lines)} == {
        f"{ours.ON_SQLITE}: {limits.FLOOR}": ("50%", False),
        "peak memory with 100 accounts": ("1 MiB", True),
        starts.EMPTY: ("0.40 s", True),
        f"{starts.FEW}: {starts.EMPTY}": ("1.25 times", True),
    }
    made = report.markdown(report.conditions(plan({})), lines, check_targets(lines))
    assert f"| {ours.ON_SQLITE} | 4.000 | 25 | 50% |" in made
    assert "not measured: there is none" in made


def test_figures_go_between_the_markers_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_docs(page, "new")
    report.write_docs(page, "newer")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnewer\n\n{report.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the lines"):
        report.write_docs(page, "new")


@pytest.mark.parametrize("page", [report.PAGE, report.NOTEBOOK], ids=lambda page: page.name)
def test_the_pages_of_the_project_have_the_markers(page: Path) -> None:
    assert page.is_relative_to(ROOT / "docs")
    text = page.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    figures = text.partition(report.BEGIN)[2].partition(report.END)[0]
    assert re.match(
        r"\n\nMeasured \d{4}-\d\d-\d\d \d\d:\d\d UTC with incident-process \d+\.\d+\.\d+(?: \(commit \w+\))?: ", figures
    )


def test_the_page_for_users_has_the_lines_that_users_meet() -> None:
    lines = [
        _line(limits.RAW, 100, [1.0]),
        _line(ours.ON_SQLITE, 100, [4.0]),
        _line(hourly.NAME, 0, [2.0]),
        _line("ours, 50 ms, 64 connections", 100, [5.0]),
        unmeasured("ours", ours.ON_MARIADB, "there is none"),
    ]
    made = report.summary(report.conditions(plan({})), lines)
    assert re.search(rf" with incident-process {re.escape(incident_process.__version__)}(?: \(commit \w+\))?: ", made)
    assert [line for line in made.splitlines() if line.startswith("| ") and "seconds" not in line] == [
        "| state on SQLite | 4.000 | 25 | 1 |  |",
        "| hourly run | 2.000 |  | 1 |  |",
        "| 50 ms, 64 connections | 5.000 | 20 | 1 |  |",
    ]
    old = report.PAGE.read_text().partition(report.BEGIN)[2].partition(report.END)[0]
    assert made.splitlines()[2:4] == old.splitlines()[4:6], "the page has the table that --write-docs would write"
    assert made.splitlines()[-1] == old.splitlines()[-2]


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_size_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(SystemExit, match="SCALE="):
        plan({"SCALE": value})


def _line(name: str, count: int, seconds: list[float]) -> Line:
    samples = [Sample(seconds=one, cpu=2.0, peak=2**20, machine=3.0, servers={"receiver": 1.0}) for one in seconds]
    return line("section", name, count, samples)
