"""The files for pip's --require-hashes: what they name is what constraints.txt pins and the program needs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "hashes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = ("program", *PROJECT["project"]["optional-dependencies"], "build")
ENTRY = re.compile(r"^([a-z0-9-]+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)


def entries(group: str) -> dict[str, str]:
    """Return name and version of each package of a file, which holds nothing else."""
    text = (FOLDER / f"{group}.txt").read_text(encoding="utf-8")
    assert re.sub(r"^#.*\n", "", ENTRY.sub("", text), flags=re.MULTILINE) == ""
    return dict(entry[1].split("==") for entry in ENTRY.finditer(text))


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("group", GROUPS)
def test_every_version_is_the_pinned_one(group: str) -> None:
    found = entries(group)
    assert found.items() <= pinned().items(), "say `make hashes` after a change of constraints.txt"


def test_there_is_a_file_for_each_extra_and_none_beside_them() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(GROUPS)


def test_the_files_name_all_that_the_program_and_its_extras_need() -> None:
    code = (
        "import json; from packaging.requirements import Requirement; from pinned import *; "
        "need = closure(map(Requirement, ABOUT['dependencies'])); "
        "print(json.dumps({'program': sorted(need)} | {extra: sorted(closure(map(Requirement, lines)) - need) "
        "for extra, lines in ABOUT['optional-dependencies'].items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    for group, needed in json.loads(done.stdout).items():
        # The files serve every supported Python: newer ones need some packages no more (importlib-metadata).
        too_many = set(entries(group)) - set(needed) if sys.version_info < (3, 12) else set()
        assert (set(needed) - set(entries(group)), too_many) == (set(), set()), "say `make hashes`"
    assert "hatchling" in entries("build")
