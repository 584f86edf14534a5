"""CONTRIBUTING.md names files and targets that are there, and its steps of a release are held."""

import re
import tomllib
from pathlib import Path

import incident_process

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

PATH = re.compile(r"`((?:src|tests|docs|deploy|scripts|bench|examples)/[\w./-]*)`")
TARGET = re.compile(r"^([a-z-]+):(?!=)", re.MULTILINE)


def test_every_path_that_it_names_exists() -> None:
    named = set(PATH.findall(PAGE))
    assert len(named) > 15
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_files_of_the_root_that_it_names_exist() -> None:
    named = set(re.findall(r"`([\w.-]+\.(?:md|toml|txt))`", PAGE))
    assert {"CHANGELOG.md", "pyproject.toml"} <= named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(targets) >= 4
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_every_target_that_it_names_is_one_of_the_makefile() -> None:
    targets = set(TARGET.findall(MAKEFILE))
    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) <= targets


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tag = re.search(r"newTag: (.+)", (ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text("utf-8"))
    assert tag
    assert {project["version"], tag[1].strip()} == {incident_process.__version__}


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
