"""What the constraint file pins, and which of it the program, its extras and its build need."""

import importlib.metadata
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ABOUT = PROJECT["project"]
PYTHONS = [
    version
    for classifier in ABOUT["classifiers"]
    if (version := classifier.removeprefix("Programming Language :: Python :: ")) != classifier
]
"""The supported ones."""
WRONG_FILE = 2
"""The exit status where a file is not as it should be."""


class Pin(NamedTuple):
    """A version that is installed."""

    name: str
    version: str

    def __str__(self) -> str:
        """Return it as the files have it."""
        return f"{self.name}=={self.version}"


class StoppedError(Exception):
    """The question could not be asked; the message is one sentence that says why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def pins(file: Path) -> set[Pin]:
    """Return the versions that a constraint file pins.

    Raises:
        StoppedError: It cannot be read, or has a line that pins nothing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise StoppedError(f"{file} cannot be read: {exc.strerror}.", WRONG_FILE) from None
    found = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
            (specifier,) = requirement.specifier
            if specifier.operator != "==":
                raise ValueError
            found.add(Pin(canonicalize_name(requirement.name), str(Version(specifier.version))))
        except (InvalidRequirement, InvalidVersion, ValueError):
            raise StoppedError(f"{file}, line {number}: it should be NAME==VERSION.", WRONG_FILE) from None
    return found


def wanted_by(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what an installed package requires with these extras, on any supported Python."""
    try:
        stated = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    places = [
        {"extra": extra, "python_version": version, "python_full_version": f"{version}.0"}
        for extra in ("", *extras)
        for version in PYTHONS
    ]
    for requirement in map(Requirement, stated):
        if requirement.marker is None or any(requirement.marker.evaluate(place) for place in places):
            yield requirement


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of all packages that these requirements bring."""
    left = [(canonicalize_name(one.name), frozenset(one.extras)) for one in requirements]
    seen = set(left)
    while left:
        name, extras = left.pop()
        for one in wanted_by(name, extras):
            found = (canonicalize_name(one.name), frozenset(one.extras))
            if found not in seen:
                seen.add(found)
                left.append(found)
    return {name for name, _ in seen}
