"""Who holds a lease: a process of this machine is taken for gone only where that is certain."""

from pathlib import Path

import msgspec
import pytest

from incident_process.core import process_identity
from incident_process.core.process_identity import Runner

NO_SUCH_PROCESS = 2**31 - 1
"""Above what the kernel gives out."""


def test_the_holders_name_says_who_it_is() -> None:
    this = Runner.this()
    assert Runner.parse(str(this)) == this
    assert Runner.parse("somebody") is None


def test_a_process_is_gone_when_there_is_none_or_another_under_its_number() -> None:
    this = Runner.this()
    assert not this.is_gone()
    assert msgspec.structs.replace(this, pid=NO_SUCH_PROCESS).is_gone()
    assert msgspec.structs.replace(this, started="1").is_gone()


@pytest.mark.parametrize("change", [{"machine": "another"}, {"machine": ""}, {"started": ""}], ids=str)
def test_of_what_cannot_be_known_nothing_is_gone(change: dict[str, str]) -> None:
    assert not msgspec.structs.replace(Runner.this(), pid=NO_SUCH_PROCESS, **change).is_gone()


def test_a_process_that_is_hidden_is_not_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    this = Runner.this()
    monkeypatch.setattr(process_identity, "PROCESSES", tmp_path)
    assert not this.is_gone()
    assert not msgspec.structs.replace(this, pid=1).is_gone(), "of another user, perhaps"
    assert msgspec.structs.replace(this, pid=NO_SUCH_PROCESS).is_gone()


@pytest.mark.parametrize(("state", "gone"), [("S", False), ("Z", True)], ids=["sleeping", "zombie"])
def test_the_name_of_a_process_may_hold_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, gone: bool
) -> None:
    this = Runner.this()
    monkeypatch.setattr(process_identity, "PROCESSES", tmp_path)
    (tmp_path / str(this.pid)).mkdir()
    line = f"7 (a \udcff) b) {state} {'0 ' * 18}{this.started} 0"
    (tmp_path / str(this.pid) / "stat").write_bytes(line.encode(errors="surrogateescape"))
    assert this.is_gone() is gone
