"""A command that the tests have forked from a process with its imports done does as one that was started afresh."""

import pytest

from incident_process.core.crash_points import VARIABLE
from tests.e2e.conftest import OPERATION, MakeSite, day
from tests.support import prepared
from tests.support.command import KILLED, Command
from tests.support.starter import MOST_BYTES


@pytest.mark.parametrize(
    "arguments",
    [(), ("--help",), ("run", "--help"), ("history", "--json"), ("status",), ("run", "--nonsense"), ("nonsense",)],
)
def test_it_says_and_ends_as_a_fresh_one(command: Command, arguments: tuple[str, ...]) -> None:
    assert command(*arguments) == Command(command.folder, fresh=True)(*arguments)


def test_each_has_its_own_folder_and_environment(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    name = "INCIDENT_PROCESS__PROCESS__OPERATION_NAME"
    named = site.command("status", "--json", env={name: "another operation"})
    assert named.json["operation"] == "another operation", named.stderr
    assert site.command("status", "--json").json["operation"] == OPERATION
    elsewhere = Command(site.command.folder / "elsewhere")
    elsewhere.folder.mkdir()
    elsewhere("init")  # it writes a configuration first
    assert (elsewhere.folder / "config" / "databaseConfig.ini").exists()


def test_a_signal_that_ended_it_is_its_status(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    site.customers({"ACCOUNT_NUM": "0000000001", "ASSET_ID": "A1", "OUTSTANDING": "1.00", "LOAD_DATE": day(1)})
    assert site.command.run({VARIABLE: "enqueued"}).status == KILLED
    assert site.run()["delivered"] == 1


def test_what_an_interpreter_reads_at_its_start_asks_for_a_fresh_one() -> None:
    assert prepared.can_run(["run"], {"HOME": "/nowhere"})
    assert not prepared.can_run(["run"], {"LC_ALL": "xx_XX"})
    assert not prepared.can_run(["run"], {"PYTHONUTF8": "0"})
    assert not prepared.can_run(["run", "x" * MOST_BYTES], {})
