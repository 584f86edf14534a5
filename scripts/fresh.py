"""Run `make demo` and `make test` of this checkout on a Debian that has nothing: `make fresh`, as root.

debootstrap makes a minimal root (git, make, python3, ca-certificates) in a temporary folder, the checkout's last commit
is cloned into it, and the commands run there, as root and as an ordinary user. At the end, result, time and disk of
each are printed, and the root is removed. Packages come from where this machine's own apt and pip are set to look.

What runs in the root has a PID and a mount namespace of its own: when the first process of the namespace ends, all its
processes and mounts end with it, however this program ends.

Environment: SUITE (bookworm), TESTS (arguments of pytest, instead of all tests), KEEP=1 (keeps the root), TMPDIR.
"""

import ast
import configparser
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

CHECKOUT = Path(__file__).resolve().parents[1]
BASE_PACKAGES = "git,make,python3,ca-certificates"
NEEDED_GB = 5
"""GiB that the root takes at most, with all that the tests install and leave."""
USER = "newcomer"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = ("/usr/local/share/ca-certificates", "/etc/ssl/certs/ca-certificates.crt")
CERTIFICATE_VARIABLES = (
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-")
"""What in apt's configuration says how packages are fetched."""


class StoppedError(Exception):
    """The root cannot be made; the message is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """A suite of Debian's that this machine's apt is configured with."""

    uri: str
    release: str
    keyring: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A command that ran in the root."""

    name: str
    passed: bool
    seconds: float
    megabytes: int
    """How much larger the command made the root."""


class Root:
    """A minimal Debian in a folder, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "root"
        self._log = folder / "debootstrap.log"
        self._environment: dict[str, str] = {}
        self._mounted: list[Path] = []

    def make(self, suite: str) -> None:
        """Install the base packages, and give the root this machine's way to packages.

        Raises:
            StoppedError: debootstrap failed, or this machine's apt knows no mirror of Debian.
        """
        sources = debian_sources(suite)
        command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}"]
        if sources[0].keyring:
            command.append(f"--keyring={sources[0].keyring}")
        with self._log.open("w") as log:
            status = contained([*command, suite, str(self.path), sources[0].uri], output=log)
        if status != 0:
            told = [
                line for line in self._log.read_text(errors="replace").splitlines() if line.startswith(("E:", "W:"))
            ]
            raise StoppedError(f"debootstrap made no root of {suite} from {sources[0].uri}: {' '.join(told[-2:])}")
        self._configure_apt(sources)
        self._configure_network()
        self._configure_pip()
        self.run(["useradd", "--create-home", USER])

    def run(self, command: list[str], *, user: str = "root", folder: str = "/", output: IO[str] | None = None) -> int:
        """Run a command with no more of this machine's environment than its way to packages; return its exit status."""
        home = "/root" if user == "root" else f"/home/{user}"
        environment = {**self._environment, "PATH": PATH, "HOME": home, "USER": user, "LOGNAME": user}
        mounts = [
            ("-t proc proc", "proc"),
            ("-t sysfs -o ro sysfs", "sys"),
            ("-t tmpfs -o mode=1777 tmpfs", "dev/shm"),
            ("-t devpts -o newinstance,ptmxmode=0666 devpts", "dev/pts"),
            *((f"--bind -o ro {shlex.quote(str(path))}", str(path).lstrip("/")) for path in self._mounted),
        ]
        script = [f"mount {what} {shlex.quote(str(self.path / where))}" for what, where in mounts]
        inside = f"cd {shlex.quote(folder)} && exec {shlex.join(command)}"
        variables = [f"{name}={value}" for name, value in environment.items()]
        within = ["chroot", f"--userspec={user}", str(self.path), "env", "-i", *variables, "sh", "-c", inside]
        # The shell stays as the first process: it waits for what orphaned processes leave, as an init does.
        script += ["status=0", f"{shlex.join(within)} || status=$?", "exit $status"]
        return contained(["sh", "-ec", "\n".join(script)], output=output)

    def clone(self, user: str) -> str:
        """Clone the checkout's last commit into the user's home; return the folder as the root names it."""
        folder = f"{'/root' if user == 'root' else f'/home/{user}'}/incident-process"
        subprocess.run(["git", "clone", "--quiet", "--no-local", CHECKOUT, self.path / folder.lstrip("/")], check=True)
        self.run(["chown", "-R", f"{user}:", folder])
        return folder

    def megabytes(self) -> int:
        """Return what the root takes of the disk, in MiB."""
        used = subprocess.run(["du", "-sxm", self.path], capture_output=True, text=True, check=False).stdout
        return int(used.split()[0])

    def remove(self) -> None:
        """End what still runs in the root, each process by its id, and remove its files.

        Raises:
            StoppedError: Something is mounted in the root: its files are left, for they could be somebody's.
        """
        if not self.path.exists():
            return
        while left := [process for process in Path("/proc").glob("[0-9]*") if self._holds(process)]:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)
            time.sleep(0.1)
        if f" {self.path}/" in Path("/proc/self/mounts").read_text():
            raise StoppedError(f"something is mounted in {self.path}: unmount it, and remove the folder.")
        shutil.rmtree(self.path)

    def _holds(self, process: Path) -> bool:
        try:
            return (process / "root").samefile(self.path)
        except OSError:  # it has ended
            return False

    def _configure_apt(self, sources: list[Source]) -> None:
        lines = []
        for source in sources:
            signed = f"[signed-by={source.keyring}] " if source.keyring else ""
            lines.append(f"deb {signed}{source.uri} {source.release} main")
            if source.keyring and not (self.path / source.keyring.lstrip("/")).exists():
                self._copy(Path(source.keyring))
        self._write("/etc/apt/sources.list", lines)
        settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
        self._write(
            "/etc/apt/apt.conf.d/90machine", [line for line in settings.splitlines() if line.startswith(APT_SETTINGS)]
        )
        for place in ("/etc/apt/auth.conf", "/etc/apt/auth.conf.d"):
            self._copy(Path(place))

    def _configure_network(self) -> None:
        for place in ("/etc/resolv.conf", "/etc/hosts", *CERTIFICATES):
            self._copy(Path(place))
        for name, value in os.environ.items():
            if name in CERTIFICATE_VARIABLES or name.lower().endswith("_proxy"):
                self._environment[name] = value
                self._copy(Path(value))

    def _configure_pip(self) -> None:
        """Carry pip's configuration over, with the files that it names; folders that it names are mounted."""
        command = [str(CHECKOUT / ".venv" / "bin" / "python"), "-m", "pip", "config", "list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        config = configparser.RawConfigParser()
        settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self._environment |= settings
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.partition(".")
            if section != ":env:":
                settings[name] = ast.literal_eval(value)
                config.read_dict({section: {key: settings[name]}})
        with (self.path / "etc" / "pip.conf").open("w") as file:
            config.write(file)
        for name, value in settings.items():
            for address in map(urlsplit, value.split()):
                path = Path(unquote(address.path))
                if address.scheme in {"", "file"} and path.is_absolute():
                    # The pages of an index lead to packages that lie beside it.
                    self._copy(path.parent if "index" in name.lower() and len(path.parts) > 2 else path, mount=True)

    def _copy(self, path: Path, *, mount: bool = False) -> None:
        """Copy what is at an absolute path, if anything, to the same place in the root; ``mount`` a folder instead."""
        if not path.is_absolute() or not path.exists():
            return
        target = self.path / str(path).lstrip("/")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a link would lead out of the root
            shutil.copyfile(path, target)
        elif not mount:
            if not target.exists() or not any(target.iterdir()):  # what the root has filled itself stays
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
        elif path not in self._mounted and not target.exists():
            target.mkdir(parents=True)
            self._mounted.append(path)

    def _write(self, path: str, lines: list[str]) -> None:
        (self.path / path.lstrip("/")).write_text("".join(f"{line}\n" for line in lines))


def debian_sources(suite: str) -> list[Source]:
    """Return from where this machine's apt takes Debian, for another suite; the suite itself first.

    Raises:
        StoppedError: apt's sources name no mirror of Debian, or have never been read.
    """
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(SIGNED_BY)",
        "Created-By: Packages",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split("|") for line in dict.fromkeys(listed.splitlines())]
    debian = [(uri, release, key) for origin, uri, release, key in found if origin == "Debian"]
    base = next((release for _, release, _ in debian if "-" not in release), None)
    if base is None:
        raise StoppedError("this machine's apt names no mirror of Debian: say `apt-get update`, or use a Debian.")
    parts = [""] if suite in {"sid", "unstable"} else ["", "-updates", "-security"]
    return [
        Source(uri, suite + part, key if key.startswith("/") else None)
        for part in parts
        for uri, release, key in debian
        if release == base + part
    ]


