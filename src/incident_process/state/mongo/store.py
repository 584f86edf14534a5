"""``StateStore`` on MongoDB: puts the parts of this folder together, and translates the driver's errors.

No transactions: a production MongoDB may be a standalone server. Every step is one atomic write to one document, or a
batch that is safe to repeat, ordered so that a successor recognises a crash (``tracking``, ``delivery_steps``).
"""

import copy
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime

from bson import ObjectId
from pymongo.errors import OperationFailure

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import (
    ANY_RUN,
    Advance,
    Chunk,
    DeliveryStatus,
    Identity,
    Incident,
    LastDelivery,
    Lease,
    LeaseState,
    LedgerEntry,
    Operation,
    Outcome,
    RunKind,
    RunRecord,
    RunSearch,
    RunStatus,
)
from incident_process.state.base import RENAMED, StateStore
from incident_process.state.mongo import archive, counter
from incident_process.state.mongo.connection import Checkpoint, Connection, translated
from incident_process.state.mongo.delivery_steps import DeliverySteps
from incident_process.state.mongo.history import History
from incident_process.state.mongo.identity import Identities
from incident_process.state.mongo.lease import LeaseDocument
from incident_process.state.mongo.ledger import Ledger
from incident_process.state.mongo.outbox import Outbox
from incident_process.state.mongo.runs import Runs
from incident_process.state.mongo.scopes import ScopeLease, Scopes
from incident_process.state.mongo.tracking import MongoTracking

_DEAD_PAGE = 1000
"""Dead entries that one query reads to find the open ones."""


async def _go_on(name: str) -> None:
    """Do nothing at a checkpoint; its name is for tests."""


