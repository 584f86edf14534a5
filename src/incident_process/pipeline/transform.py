"""From a list of accounts to the contents that call for an incident: reading and building, without any writing.

It writes nothing: what it returns depends only on source, ledger and request, so it may be done ahead, by another
process, or again. What it leaves out is not sent.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from incident_process.core.models import LastDelivery
from incident_process.pipeline.change_detection import (
    AccountContent,
    Decision,
    ResendPolicy,
    account_content,
    decide,
    rows_digest,
)
from incident_process.source.base import AccountRows, Source

TURN_ACCOUNTS = 64
"""Accounts that are worked on in one turn of the event loop: a chunk takes tens of milliseconds, others send then."""


class BuildRequest(msgspec.Struct, kw_only=True, frozen=True):
    """Accounts whose contents are wanted as of an instant, with what the ledger last says of them.

    ``since_id``: as in ``RunContext``.
    """

    accounts: Sequence[str]
    as_of: datetime
    known: Mapping[str, LastDelivery]
    resend: ResendPolicy = ResendPolicy.CHANGED
    since_id: int | None = None

    def knows(self, account: str, of_rows: str) -> bool:
        """Tell whether the ledger's newest entry of the account was made of these very rows, and nothing is forced."""
        known = self.known.get(account)
        return self.resend is ResendPolicy.CHANGED and known is not None and known.newest_rows == of_rows

    def decide(self, content: AccountContent) -> Decision:
        """Return what an account's content calls for."""
        known = self.known.get(content.account)
        if self.since_id is not None and known is not None and known.delivered_id > self.since_id:
            # Forced, and done by this very run: a worker died over this chunk, and another one goes over it again.
            return decide(content, known)
        return decide(content, known, self.resend)


class BuildResult(msgspec.Struct, kw_only=True):
    """What a task came to: the contents that call for an entry, and how the other accounts stand.

    ``unchanged`` accounts need nothing. ``blocked`` ones have new content, but wait behind an incident that has no
    outcome yet: the watermark must not pass them. ``no_longer_in_source`` ones had rows when they were surveyed and
    have none now.
    """

    due: list[AccountContent] = []
    unchanged: int = 0
    blocked: int = 0
    no_longer_in_source: int = 0

    def add(self, rows: AccountRows, task: BuildRequest, zone: ZoneInfo) -> None:
        """Build one account's content, if its rows have changed, and note what it calls for."""
        of_rows = rows_digest(rows, zone)
        if of_rows and task.knows(rows.account, of_rows):
            self.unchanged += 1
            return
        content = account_content(rows, zone)
        if content is None:
            self.no_longer_in_source += 1
            return
        wanted = task.decide(content)
        if wanted is Decision.SEND:
            self.due.append(msgspec.structs.replace(content, rows_digest=of_rows))
        elif wanted is Decision.WAIT:
            self.blocked += 1
        else:
            self.unchanged += 1


class DocumentBuilder(Protocol):
    """Who reads and builds."""

    @property
    def prefetch_limit(self) -> int:
        """How many tasks it is worth having at work besides the one that is waited for."""

    def warm_up(self, accounts: int) -> None:
        """Be told how many accounts there are going to be at least, before the first task; may be told again."""

    async def build(self, task: BuildRequest) -> BuildResult:
        """Do one task. Raises what reading the source raises."""


class LocalBuilder:
    """Reads and builds in this process, in turns with everything else in its event loop."""

    prefetch_limit = 0

    def __init__(self, source: Source, zone: ZoneInfo) -> None:
        self._source = source
        self._zone = zone

    def warm_up(self, accounts: int) -> None:
        """Nothing has to be got ready."""

    async def build(self, task: BuildRequest) -> BuildResult:
        """Do one task."""
        built = BuildResult()
        for number, rows in enumerate(await self._source.read(task.accounts, task.as_of)):
            if number % TURN_ACCOUNTS == 0:
                await asyncio.sleep(0)
            built.add(rows, task, self._zone)
        return built
