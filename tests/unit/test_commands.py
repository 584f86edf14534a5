"""What a command refuses before it opens anything, and how a question at the terminal ends at Ctrl-C."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import typer

from incident_process.cli.commands import execute
from incident_process.cli.repairing import _confirmed
from incident_process.cli.state_commands import _copy
from incident_process.core.event_loop import Loop
from incident_process.observability.alert_process import FAILED, UNKNOWN
from incident_process.operations import alert_check
from incident_process.pipeline import lease
from incident_process.pipeline.lease import hold_lease
from incident_process.settings import Settings

CONFIGURATION = """[DATABASE]
URL = sqlite:///a.db
[API]
api_url = http://127.0.0.1:9/x
[PROCESS]
tracking = sql
[NOTIFY]
urls = json://127.0.0.1:9/x
"""


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.mark.parametrize(
    "arguments",
    [("history", "\udcff"), ("dead-letters", "replay", "--why", "\udcff"), ("deliveries", "--account", "\udcff")],
)
def test_an_argument_that_is_no_utf8_is_refused_by_its_place(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(arguments) == 2
    assert capsys.readouterr().err == f"Argument {len(arguments)} of the command is no UTF-8 text: correct it.\n"


@pytest.mark.parametrize("late", [("receiver", "--accept"), ("copy", "--to", "sqlite:///second.db")])
def test_no_command_takes_back_that_a_state_was_copied_a_moment_ago(
    late: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two states that are both in use would send every incident twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ini").write_text(CONFIGURATION.partition("[NOTIFY]")[0])
    made_by, config, first = Settings.load(Path("a.ini"), {}), ("--config", "a.ini"), tmp_path / "first.db"
    assert execute(("init", *config)) == 0
    with monkeypatch.context() as overtaken:

        @asynccontextmanager
        async def lease_after_a_copy(*given: Any) -> AsyncIterator[Any]:
            overtaken.undo()
            if not first.exists():
                await _copy(made_by, "sqlite:///first.db")
            async with hold_lease(*given) as heartbeat:
                yield heartbeat

        overtaken.setattr(lease, "hold_lease", lease_after_a_copy)
        execute(("state", *late, *config))
    with closing(sqlite3.connect("a.db")) as state:
        ((moved_to,),) = state.execute("SELECT Moved_To FROM Process_Operation_Identity").fetchall()
    assert moved_to == f"sqlite:///{first}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("history", "--since", "nonsense"), "is no date or time"),
        (("deliveries", "--since", "nonsense"), "is no date or time"),
        (("history", "some-run", "--since", "nonsense"), "leave out --since and --limit"),
        (("history", "some-run", "--limit", "3"), "leave out --since and --limit"),
    ],
)
def test_a_time_of_a_list_is_checked_before_anything_is_opened(
    arguments: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert execute(arguments) == 2
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_a_question_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object, **__: object) -> bool:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise typer.Abort from None
        return True

    async def ask() -> None:
        inside.append(signal.getsignal(signal.SIGINT))
        try:
            _confirmed("Send?", default=True)
        finally:
            inside.append(signal.getsignal(signal.SIGINT))

    inside: list[Any] = []
    monkeypatch.setattr(typer, "confirm", pressed)
    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(ask())
    assert inside[0] == inside[1]


@pytest.mark.parametrize(
    ("result", "status", "says"),
    [
        (UNKNOWN, 2, "is none that Apprise understands"),
        (None, 0, "Nothing was sent there"),
        (-9, 0, "Nothing was sent there"),
        (FAILED, 0, "Nothing was sent there"),
    ],
)
def test_only_an_address_that_is_none_fails_the_check_of_a_configuration(
    result: int | None,
    status: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def results(*_: object, **__: object) -> list[int | None]:
        return [result]

    file = tmp_path / "a.ini"
    file.write_text(CONFIGURATION, encoding="utf-8")
    monkeypatch.setattr(alert_check, "results", results)
    assert execute(("config", "check", "--config", str(file))) == status
    told = capsys.readouterr().err
    assert says in told
    assert "server can be reached" not in told