@translated
class MongoStateStore(StateStore):
    """One operation's state in a MongoDB database (``tracking = mongo``, SPEC 6).

    Args:
        url: The server, ``mongodb://…`` or ``mongodb+srv://…``. The URL sets time-outs and retryable writes; reads
            always go to the primary, and writes are always majority and journalled.
        database: The database of ``Process_Operation`` and the program's own collections.
        operation: The operation's name.
        keep_bodies_days: Above 0, bodies stay after their outcome until ``purge_bodies``.
        checkpoint: Awaited with a name between the single writes of a step; for tests.
    """

    def __init__(
        self,
        url: str,
        database: str,
        operation: str,
        keep_bodies_days: int = 0,
        *,
        checkpoint: Checkpoint = _go_on,
    ) -> None:
        self._connection = Connection(url, database)
        self.server = self._connection.server
        self._operation = operation
        self._keep_bodies = keep_bodies_days > 0
        self._checkpoint = checkpoint
        self._scope: int | None = None

    def __repr__(self) -> str:
        """Name server and operation; the URL holds a password."""
        return f"MongoStateStore({self.server!r}, {self._operation!r})"

    async def __aenter__(self) -> "MongoStateStore":
        """Connect; raise DatabaseConnectionError when the server cannot be reached."""
        self._only_the_operation()
        self._database = database = await self._connection.open()
        self._counter = database["Incident_Counter"]
        self._identities = Identities(database, self._operation, self.server, self._checkpoint)
        self._whole = self._lease = LeaseDocument(database["Process_Operation_Lease"], self._operation)
        self._tracking = MongoTracking(database["Process_Operation"], self._lease, self._operation, self._checkpoint)
        self._runs = Runs(database["Process_Operation_Run"], self._operation)
        self._history = History(database["Incident_Delivery"], self._operation, self._claimed_through)
        self._ledger = Ledger(database["Incident_Delivery"], self._operation)
        self._outbox = Outbox(database["Incident_Outbox"], self._operation, keep_bodies=self._keep_bodies)
        self._delivery = DeliverySteps(self._lease, self._ledger, self._outbox, self._checkpoint)
        self._scopes = Scopes(
            database["Process_Operation_Scope"], database["Incident_Delivery"], self._outbox, self._operation
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self._connection.close()

    def _only_the_operation(self) -> None:
        """Raise RuntimeError for a chunk's worker: the method is the coordinator's."""
        if self._scope is not None:
            raise RuntimeError(f"The store of chunk {self._scope} does not do that: ask the operation's own.")

    # -- set-up ---------------------------------------------------------------------------------------------------

    async def require(self) -> None:
        """Check that this version may work on the state, and create what is missing, as ``prepare`` does."""
        await self.prepare()

    async def prepare(self) -> None:
        """Create missing indexes; MongoDB creates a collection at its first write."""
        await self._identities.note_version()
        await self._tracking.prepare()
        await self._runs.prepare()
        await self._ledger.prepare()
        await self._outbox.prepare()
        await self._scopes.prepare()

    async def missing_indexes(self) -> list[str]:
        """Return nothing: ``prepare`` has created those that were missing."""
        return []

    async def create_indexes(self) -> None:
        """Nothing to do: ``prepare`` has created those that were missing."""

    async def create_operation(self, execution_minutes: int) -> bool:
        """Add the operation to the state; the first advance with new data creates its document."""
        is_new = await self._identities.add()
        return is_new and await self._tracking.read() is None

    # -- operations -----------------------------------------------------------------------------------------------

    async def identity(self) -> Identity | None:
        return await self._identities.read()

    async def write_identity(self, lease: Lease, identity: Identity) -> None:
        self._only_the_operation()
        await self._lease.fence(lease)
        await self._identities.write(identity)

    async def operations(self) -> list[Identity]:
        return await self._identities.known()

    async def tracked(self) -> list[str]:
        return await self._identities.tracked()

    async def rename(self, lease: Lease, new: str) -> None:
        self._only_the_operation()
        await self._lease.fence(lease)
        await self._identities.begin_rename(new)
        await self._identities.finish_rename(new)

    async def try_writes(self) -> None:
        """Update and delete nothing; raise DatabaseConnectionError where the user or the server may not write.

        It cannot try to insert, since every insertion writes; the role readWrite has all three privileges.
        """
        nothing = {"_id": ObjectId()}
        await self._database["Process_Operation"].update_one(nothing, {"$set": {"Operation_name": self._operation}})
        await self._database["Incident_Outbox"].delete_one(nothing)

    # -- copies -------------------------------------------------------------------------------------------------------

    async def ledger_after(self, incident_id: int, limit: int) -> list[LedgerEntry]:
        return await archive.ledger_after(self._database["Incident_Delivery"], self._operation, incident_id, limit)

    async def restore_ledger(self, lease: Lease, entries: Sequence[LedgerEntry]) -> None:
        await self._lease.fence(lease)
        await archive.restore_ledger(self._database["Incident_Delivery"], self._operation, lease, entries)

    async def restore_operation(self, lease: Lease, operation: Operation, execution_minutes: int) -> None:
        await archive.restore_operation(self._database["Process_Operation"], self._lease, lease, operation)

    # -- retention ------------------------------------------------------------------------------------------------

    async def prune(
        self, superseded: Mapping[int, int], run_ids: Sequence[str], record: Callable[[int, int], RunRecord]
    ) -> tuple[int, int]:
        self._only_the_operation()
        await self._note(record(0, 0))
        deleted = (
            await self._ledger.delete_superseded(superseded, self._checkpoint),
            await self._runs.delete(run_ids),
        )
        await self._note(record(*deleted))
        return deleted

    async def _note(self, record: RunRecord) -> None:
        known = await self._identities.read()
        if known is None or known.renaming is not None:
            raise ConfigurationError(RENAMED.format(record.operation))
        await self._runs.note(record)

    async def reclaim(self) -> str | None:
        return "the server uses the free space for new entries"

    # -- lease ----------------------------------------------------------------------------------------------------

    async def acquire_lease(self, holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        lease = await self._lease.acquire(holder, seconds, evict)
        if self._scope is None:
            try:
                await self._tracking.read()
            except ConfigurationError:  # the operator who corrects the document must not wait for the lease
                await self._lease.release(lease)
                raise
        self._lease.answered()
        return lease

    async def renew_lease(self, lease: Lease) -> None:
        await self._lease.fence(lease)

    async def release_lease(self, lease: Lease) -> None:
        await self._lease.release(lease)

    async def lease_state(self) -> LeaseState | None:
        return await self._lease.status()

    # -- scopes ---------------------------------------------------------------------------------------------------

    async def open_scopes(self, lease: Lease, count: int) -> list[int]:
        self._only_the_operation()
        return await self._scopes.reopen(self._whole, lease, count, self._checkpoint)

    def scoped(self, scope: int, epoch: int) -> "MongoStateStore":
        seen = copy.copy(self)
        seen._scope = scope
        seen._lease = ScopeLease(self._database["Process_Operation_Scope"], self._operation, scope, epoch)
        seen._ledger = Ledger(self._database["Incident_Delivery"], self._operation, scope)
        seen._outbox = Outbox(self._database["Incident_Outbox"], self._operation, scope, keep_bodies=self._keep_bodies)
        seen._delivery = DeliverySteps(seen._lease, seen._ledger, seen._outbox, self._checkpoint, sweeps_rarely=True)
        return seen

    async def _claimed_through(self, scopes: Collection[int | None]) -> dict[int | None, int]:
        claimed = await self._scopes.claimed_through([scope for scope in scopes if scope is not None])
        if None in scopes:
            claimed[None] = await self._whole.claimed_through()
        return claimed

    # -- tracking -------------------------------------------------------------------------------------------------

    async def read_operation(self) -> Operation | None:
        return await self._tracking.read()

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        self._only_the_operation()
        return await self._tracking.advance(lease, step)

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        self._only_the_operation()
        return await self._lease.raise_as_of(lease, instant)

    # -- runs -----------------------------------------------------------------------------------------------------

    async def open_run(self, lease: Lease, run: RunRecord) -> None:
        self._only_the_operation()
        now = await self._lease.fence(lease)
        await self._runs.close_dangling(lease, run.run_id, now)
        await self._runs.write(lease, run)

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        self._only_the_operation()
        await self._lease.fence(lease)
        await self._runs.write(lease, run)

    async def runs(
        self,
        *,
        run_id: str | None = None,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        search: RunSearch = ANY_RUN,
        skip: int = 0,
        limit: int = 20,
    ) -> list[RunRecord]:
        began = {"$gte": search.since, "$lt": search.before}
        contains = {"$regex": re.escape(search.text), "$options": "i"}
        wanted = {
            "_id": run_id,
            "Kind": kind and kind.value,
            "Status": status and status.value,
            "Started_Dtm": {name: at for name, at in began.items() if at is not None} or None,
            "$nor": [{"Kind": RunKind.PRUNE.value}] if search.without_prunes else None,
            "$or": [{name: contains} for name in ("_id", "Host", "Error")] if search.text else None,
        }
        return await self._runs.list({name: value for name, value in wanted.items() if value is not None}, skip, limit)

    # -- ledger and outbox ----------------------------------------------------------------------------------------

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        return await self._history.last_known(accounts)

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        return await self._history.delivered_before(contents)

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        await self._lease.fence(lease)
        return await counter.reserve(self._counter, count, floor)

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        await self._delivery.enqueue(lease, chunk)

    async def claim_outbox(self, lease: Lease) -> list[str]:
        return await self._delivery.claim(lease)

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        return await self._outbox.load(chunk_id)

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        await self._delivery.record(lease, chunk, outcomes)

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        return await self._delivery.replace(lease, chunk, old_id, new)

    async def delivered_accounts(self) -> AsyncIterator[str]:
        after = ""
        while page := await self._delivered_accounts(after):
            for account in page:
                yield account
            after = page[-1]

    async def _delivered_accounts(self, after: str) -> Sequence[str]:
        return await self._ledger.delivered_accounts(after)

    async def deliveries(
        self,
        *,
        account: str | None = None,
        status: DeliveryStatus | None = None,
        run_id: str | None = None,
        attempted: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[LedgerEntry]:
        wanted = {
            "Account_Num": account,
            "Status": status and status.value,
            "Run_Id": run_id,
            "_id": None if before is None else {"$lt": before},
            "Attempts": None if attempted is None else {"$gt" if attempted else "$lte": 0},
        }
        return await self._ledger.list({name: value for name, value in wanted.items() if value is not None}, limit)

    async def dead_letters(
        self, *, account: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[LedgerEntry]:
        found: list[LedgerEntry] = []
        while len(found) < limit:
            page = await self.deliveries(account=account, status=DeliveryStatus.DEAD, before=before, limit=_DEAD_PAGE)
            if not page:
                break
            found += await self._history.not_followed(page)
            before = page[-1].incident_id
        return found[:limit]

    async def accounts(self, starting: str, limit: int) -> list[str]:
        return list(await self._ledger.accounts(starting, limit))

    async def kept_body(self, incident_id: int) -> bytes | None:
        chunk_id = await self._ledger.delivering_chunk(incident_id)
        return None if chunk_id is None else await self._outbox.kept_body(chunk_id, incident_id)

    async def delivery_counts(self) -> dict[DeliveryStatus, int]:
        return await self._ledger.counts()

    async def stored_bytes(self) -> int | None:
        """Return about how many bytes the database takes on the disk, None where the server does not say."""
        try:
            found = await self._database.command("dbStats")
            return int(found["storageSize"] + found["indexSize"])
        except (OperationFailure, KeyError):
            return None

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        await self._lease.fence(lease)
        return await self._outbox.purge(older_than)
