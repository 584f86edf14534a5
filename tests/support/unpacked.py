"""Where ``scripts/unpack-debian`` puts the servers that this machine's own Debian does not carry."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / ".servers"


def tree_of(name: str) -> Path:
    """Return the folder that an unpacked server has for its root, whether or not it is there."""
    return FOLDER / name / "root"


def require(name: str, label: str, command: str) -> None:
    """Skip the test where a server is not there, with the sentence that the unpacking left, or the command to call."""
    if not tree_of(name).is_dir():
        reason = FOLDER / f"{name}.missing"
        pytest.skip(reason.read_text().strip() if reason.exists() else f"{label} is not tested: run `{command}`.")
