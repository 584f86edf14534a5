"""Write the hashes of all that an installation holds, for pip's --require-hashes: `make hashes`.

`hashes/program.txt` has what the program needs, one file for each extra what that adds, `hashes/build.txt` what builds
the package. The versions are those of constraints.txt; the hashes are those of the wheels for the supported versions of
Python and two processors, on Linux with glibc, as the index gives them that pip is configured with. Its address is not
written.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pinned import ABOUT, CONSTRAINTS, PROJECT, PYTHONS, ROOT, WRONG_FILE, Pin, StoppedError, closure, pins

FOLDER = ROOT / "hashes"
PROCESSORS = ("x86_64", "aarch64")
GLIBC = ("2_34", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""Of wheels that are looked for; Debian 12 has 2.36."""


def reported(requirements: Iterable[str], options: Iterable[str]) -> dict[Pin, str]:
    """Return the hash of each wheel that pip would install.

    Raises:
        StoppedError: It finds none.
    """
    with tempfile.TemporaryDirectory(prefix="incident-process-hashes-") as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", "--report", str(report), "--requirement", str(wanted)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            error = errors[-1].removeprefix("ERROR: ") if errors else f"it ended with status {done.returncode}."
            raise StoppedError(f"pip finds no wheel for all of it: {error}", 1)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return {
        Pin(canonicalize_name(one["metadata"]["name"]), one["metadata"]["version"]): digest(one["download_info"])
        for one in found["install"]
    }


def digest(download: dict[str, Any]) -> str:
    """Return the SHA-256 of what pip would download."""
    result: str = download["archive_info"]["hashes"]["sha256"]
    return result


def everywhere(wanted: set[Pin]) -> dict[Pin, set[str]]:
    """Return the hashes of the wheels of these versions, for every supported Python and processor."""
    found: dict[Pin, set[str]] = {pin: set() for pin in wanted}
    for python in PYTHONS:
        for processor in PROCESSORS:
            options = ["--no-deps", "--implementation", "cp", "--python-version", python, "--target", "nowhere"]
            for version in GLIBC:
                options += ["--platform", f"manylinux_{version}_{processor}"]
            for pin, sha256 in reported(map(str, sorted(wanted)), options).items():
                found[pin].add(sha256)
    return found


def groups() -> dict[str, set[str]]:
    """Return the names of the packages of each file."""
    program = closure(map(Requirement, ABOUT["dependencies"]))
    extras = {
        extra: closure(map(Requirement, lines)) - program for extra, lines in ABOUT["optional-dependencies"].items()
    }
    builders = reported(PROJECT["build-system"]["requires"], ["--constraint", str(CONSTRAINTS)])
    return {"program": program, **extras, "build": {pin.name for pin in builders}}


def main() -> int:
    """Write all files and return the exit status."""
    try:
        pinned = {pin.name: pin for pin in pins(CONSTRAINTS)}
        names = groups()
        missing = sorted(set().union(*names.values()) - pinned.keys())
        if missing:
            raise StoppedError(f"{CONSTRAINTS.name} does not pin what is needed: {', '.join(missing)}.", WRONG_FILE)
        digests = everywhere({pinned[name] for group in names.values() for name in group})
    except StoppedError as exc:
        print(exc, file=sys.stderr)
        return exc.status
    FOLDER.mkdir(exist_ok=True)
    for group, members in names.items():
        lines = ["# Made by `make hashes` from constraints.txt: pip install --require-hashes --no-deps"]
        for name in sorted(members):
            hashes = sorted(digests[pinned[name]])
            lines.append(" \\\n".join([str(pinned[name]), *(f"    --hash=sha256:{one}" for one in hashes)]))
        file = FOLDER / f"{group}.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {len(members)} packages.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
