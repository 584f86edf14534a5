"""Dockerfile and compose file: what they copy and mount is there, and the configuration is one the program takes."""

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_process.demo.tables import declared_types
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
    """Return the services as compose sees them, with the variables of ``env.example`` filled in."""
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: VALUES[found[1]], text)
    assert "${" not in filled
    result: dict[str, dict[str, Any]] = yaml.safe_load(filled)["services"]
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
    assert {"pyproject.toml", "constraints.txt", "src"} <= {Path(name).name for name in copied}
    for name in copied:
        assert (ROOT / name).exists()
        assert not ignored(Path(name).name)
    assert all(ignored(name) for name in (".git", "config", ".venv", "tests", "DB_Config.ini", "docs"))


def test_the_image_is_pinned_and_not_run_as_root() -> None:
    assert DOCKERFILE.count("FROM python:3.11-") == DOCKERFILE.count("FROM ") == 2
    assert "PIP_CONSTRAINT=/build/constraints.txt" in DOCKERFILE
    assert not re.search(r"index-url|https?://", DOCKERFILE)
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert '\nENTRYPOINT ["incident-process"]\n' in last
    assert "XDG_STATE_HOME=/tmp\n" in last, "the only place that may be written, for notes of alerts"


def test_compose_starts_what_the_page_names_in_an_order_that_works() -> None:
    found = services()
    assert set(found) == {"mysql", "mongo", "receiver", "init", "schedule", "dashboard"}
    for name in ("schedule", "dashboard"):
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
    named = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text(encoding="utf-8")))
    assert named == set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == set(VALUES)


@pytest.mark.parametrize("name", ["init", "schedule", "dashboard"])
def test_the_configuration_of_every_container_is_whole(name: str) -> None:
    service = services()[name]
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
