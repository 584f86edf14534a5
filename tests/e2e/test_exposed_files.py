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


@pytest.fixture
def for_all(shared: Path) -> Path:
    """A folder such as /tmp: every user writes to it, and each removes their own files only."""
    shared.chmod(0o1777)
    return shared


def put_there(path: Path, kind: str, target: Path) -> None:
    """Put a link, a pipe or a file for all under a name, as another user."""
    match kind:
        case "link":
            path.symlink_to(target)
        case "pipe":
            os.mkfifo(path)
            path.chmod(0o666)
        case "file":
            path.touch()
            path.chmod(0o666)
    os.lchown(path, STRANGER, STRANGER)


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
each_kind = pytest.mark.parametrize("kind", ["link", "pipe", "file"])


@only_root
@each_kind
def test_nothing_is_written_to_what_a_stranger_has_put_there(
    make_site: MakeSite, for_all: Path, tmp_path: Path, kind: str
) -> None:
    site = make_site()
    site.prepare()
    precious = tmp_path / "precious"
    precious.write_text("precious\n")
    before = precious.stat()
    put_there(for_all / "out", kind, precious)
    exported = site.command("dead-letters", "export", "--out", str(for_all / "out"))
    site.command.environment["INCIDENT_PROCESS__LOG__FILE"] = str(for_all / "out")
    logged = site.command("status")
    del site.command.environment["INCIDENT_PROCESS__LOG__FILE"]
    received = site.command("receiver", "--database", str(for_all / "out"))
    received_into = site.command("receiver", "--export", str(for_all / "out"), "--database", str(tmp_path / "r.db"))
    for finished in (exported, logged, received, received_into):
        assert finished.status == 2, finished.stderr
        assert f"of another user (uid {STRANGER})" in finished.stderr
        assert "Traceback" not in finished.stderr
    assert precious.read_text() == "precious\n"
    assert precious.stat().st_mode == before.st_mode
    if kind == "file":
        assert (for_all / "out").stat().st_size == 0


@only_root
@pytest.mark.parametrize("beside", ["", "-wal", "-journal"])
@each_kind
def test_no_state_is_taken_that_a_stranger_has_put_there(
    make_site: MakeSite, for_all: Path, tmp_path: Path, kind: str, beside: str
) -> None:
    site = make_site()
    site.command.configure(state={"url": f"sqlite:///{for_all / 'state.db'}"})
    put_there(for_all / f"state.db{beside}", kind, tmp_path / "elsewhere")
    finished = site.command("init")
    assert finished.status != 0
    assert f"of another user (uid {STRANGER})" in finished.stderr
    assert not (tmp_path / "elsewhere").exists()


@only_root
def test_a_link_to_a_configuration_is_a_stranger_s_too_and_no_pipe_is_waited_for(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    meant = site.command.config.rename(site.command.folder / "meant.ini")
    found = site.command.folder / "DB_Config.ini"
    put_there(found, "link", meant)
    (warning,) = warnings(site.command, "found in the current folder")
    assert f"is a link that belongs to another user (uid {STRANGER})" in warning
    found.unlink()
    put_there(found, "pipe", meant)
    finished = site.command("status")
    assert finished.status == 2
    assert "DB_Config.ini: the configuration is no regular file: remove it" in finished.stderr


def test_links_of_the_operator_s_own_stay_in_use(make_site: MakeSite, for_all: Path, tmp_path: Path) -> None:
    site = make_site()
    for name in ("state.db", "a.log", "out"):
        (for_all / name).symlink_to(tmp_path / name)
    site.command.configure(state={"url": f"sqlite:///{for_all / 'state.db'}"}, log={"file": str(for_all / "a.log")})
    site.prepare()
    assert site.command("run").status == 0
    assert site.command("dead-letters", "export", "--out", str(for_all / "out")).status == 0
    assert (tmp_path / "out").read_text() == ""
    assert all((tmp_path / name).stat().st_size for name in ("state.db", "a.log"))
    for device in ("/dev/stdout", "/dev/null"):
        assert site.command("dead-letters", "export", "--out", device).status == 0
        site.command.environment["INCIDENT_PROCESS__LOG__FILE"] = device
        assert site.command("status").status == 0