def contained(command: list[str], *, output: IO[str] | None = None) -> int:
    """Run a command in namespaces of its own and return its exit status; an interruption ends all that it started."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *command]
    with subprocess.Popen(unshare, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            return process.wait()
        except BaseException:
            process.kill()
            raise


def steps(root: Root, suite: str, tests: list[str]) -> Iterator[Step]:
    """Make the root and run the commands in it, one after the other."""
    size = 0

    def step(name: str, action: Callable[[], bool]) -> Step:
        nonlocal size
        print(f"\n=== {suite}: {name} ===", flush=True)
        started = time.monotonic()
        passed = action()
        seconds = time.monotonic() - started
        before, size = size, root.megabytes()
        return Step(name, passed, seconds, size - before)

    def made() -> bool:
        root.make(suite)
        return True

    yield step("a minimal root", made)
    own, theirs = root.clone("root"), root.clone(USER)
    yield step("make test by an ordinary user names what is missing", lambda: names_what_is_missing(root, theirs))
    if tests:
        yield step("make setup-tests", lambda: root.run(["make", "setup-tests"], folder=own) == 0)
        command = ["scripts/run-tests", *tests]
        yield step(shlex.join(command), lambda: root.run(command, folder=own) == 0)
        return
    yield step("make demo", lambda: root.run(["make", "demo"], folder=own) == 0)
    yield step("make demo by an ordinary user", lambda: root.run(["make", "demo"], user=USER, folder=theirs) == 0)
    yield step("make test", lambda: root.run(["make", "test"], folder=own) == 0)


def names_what_is_missing(root: Root, folder: str) -> bool:
    """Tell whether the command ends with one sentence that names the packages, before anything is downloaded."""
    with tempfile.TemporaryFile("w+") as output:
        root.run(["make", "test"], user=USER, folder=folder, output=output)
        output.seek(0)
        told = output.read().splitlines()
    print("\n".join(told))
    said = [line for line in told if not line.startswith("make")]
    return len(said) == 1 and "apt-get install" in said[0] and not (root.path / folder.lstrip("/") / ".venv").exists()


def check_machine() -> None:
    """Raise StoppedError where this machine cannot make a root."""
    if os.geteuid() != 0:
        raise StoppedError("`make fresh` makes a root of Debian and needs root: say `sudo make fresh`.")
    if contained(["true"], output=None) != 0:
        raise StoppedError("this machine gives no mount and PID namespaces (`unshare --mount --pid` fails).")
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    if free < NEEDED_GB:
        raise StoppedError(
            f"{NEEDED_GB} GB are needed, and {tempfile.gettempdir()} has {free:.1f}: name another folder in TMPDIR."
        )
    if subprocess.run(["git", "status", "--porcelain"], cwd=CHECKOUT, capture_output=True, check=True).stdout:
        print("The last commit is tried: changes that are not committed are not in it.", file=sys.stderr)


def main() -> int:
    """Try the checkout on a bare Debian; return 0 if all passed, 1 if not, 2 if it could not be tried."""
    suite = os.environ.get("SUITE") or "bookworm"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        check_machine()
        folder = Path(tempfile.mkdtemp(prefix="incident-process-fresh-"))
        root = Root(folder)
        done: list[Step] = []
        try:
            for step in steps(root, suite, shlex.split(os.environ.get("TESTS", ""))):
                done.append(step)  # noqa: PERF402  # what was done is shown also when a later step is interrupted
        finally:
            # First of all, for the output may have been closed meanwhile.
            if os.environ.get("KEEP") != "1":
                root.remove()
                shutil.rmtree(folder)
            show(suite, done)
        if folder.exists():
            print(f"The root is kept in {folder}: remove it when you no longer need it.")
    except StoppedError as exc:
        print(f"make fresh: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make fresh: interrupted.", file=sys.stderr)
        return 130
    return 0 if all(step.passed for step in done) else 1


def show(suite: str, done: list[Step]) -> None:
    """Print a line for each step."""
    print(f"\nDebian {suite}:")
    for step in done:
        print(f"  {'passed' if step.passed else 'FAILED'} {step.seconds:6.0f} s {step.megabytes:6d} MB  {step.name}")


if __name__ == "__main__":
    sys.exit(main())
