"""What a process keeps telling: an address, or a disk, that fails for a while must cost no alert."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from incident_process.core.errors import DatabaseConnectionError
from incident_process.observability import alert_conditions, alert_sending
from incident_process.observability.alerts import Notifier
from incident_process.observability.local_alerts import LocalAlerts
from incident_process.settings import Settings

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


class State(LocalAlerts):
    """The conditions of the state, which may be away."""

    away = False

    async def __aenter__(self) -> "State":
        if self.away:
            raise DatabaseConnectionError("the state is away")
        await super().__aenter__()
        return self


class Story:
    """One schedule, the state's conditions, and an address; ``heard`` is what arrived there."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.state = State("state", folder)
        self.takes = True
        self.heard: list[str] = []
        self._notifier = Notifier(settings, lambda: self.state)

    async def send(self, addresses: Sequence[str], title: str, text: str, *, good: bool) -> bool:
        if self.takes:
            self.heard.append(title.partition(":")[0])
        return self.takes

    def unreachable(self) -> None:
        asyncio.run(self._notifier.unreachable("nobody answers"))

    def sees(self) -> None:
        asyncio.run(self._notifier.between_runs([], NOW))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where this machine notes what it has told while the state is away."""
    return tmp_path


@pytest.fixture
def story(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setenv("XDG_STATE_HOME", str(notes))
    monkeypatch.setattr(alert_conditions, "TELLING_SECONDS", -1)  # whoever took it on has had time enough
    config = tmp_path / "databaseConfig.ini"
    config.write_text(
        "[DATABASE]\nURL = sqlite:///source.db\n[API]\napi_url = http://127.0.0.1:1/\n[PROCESS]\ntracking = sql\n"
        "[NOTIFY]\nurls = json://127.0.0.1:1/\n",
        encoding="utf-8",
    )
    made = Story(tmp_path, Settings.load(config, {}))
    monkeypatch.setattr(alert_sending, "send", made.send)
    return made


def test_what_was_told_is_told_once(story: Story) -> None:
    for look in (story.sees, story.unreachable, story.unreachable, story.sees, story.sees, story.unreachable):
        look()
    assert story.heard == ["Alert", "Over", "Alert"]


def test_what_could_not_be_sent_is_sent_after_a_later_look(story: Story) -> None:
    story.takes = False
    story.unreachable()
    story.takes = True
    story.unreachable()
    story.takes = False
    story.sees()
    story.takes = True
    story.sees()
    assert story.heard == ["Alert", "Over"]
    story.unreachable()
    assert story.heard == ["Alert", "Over", "Alert"], "the next time is news again"


@pytest.mark.parametrize("notes", [Path("/dev/null")], ids=["read-only"])
def test_an_outage_of_the_state_is_told_where_nothing_can_be_noted(story: Story) -> None:
    """As under systemd and in containers, whose file systems are read-only."""
    story.state.away = True
    story.unreachable()
    story.unreachable()
    assert story.heard == ["Alert"]
    story.state.away = False
    story.sees()
    assert story.heard == ["Alert", "Over"]
