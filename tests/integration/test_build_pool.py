"""Who builds what: processes where there are some, and the run's own one, too, while it has little to send."""

import asyncio
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from incident_process.app import build_pool as module
from incident_process.app.build_pool import BuildPool
from incident_process.app.factory import make_source
from incident_process.core.aio import prefetch
from incident_process.core.models import DeliveryStatus, LastDelivery
from incident_process.pipeline.transform import BuildRequest, BuildResult, LocalBuilder
from incident_process.settings import Settings
from tests.support.command import freeze
from tests.support.source_data import create_tables, insert_customers

LISTS = 12
ACCOUNTS = [[f"{of:02d}{number:04d}" for number in range(20)] for of in range(LISTS)]
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)


class Counting(LocalBuilder):
    """The run's own process, with its tasks counted."""

    done = 0

    async def build(self, task: BuildRequest) -> BuildResult:
        self.done += 1
        return await super().build(task)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
        create_tables(connection, "sqlite")
        rows = [{"ACCOUNT_NUM": one, "ASSET_ID": "A", "LOAD_DATE": "2026-03-01"} for of in ACCOUNTS for one in of]
        insert_customers(connection, rows)
    config = tmp_path / "incident.ini"
    config.write_text(
        f"[DATABASE]\nURL = sqlite:///{tmp_path}/source.db\n[API]\napi_url = http://127.0.0.1:9/\n"
        "[PROCESS]\ntracking = sql\n"
    )
    return Settings.load(config, {})


def build_all(settings: Settings, known: dict[str, LastDelivery]) -> tuple[list[BuildResult], int]:
    """Build all lists as a run does; return what they came to, and how many were built in this process."""

    async def tasks() -> AsyncIterator[BuildRequest]:
        for accounts in ACCOUNTS:
            yield BuildRequest(
                accounts=accounts, as_of=AS_OF, known={one: known[one] for one in accounts if one in known}
            )

    async def main() -> tuple[list[BuildResult], int]:
        async with make_source(settings) as source:
            local = Counting(source, settings.process.zone)
            builders = BuildPool(settings, local, 1, at_once=True)
            try:
                works = prefetch(tasks(), builders.build, lambda: builders.prefetch_limit)
                return [built async for _, built in works], local.done
            finally:
                await builders.close()

    return asyncio.run(main())


def test_the_run_itself_builds_too_while_little_has_changed(settings: Settings) -> None:
    first, here = build_all(settings, {})
    assert here == 0  # it has documents to send
    assert [len(built.due) for built in first] == [20] * LISTS
    known = {
        content.account: LastDelivery(
            delivered_digest=content.digest,
            delivered_id=1,
            newest_digest=content.digest,
            newest_status=DeliveryStatus.DELIVERED,
        )
        for built in first
        for content in built.due
    }
    again, here = build_all(settings, known)
    assert here > 0
    assert [(len(built.due), built.unchanged) for built in again] == [(0, 20)] * LISTS


@pytest.mark.parametrize("when", ["before it starts", "at work"])
def test_a_frozen_process_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Its tasks are done by the run's own process, and nothing is left of it."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1.0 if when == "before it starts" else 5.0)
    frozen: list[int] = []

    def spawn_and_freeze(theirs: socket.socket) -> "subprocess.Popen[bytes]":
        process = spawn(theirs)
        if when == "before it starts":
            freeze(process.pid)
        frozen.append(process.pid)
        return process

    spawn = module._spawn
    monkeypatch.setattr(module, "_spawn", spawn_and_freeze)
    tasks = [BuildRequest(accounts=accounts, as_of=AS_OF, known={}) for accounts in ACCOUNTS]

    async def main() -> tuple[list[BuildResult], int]:
        async with make_source(settings) as source:
            local = Counting(source, settings.process.zone)
            builders = BuildPool(settings, local, 1, at_once=True)
            try:
                built = [await builders.build(tasks[0])]
                if when == "at work":
                    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1.0)
                    freeze(frozen[0])
                return [*built, *[await builders.build(task) for task in tasks[1:]]], local.done
            finally:
                await builders.close()

    built, here = asyncio.run(main())
    assert [len(of.due) for of in built] == [20] * LISTS
    assert here == (LISTS if when == "before it starts" else LISTS - 1)
    assert not Path(f"/proc/{frozen[0]}").exists()
