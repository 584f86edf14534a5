"""Dockerfile and compose file: what they copy and mount is there, and the configuration is one the program takes."""

import json
import os
import re
import signal
import subprocess
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from incident_process.sandbox.demo.tables import declared_types
from incident_process.settings import Settings
from incident_process.source.indexes import INDEX_ADVICE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PLACE = "/etc/incident-process"
VALUES = {
    "MYSQL_ROOT_PASSWORD": "synthetic-root",
    "MYSQL_READER_PASSWORD": "synthetic-reader",
    "MONGO_ROOT_PASSWORD": "synthetic-mongo-root",
    "MONGO_STATE_PASSWORD": "synthetic-state",
    "DASHBOARD_TOKEN": "synthetic-token-of-the-dashboard",
}


def services() -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = composed()["services"]
    return result


def composed() -> dict[str, Any]:
    """Return the file as compose sees it, with the variables of ``env.example`` filled in."""
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: VALUES[found[1]], text)
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", lambda found: found[1], filled)
    assert "${" not in filled
    result: dict[str, Any] = yaml.safe_load(filled)
    return result


def ignored(name: str) -> bool:
    """Tell what ``.dockerignore`` says of a path at the top: the last line that fits it decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fnmatch(name, pattern.removeprefix("!")):
            verdict = not pattern.startswith("!")
    return verdict


def test_everything_that_is_copied_is_there_and_reaches_the_builder() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert {"pyproject.toml", "hashes", "src"} <= {Path(name).name for name in copied}
    for name in copied:
        assert (ROOT / name).exists()
        assert not ignored(Path(name).name)
    assert all(ignored(name) for name in (".git", "config", ".venv", "tests", "DB_Config.ini", "docs"))


def test_the_image_is_pinned_and_not_run_as_root() -> None:
    assert "\nARG PYTHON_IMAGE=python:3.11-" in DOCKERFILE.partition("FROM ")[0]
    assert DOCKERFILE.count("FROM ${PYTHON_IMAGE}") == DOCKERFILE.count("FROM ") == 2
    stage = DOCKERFILE.replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel) [^&\n]*", stage)
    assert len(installs) == 4
    assert all("--no-deps" in one and ("--require-hashes" in one or "--no-index" in one) for one in installs)
    assert not re.search(r"index-url|https?://", DOCKERFILE)
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert '\nENTRYPOINT ["incident-process"]\n' in last
    assert "XDG_STATE_HOME=/tmp\n" in last, "the only place that may be written, for notes of alerts"


def test_the_schema_of_compose_knows_every_field() -> None:
    schema = json.loads((ROOT / "tests" / "support" / "compose_spec" / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    whole = composed()
    assert [error.message for error in validator.iter_errors(whole)] == []
    whole["services"]["schedule"]["stop_grace"] = "60s"
    assert any("stop_grace" in error.message for error in validator.iter_errors(whole))


def test_what_else_an_image_may_be_built_with_is_an_argument() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "how-to" / "docker.md").read_text(encoding="utf-8")
    assert f"EXTRAS={','.join(extras)}" in DOCKERFILE
    assert f"--build-arg EXTRAS={','.join(extras)}" in page
    assert "\nARG EXTRAS=\n" in DOCKERFILE
    loop = re.search(r"&& (for group in .+? done) ", DOCKERFILE)
    assert loop
    for given in ("", *extras, ",".join(extras)):
        said = subprocess.run(
            ["sh", "-c", f'{loop[1]}; echo "$@"'], env={"EXTRAS": given}, capture_output=True, text=True, check=True
        )
        files = said.stdout.replace("-r ", "").split()
        assert files == [f"hashes/{name}.txt" for name in ("program", *filter(None, given.split(",")))]
        assert all((ROOT / file).is_file() for file in files)
    default = services()["schedule"]["build"]["args"]["PYTHON_IMAGE"]
    assert f"ARG PYTHON_IMAGE={default}\n" in DOCKERFILE


def test_compose_starts_what_the_page_names_in_an_order_that_works() -> None:
    found = services()
    assert set(found) == {"mysql", "mongo", "receiver", "init", "schedule", "reconcile", "dashboard"}
    for name in ("schedule", "reconcile", "dashboard"):
        waits = found[name]["depends_on"]
        assert waits["init"] == {"condition": "service_completed_successfully"}
        assert waits["mysql"] == waits["mongo"] == {"condition": "service_healthy"}
    assert found["dashboard"]["ports"] == ["127.0.0.1:8090:8090"]
    for service in found.values():
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            assert not place.startswith(".") or (FOLDER / place).is_file()
    assert os.access(FOLDER / "source-user.sh", os.X_OK), "a script that cannot be executed is sourced, set -eu and all"


def test_every_variable_stands_in_the_example() -> None:
    example = (FOLDER / "env.example").read_text(encoding="utf-8")
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{(\w+):\?", text))
    assert named == set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == set(VALUES)
    optional = set(re.findall(r"\$\{(\w+):-", text))
    assert optional == set(re.findall(r"^# (\w+)=\S*$", example, re.MULTILINE))
    assert named | optional == set(re.findall(r"\$\{(\w+)", text))


@pytest.mark.parametrize("name", ["init", "schedule", "reconcile", "dashboard"])
def test_the_configuration_of_every_container_is_whole(name: str) -> None:
    service = services()[name]
    if name != "reconcile":
        assert service["command"] == [name]
    assert f"./databaseConfig.ini:{PLACE}/databaseConfig.ini:ro" in service["volumes"]
    environ = {key: value.replace(PLACE, str(FOLDER)) for key, value in service["environment"].items()}
    settings = Settings.load(environ=environ)
    assert settings.warnings == ()
    assert settings.mongo_target.database == "drc_incident"
    grace = services()["schedule"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > 2 * settings.schedule.stop_seconds
    health = " ".join(services()["schedule"]["healthcheck"]["test"])
    assert f"127.0.0.1:{settings.schedule.http_port}/healthz" in health


def test_no_secret_stands_in_the_file() -> None:
    text = (FOLDER / "databaseConfig.ini").read_text(encoding="utf-8").lower()
    assert not [word for word in ("password", "token", "mongo_url") if word in text]


def test_the_tables_are_those_of_the_contract() -> None:
    text = (FOLDER / "source-tables.sql").read_text(encoding="utf-8")
    tables = {
        name: dict(re.findall(r"^  (\w+) (.+?) NULL,?$", body, re.MULTILINE))
        for name, body in re.findall(r"^CREATE TABLE (\w+) \(\n(.*?)^\);$", text, re.DOTALL | re.MULTILINE)
    }
    assert tables == declared_types()
    assert all(f"{advice.statement};" in text for advice in INDEX_ADVICE)


NIGHTLY = FOLDER / "reconcile-nightly"


@pytest.fixture
def night(tmp_path: Path) -> dict[str, str]:
    """An environment in which a day is as long as its clock says: sleeping moves it on, and commands are noted."""
    tools = tmp_path / "tools"
    tools.mkdir()
    clock = tmp_path / "clock"
    clock.write_text("1000000000")  # 2001-09-09 01:46:40 UTC
    programs = {
        "date": f'case $# in 1) cat "{clock}" ;; *) shift; exec /bin/date --date "$(echo "$1" | '
        f'sed "s/today/$(/bin/date -u -d @$(cat {clock}) +%F)/; s/tomorrow/$(/bin/date -u -d @$(($(cat {clock}) '
        f'+ 86400)) +%F)/")" "$2" ;; esac',
        "sleep": f'at=$(cat "{clock}"); echo "sleep $1" >>"{tmp_path}/said"; echo $((at + $1)) >"{clock}"',
        "incident-process": f'echo "$*" >>"{tmp_path}/said"; read -r status <"{tmp_path}/statuses"; '
        f'sed -i 1d "{tmp_path}/statuses"; [ "$status" != end ] || {{ kill "$PPID"; exit 0; }}; exit "$status"',
    }
    for name, program in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{program}\n")
        (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "TZ": "UTC"}


def nights(environ: dict[str, str], *statuses: int) -> list[str]:
    """Let the container's script meet these exit statuses, one after the other, and return what it did."""
    folder = Path(environ["TMPDIR"])
    (folder / "statuses").write_text("".join(f"{status}\n" for status in statuses) + "end\n")
    done = subprocess.run(
        ["/bin/sh", str(NIGHTLY), "03:20"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    return (folder / "said").read_text().splitlines()


def test_compose_reconciles_each_night_at_its_hour(night: dict[str, str]) -> None:
    service = services()["reconcile"]
    assert service["entrypoint"] == ["/bin/sh", "/usr/local/bin/reconcile-nightly"]
    assert service["command"] == ["03:20"]
    assert f"./{NIGHTLY.name}:/usr/local/bin/reconcile-nightly:ro" in service["volumes"]
    assert nights(night, 0) == ["sleep 5600", "reconcile --repair", "sleep 86400", "reconcile --repair"]
    assert not (Path(night["TMPDIR"]) / "reconcile-failed").exists()


def test_a_night_that_meets_a_run_is_tried_again_for_three_hours(night: dict[str, str]) -> None:
    said = nights(night, 5, 3, 0)
    assert said[:6] == ["sleep 5600", "reconcile --repair", "sleep 300", "reconcile --repair", "sleep 300", said[1]]
    assert said[6] == f"sleep {86400 - 600}"
    assert (Path(night["TMPDIR"]) / "stderr").read_text() == ""


@pytest.mark.parametrize(("statuses", "tries"), [((5,) * 36, 36), ((2,), 1), ((6,), 1)])
def test_a_night_that_fails_shows_until_one_succeeds(
    night: dict[str, str], statuses: tuple[int, ...], tries: int
) -> None:
    folder = Path(night["TMPDIR"])
    said = nights(night, *statuses)
    assert said.count("reconcile --repair") == tries + 1
    assert f"ended with exit status {statuses[0]}; it is tried again at 03:20" in (folder / "stderr").read_text()
    test = services()["reconcile"]["healthcheck"]["test"]
    assert test == ["CMD", "test", "!", "-e", "/tmp/reconcile-failed"]
    assert (folder / "reconcile-failed").exists()
    nights(night, 0)
    assert not (folder / "reconcile-failed").exists()


def test_the_container_of_the_night_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sh", str(NIGHTLY), "03:20"], env={"PATH": "/usr/bin:/bin"}) as process:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_reconcile_under_way_gets_the_signal(night: dict[str, str], tmp_path: Path) -> None:
    command = tmp_path / "tools" / "incident-process"
    command.write_text(
        f"#!/bin/sh\ntrap 'echo saved >\"{tmp_path}/saved\"; exit 0' TERM\n"
        f': >"{tmp_path}/began"; while :; do /bin/sleep 0.1; done\n'
    )
    with subprocess.Popen(["/bin/sh", str(NIGHTLY), "03:20"], env=night) as process:
        until = time.monotonic() + 20
        while not (tmp_path / "began").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (tmp_path / "saved").read_text() == "saved\n"
