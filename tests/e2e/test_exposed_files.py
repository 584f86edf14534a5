"""Files that others can read, and a configuration that somebody else has put where a run looks for one."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSite, Site
from tests.support.command import Command

STRANGER = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user of the machine can enter."""
    with tempfile.TemporaryDirectory(prefix="incident-process-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def exposed(site: Site) -> dict[str, str]:
    found = site.command("doctor", "--json").json
    return {one["subject"]: one["finding"] for one in found if "Every user of this host can" in one["finding"]}


def test_doctor_says_which_files_every_user_can_read(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    site.command.config = shared / "databaseConfig.ini"
    site.command.configure(api={"bearer_token": "made-up-token"}, state={"url": f"sqlite:///{shared / 'state.db'}"})
    site.command.environment["INCIDENT_PROCESS_CONFIG"] = str(site.command.config)
    site.prepare()
    assert exposed(site)["configuration"] == f"Every user of this host can read {site.command.config}."
    assert "state" not in exposed(site), "it was made for its owner alone"
    (shared / "state.db").chmod(0o666)
    site.command.config.chmod(0o640)
    assert exposed(site) == {"state": f"Every user of this host can write {shared / 'state.db'}."}
    shared.chmod(0o700)
    assert exposed(site) == {}, "nobody gets into the folder"


def test_a_file_without_a_secret_may_be_read(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    site.command.config = shared / "databaseConfig.ini"
    site.command.configure()
    site.command.environment["INCIDENT_PROCESS_CONFIG"] = str(site.command.config)
    site.prepare()
    assert exposed(site) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
@pytest.mark.parametrize("place", ["DB_Config.ini", "config/databaseConfig.ini"])
def test_a_run_says_that_the_configuration_it_found_is_a_stranger_s(make_site: MakeSite, place: str) -> None:
    site = make_site()
    site.prepare()
    text = site.command.config.read_text()
    site.command.config.unlink()
    file = site.command.folder / place
    file.write_text(text)
    assert warnings(site.command, "found in the current folder") == []
    os.chown(file, STRANGER, STRANGER)
    (warning,) = warnings(site.command, "found in the current folder")
    assert f"{place} was found in the current folder and belongs to another user (uid {STRANGER})" in warning
    assert warnings(site.command, "found in the current folder", "--config", place) == [], "it was named"
    os.chown(file, 0, 0)
    file.chmod(0o666)
    assert "can be written by every user" in warnings(site.command, "found in the current folder")[0]


def warnings(command: Command, holding: str, *arguments: str) -> list[str]:
    finished = command("run", *arguments)
    assert finished.status == 0, finished.stderr
    return [message for message in finished.messages("WARNING") if holding in message]
