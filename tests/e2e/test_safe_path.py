"""Nothing of the folder in which a command is started is ever imported: a file there must not run as the operator."""

import json
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import incident_process
from tests.e2e.conftest import MakeSite, Site, day
from tests.support.command import TIMEOUT_SECONDS, wait_until
from tests.support.planted import PROGRAM, PlantedModules, clean, loaded_by_python_itself

ACCOUNTS = tuple(f"{number:010d}" for number in range(40))


@pytest.fixture
def planted(tmp_path: Path) -> PlantedModules:
    folder = tmp_path / "planted"
    folder.mkdir()
    return PlantedModules(folder)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return given(make_site())


def given(made: Site) -> Site:
    made.command.configure(process={"chunk_accounts": 10})
    made.customers(*({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "LOAD_DATE": day(2)} for a in ACCOUNTS))
    made.prepare()
    return made


@contextmanager
def started(planted: PlantedModules, *command: str, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in the planted folder; what still runs at the end of the block is asked to end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=planted.folder, env=clean(env), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def finished(planted: PlantedModules, *command: str, **env: str) -> str:
    """Run a command to its end, which has to be a good one, and return its output."""
    with started(planted, *command, **env) as process:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, err
    return out


def run(planted: PlantedModules, site: Site, *by: str, **env: str) -> int:
    """Run a window and return how many incidents it delivered."""
    report = json.loads(finished(planted, *by, "run", "--json", "--config", str(site.command.config), **env))
    return int(report["delivered"])


def test_a_run_and_its_build_processes(planted: PlantedModules, site: Site) -> None:
    site.command.configure(process={"build_processes": 2})
    assert run(planted, site, PROGRAM) == len(ACCOUNTS)
    assert planted.ran == []


def test_a_run_as_a_module_but_for_what_python_loads_before_it(
    planted: PlantedModules, site: Site, tmp_path: Path
) -> None:
    planted.spare(loaded_by_python_itself(tmp_path) | {"incident_process"})
    site.command.configure(process={"build_processes": 2})
    assert run(planted, site, sys.executable, "-m", "incident_process") == len(ACCOUNTS)
    assert planted.ran == []


def test_a_run_as_a_module_on_a_safe_path(planted: PlantedModules, site: Site) -> None:
    site.command.configure(process={"build_processes": 2})
    assert run(planted, site, sys.executable, "-P", "-m", "incident_process") == len(ACCOUNTS)
    assert planted.ran == []


@pytest.mark.parametrize("by", [(PROGRAM,), (sys.executable, "-m", "incident_process")], ids=["program", "module"])
def test_a_run_on_a_local_cluster(planted: PlantedModules, site: Site, tmp_path: Path, by: tuple[str, ...]) -> None:
    if len(by) > 1:
        planted.spare(loaded_by_python_itself(tmp_path) | {"incident_process"})
    site.command.configure(engine={"engine": "dask", "workers": 1})
    assert run(planted, site, *by) == len(ACCOUNTS)
    assert planted.ran == []


def test_a_run_that_a_script_starts(planted: PlantedModules, site: Site, tmp_path: Path) -> None:
    """The script's own folder is its own affair; the processes that a run starts are the program's."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from incident_process import Settings, run_window\n"
        'if __name__ == "__main__":\n'
        f"    print(run_window(Settings.load(Path({str(site.command.config)!r}))).counts.delivered)\n"
    )
    site.command.configure(process={"build_processes": 1}, engine={"engine": "dask", "workers": 1})
    assert finished(planted, sys.executable, str(script)).strip() == str(len(ACCOUNTS))
    assert planted.ran == []


def test_the_schedule(planted: PlantedModules, site: Site) -> None:
    site.command.configure(process={"build_processes": 1})
    with started(planted, PROGRAM, "schedule", "--config", str(site.command.config)):
        wait_until(lambda: len(site.accepted()) == len(ACCOUNTS))
    assert planted.ran == []


def test_the_dashboard(planted: PlantedModules, site: Site) -> None:
    command = [PROGRAM, "dashboard", "--port", "0", "--config", str(site.command.config)]
    with started(planted, *command) as process:
        assert first_line(process).startswith("Dashboard: http")
    assert planted.ran == []


@pytest.mark.parametrize("by", [(PROGRAM, "receiver"), (sys.executable, "-m", "incident_process.sandbox.receiver")])
def test_the_receiver(planted: PlantedModules, tmp_path: Path, by: tuple[str, ...]) -> None:
    if by[0] == sys.executable:
        planted.spare(loaded_by_python_itself(tmp_path) | {"incident_process"})
    with started(planted, *by, "--port", "0", "--database", str(tmp_path / "received.db")) as process:
        assert "http://" in first_line(process)
    assert planted.ran == []


def test_the_demo(planted: PlantedModules) -> None:
    finished(planted, PROGRAM, "demo", "--accounts", "20")
    assert planted.ran == []


def test_a_worker_of_dask_that_was_started_as_the_page_says(
    planted: PlantedModules, make_site: MakeSite, tmp_path: Path
) -> None:
    site = given(make_site("mariadb", "mariadb"))
    dask, file, safe = str(Path(sys.executable).with_name("dask")), tmp_path / "scheduler.json", "1"
    where = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with started(planted, dask, "scheduler", *where, PYTHONSAFEPATH=safe):
        wait_until(file.exists)
        address = json.loads(file.read_text())["address"]
        worker = [dask, "worker", address, "--no-dashboard", "--local-directory", str(tmp_path)]
        with started(planted, *worker, PYTHONSAFEPATH=safe):
            site.command.configure(engine={"engine": "dask", "scheduler": address})
            assert run(planted, site, PROGRAM) == len(ACCOUNTS)
    assert planted.ran == []


def test_what_the_user_names_in_pythonpath_is_searched(planted: PlantedModules, site: Site) -> None:
    """The user's own word, which every Python program takes."""
    planted.spare(sys.stdlib_module_names | {path.stem for path in planted.folder.glob("[!s]*.py")})
    (planted.folder / "sitecustomize.py").write_text("import os; os.environ['INCIDENT_PROCESS__PROCESS__RUNS'] = 'x'")
    command = [PROGRAM, "run", "--config", str(site.command.config)]
    with started(planted, *command, PYTHONPATH=str(planted.folder)) as process:
        assert "RUNS" in process.communicate(timeout=TIMEOUT_SECONDS)[1]


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_a_source_folder_runs_where_it_stands(site: Site, tmp_path: Path, engine: str) -> None:
    """The package is in the current folder alone, and its build processes and workers are of that one, too."""
    source, log = tmp_path / "source", tmp_path / "loaded.txt"
    shutil.copytree(Path(incident_process.__file__).parent, source / "incident_process")
    with (source / "incident_process" / "app" / "factory.py").open("a") as module:
        module.write(f"\nwith open({str(log)!r}, 'a') as file: file.write(f'{{__file__}}\\n')\n")
    (source / "uvloop.py").write_text("raise SystemExit('planted')")
    site.command.configure(process={"build_processes": 2}, engine={"engine": engine, "workers": 1})
    python = str(Path(sys.executable).resolve())
    done = subprocess.run(
        [python, "-m", "incident_process", "run", "--json", "--config", str(site.command.config)],
        cwd=source,
        env=clean({"PYTHONPATH": sysconfig.get_path("purelib")}),  # what is installed, without what its .pth files add
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["delivered"] == len(ACCOUNTS)
    own = str(source / "incident_process" / "app" / "factory.py")
    assert log.read_text().splitlines() == [own] * (3 if engine == "local" else 2)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], TIMEOUT_SECONDS)
    return process.stdout.readline() if ready else ""
