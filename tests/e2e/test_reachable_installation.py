"""An installation that works for its owner and not for the user of a service: told, as another user finds it."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import incident_process
from incident_process.core.local_places import closed_to_others, hidden_home
from incident_process.operations.doctor import examine_installation
from tests.e2e.conftest import MakeSite
from tests.support.command import Command

STRANGER = 65534
PROGRAM = Path("/bin/sh")
SYSTEM = Path("/usr/bin/python3")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user of the machine can enter."""
    with tempfile.TemporaryDirectory(prefix="incident-process-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def folder(parent: Path, name: str, mode: int) -> Path:
    made = parent / name
    made.mkdir()
    made.chmod(mode)
    return made


def link(place: Path, target: Path | str) -> Path:
    place.symlink_to(target)
    return place


def copy(place: Path, mode: int) -> Path:
    place.write_bytes(PROGRAM.read_bytes())
    place.chmod(mode)
    return place


CASES: dict[str, tuple[Callable[[Path], Path], str | None]] = {
    "the program itself": (lambda at: link(at / "sh", PROGRAM), None),
    "a link to a link": (lambda at: link(at / "a", link(at / "b", PROGRAM)), None),
    "a relative link": (
        lambda at: link(folder(at, "bin", 0o755) / "a", f"../{copy(at / 'sh', 0o755).name}"),
        None,
    ),
    "a closed home": (lambda at: copy(folder(folder(at, "home", 0o700), "python", 0o755) / "sh", 0o755), "home"),
    "a link into a closed home": (lambda at: link(at / "sh", copy(folder(at, "home", 0o700) / "sh", 0o755)), "home"),
    "a link through a closed home and out again": (
        lambda at: link(at / "a", link(folder(at, "home", 0o750) / "b", PROGRAM)),
        "home",
    ),
    "a closed home left by ..": (
        lambda at: link(at / "a", folder(at, "home", 0o700) / ".." / copy(at / "sh", 0o755).name),
        "home",
    ),
    "a program that is its owner's": (lambda at: copy(at / "sh", 0o700), "sh"),
    "a link that leads nowhere": (lambda at: link(at / "sh", "nowhere"), "sh"),
    "a link that leads in a circle": (lambda at: link(at / "sh", "sh"), "sh"),
}


@as_root
@pytest.mark.parametrize("case", CASES)
def test_what_is_said_is_what_another_user_finds(shared: Path, case: str) -> None:
    make, closed = CASES[case]
    path = make(shared)
    try:
        subprocess.run([path, "-c", ":"], user=STRANGER, group=STRANGER, extra_groups=[], check=True)
        reached = True
    except OSError:
        reached = False
    assert reached == (closed is None)
    assert closed_to_others(path) == (None if closed is None else shared / closed)


def test_a_file_is_to_be_read_and_a_program_to_be_executed(shared: Path) -> None:
    module = shared / "module.py"
    module.touch()
    for mode, expected in ((0o644, None), (0o640, module), (0o600, module), (0o755, None)):
        module.chmod(mode)
        assert closed_to_others(module) == expected


def test_a_home_is_seen_behind_a_link(shared: Path) -> None:
    assert hidden_home(link(shared / "python", "/home/somebody/.local/share/uv/python/bin/python3")) == Path("/home")
    assert hidden_home(Path("/root/.pyenv/shims/python")) == Path("/root")
    assert hidden_home(Path("/homework/python")) is None


@pytest.mark.parametrize(
    ("user", "environment", "told"), [(0, 0o755, True), (0, 0o700, True), (1000, 0o755, True), (1000, 0o700, False)]
)
def test_who_keeps_all_for_himself_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, shared: Path, user: int, environment: int, told: bool
) -> None:
    private = copy(folder(shared, "home", 0o700) / "python3", 0o755)
    place = folder(shared, "environment", environment)
    monkeypatch.setattr("incident_process.operations.doctor.files.installation", lambda: (place, place / "python3"))
    link(place / "python3", private)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert [finding.subject for finding in examine_installation()] == ["installation"] * told


def doctor(python: Path, site: Command) -> list[str]:
    """Return what the doctor of an environment says of its installation."""
    path = [str(Path(incident_process.__file__).parents[1]), sysconfig.get_path("purelib")]
    site.environment |= {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [python, "-m", "incident_process", "doctor"],
        cwd=site.folder,
        env=dict(site.environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any("temporary space" in line for line in lines), done.stderr
    return [line for line in lines if "installation:" in line]


@as_root
@pytest.mark.skipif(not SYSTEM.exists(), reason="there is no interpreter of the system's")
def test_doctor_names_an_interpreter_that_a_service_cannot_reach(make_site: MakeSite, shared: Path) -> None:
    asked = [str(SYSTEM), "-c", "import sys; print(*sys.version_info[:2])"]
    version = subprocess.run(asked, capture_output=True, check=True)
    if version.stdout.split() != [b"%d" % part for part in sys.version_info[:2]]:
        pytest.skip("the system's interpreter is of another version than that of the tests")
    site = make_site()
    site.prepare()
    home = folder(shared, "home", 0o700)
    interpreter = link(home / "python3", SYSTEM)
    environment = shared / "environment"
    subprocess.run([interpreter, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python3"
    (said,) = doctor(python, site.command)
    assert said.startswith("WARNING installation: Services and users other than you cannot reach ")
    assert f"{python}, which this program needs: {home} is closed to them." in said
    with pytest.raises(PermissionError):
        subprocess.run([python, "-c", ""], user=STRANGER, group=STRANGER, extra_groups=[], check=True)
    home.chmod(0o755)
    subprocess.run([python, "-c", ""], user=STRANGER, group=STRANGER, extra_groups=[], check=True)
    assert not [line for line in doctor(python, site.command) if str(home) in line]
