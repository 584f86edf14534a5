"""Reads rows from replicas in turn, never older ones than the primary had at the run's survey.

Only ``read`` goes to replicas; the primary answers everything else. Before a replica serves a run, it must have applied
everything that the primary had written at the end of the run's survey (``gtid`` tells; LOAD_DATE cannot, because the
loader sets it, not the commit). The run waits for a replica that lags, then passes it over, and leaves out one that
fails for the rest of the run. Whatever happens to a replica, the primary reads in its place and the run goes on.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.core.logs import event, get_logger
from incident_process.core.models import Record
from incident_process.database.connect import CONNECT_SECONDS
from incident_process.database.errors import ErrorKind, ErrorMeaning, MissingPrivilegeError, explained
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source import gtid
from incident_process.source.base import AccountRows, ExcludedRows, ReadRange, SelectedAccount, Survey, ignore_count
from incident_process.source.dialects import SourceDialect
from incident_process.source.gtid import Position
from incident_process.source.mysql import MySQLDriver, MySQLSource

log = get_logger()

T = TypeVar("T")

READ_SECONDS = 300.0
"""Seconds of one reading from a replica before the primary reads. The primary has more: nothing can replace it."""

AGAIN_SECONDS = 30.0
"""Seconds after which the run tries a replica that lagged again."""

_RIGHTS = "GRANT {} ON *.* on MariaDB, REPLICATION CLIENT on MySQL"


class LaggingError(DatabaseConnectionError):
    """A replica has not applied in time what the primary had written."""


class ReplicaCondition(Record, frozen=True, kw_only=True):
    """The condition of one replica: ``fault`` is empty where it may serve; it took ``seconds`` to catch up."""

    where: str
    fault: str
    seconds: float


class RequiredPosition(Record, frozen=True, kw_only=True):
    """What a replica needs before it may serve; ``types`` are the types of LOAD_DATE at the primary."""

    position: Position
    types: Mapping[str, object]


class Primary(MySQLSource):
    """The source database, which can tell its position."""

    async def position(self) -> Position:
        """Return the transactions that cover everything read here before.

        Raises:
            ConfigurationError: There are no GTIDs, or the user may not see what the log leaves out.
            DatabaseConnectionError: The primary cannot be reached.
        """
        try:
            return await self._attempt(lambda: gtid.primary_position(self._driver))
        except MissingPrivilegeError as exc:
            raise ConfigurationError(
                "[DATABASE] REPLICAS: the user of the source may not see whether the primary logs everything: "
                f"{_RIGHTS.format('BINLOG MONITOR')}."
            ) from exc


class ReplicaDriver(MySQLDriver):
    """A connection that waits until its server has reached the required position.

    It asks on this very connection, because each connection to one address may reach another server.
    """

    place = "[DATABASE] REPLICAS"
    server = "replica"

    def __init__(self, target: MySQLTarget) -> None:
        super().__init__(target)
        self.position: Position | None = None
        self.wait_seconds = 0.0
        self.waited = 0.0
        self._reached: Position | None = None

    async def connect(self) -> SourceDialect:
        """Connect if there is no connection, and wait for the position; raise LaggingError when it comes too late."""
        dialect = await super().connect()
        position = self.position
        assert position is not None  # noqa: S101 - ``Replica.serving`` has set it
        if self._reached is not position:
            async with asyncio.timeout(self.wait_seconds + CONNECT_SECONDS):
                await gtid.check_replica(self, self._open.named, position)
                await self._catch_up(position)
            self._reached = position
        return dialect

    async def close(self) -> None:
        """Say goodbye and close."""
        self._reached = None
        await super().close()

    async def drop(self) -> None:
        """Close the socket at once."""
        self._reached = None
        await super().drop()

    async def _catch_up(self, position: Position) -> None:
        began = time.monotonic()
        for one in position.sets:
            left = began + self.wait_seconds - time.monotonic()
            if not await gtid.wait_for(self, one, left, mariadb=position.mariadb):
                raise LaggingError(
                    f"{self.where} has not applied within {self.wait_seconds:g} s what the primary had written."
                )
        self.waited = time.monotonic() - began

    def _translate(self, meaning: ErrorMeaning) -> IncidentProcessError:
        match meaning.kind:
            case ErrorKind.ACCESS | ErrorKind.NO_DATABASE:
                return explained(ConfigurationError, f"{self.place}: {self.where}", meaning)
            case ErrorKind.PRIVILEGE:
                remedy = f"{_RIGHTS.format('REPLICA MONITOR')}, and SELECT on both source tables"
                return explained(ConfigurationError, f"{self.place}: {self.where}", meaning.with_remedy(remedy))
            case _:
                return super()._translate(meaning)


class Replica(MySQLSource):
    """A copy of the source that serves readings as of a position. It tries once, since the primary can read, too."""

    driver_type = ReplicaDriver
    _driver: ReplicaDriver

    def __init__(self, target: MySQLTarget, zone: ZoneInfo) -> None:
        super().__init__(target, zone)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def serving(self, need: RequiredPosition, wait_seconds: float) -> AsyncIterator[Self]:
        """Connect and wait until the replica has what is needed; it serves one caller at a time.

        Raises:
            LaggingError: It has not reached the position within ``wait_seconds``.
            ConfigurationError: It must not serve: it lacks rows, or may lack some.
            DatabaseConnectionError: It cannot be reached.
        """
        async with self._turn:
            await self._prepare(need, wait_seconds)
            yield self

    async def _prepare(self, need: RequiredPosition, wait_seconds: float) -> None:
        driver = self._driver
        if driver.position is need.position and self._tables:
            return
        driver.position, driver.wait_seconds = need.position, wait_seconds
        self._tables = {}
        await self._attempt(self._learn)
        if self.load_date_types != need.types:
            self._tables = {}
            raise ConfigurationError(f"{driver.place}: {driver.where} has a LOAD_DATE of another type than the source.")

    @property
    def where(self) -> str:
        """The replica in words."""
        return self._driver.where

    @property
    def waited(self) -> float:
        """How many seconds the replica needed to reach the last position."""
        return self._driver.waited

    async def _attempt(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._lock, asyncio.timeout(self._driver.wait_seconds + READ_SECONDS):
                return await self._once(work)
        except TimeoutError as exc:
            raise DatabaseConnectionError(f"{self.where} gave no answer within {READ_SECONDS:g} s.") from exc


class ReplicatedSource:
    """A ``Source`` that reads rows from replicas in turn; see ``source.base`` for the contract of each method.

    It serves one run, or on a cluster one chunk, and shows no row older than any run read before it began. It connects
    to each replica at its first turn, and waits ``wait_seconds`` for one that lags.
    """

    def __init__(self, primary: Primary, replicas: Sequence[Replica], wait_seconds: float) -> None:
        self._primary = primary
        self._replicas = tuple(replicas)
        self._wait_seconds = wait_seconds
        self._turn = deque(replicas)
        self._resting: dict[Replica, float] = {}
        self._as_of: datetime | None = None
        self._need: RequiredPosition | None = None

    async def __aenter__(self) -> Self:
        """Connect to the primary; raise its ConfigurationError or DatabaseConnectionError."""
        await self._primary.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        try:
            await asyncio.gather(*(replica.__aexit__(kind, error, trace) for replica in self._replicas))
        finally:
            await self._primary.__aexit__(kind, error, trace)

    async def now(self) -> datetime:
        """Return the primary's clock."""
        return await self._primary.now()

    async def writers(self) -> list[datetime] | None:
        """Return when each open transaction of the primary that has changed rows began; None: unknown."""
        return await self._primary.writers()

    @property
    def load_date_types(self) -> Mapping[str, object]:
        """The type of LOAD_DATE in each table."""
        return self._primary.load_date_types

    async def indexes(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per table, the columns of each index of the primary."""
        return await self._primary.indexes()

    async def excluded(self) -> dict[str, ExcludedRows]:
        """Return, per table, how many rows no window takes."""
        return await self._primary.excluded()

    @property
    def unprocessable_rows(self) -> Mapping[str, str]:
        """The statement with which an operator finds the unprocessable rows, per table."""
        return self._primary.unprocessable_rows

    async def survey(self, span: ReadRange, seen: Callable[[int], None] = ignore_count) -> Survey:
        """Survey the range at the primary."""
        survey = await self._primary.survey(span, seen)
        self._need = None  # a replica needs everything that this survey saw
        return survey

    def selected_accounts(self, size: int) -> AsyncIterator[list[SelectedAccount]]:
        """Yield the accounts of the last survey."""
        return self._primary.selected_accounts(size)

    async def read(self, accounts: Sequence[str], as_of: datetime) -> list[AccountRows]:
        """Read the current rows from the next replica that has them all, else from the primary."""
        need = await self._need_for(as_of)
        if need is not None:
            self._turn.rotate(-1)
            for replica in tuple(self._turn):
                rows = await self._read_from(replica, need, accounts, as_of)
                if rows is not None:
                    return rows
        return await self._primary.read(accounts, as_of)

    async def look(self) -> list[ReplicaCondition]:
        """Ask every replica whether it may serve, as a run would.

        Raises:
            ConfigurationError: The primary cannot tell its position, so no replica may serve.
        """
        need = RequiredPosition(position=await self._primary.position(), types=self.load_date_types)
        found = []
        for replica in self._replicas:
            fault = ""
            try:
                async with replica.serving(need, self._wait_seconds):
                    pass
            except IncidentProcessError as exc:
                fault = str(exc)
            found.append(ReplicaCondition(where=replica.where, fault=fault, seconds=replica.waited))
        return found

    async def _need_for(self, as_of: datetime) -> RequiredPosition | None:
        """Return what a replica needs for a reading as of an instant; None where none may serve.

        One position serves all readings of a run: they are as of one instant, and the position is read after the
        survey, so that it covers everything that the survey saw. A replay and a preview have no survey: they read it at
        the first reading. So no replica shows anything older than the primary showed to any run when this run began.
        """
        if not self._turn:
            return None
        if self._need is None or self._as_of != as_of:
            try:
                position = await self._primary.position()
            except IncidentProcessError as exc:
                # If the primary is down, the reading itself reports it.
                log.warning("All rows are read from the primary. %s", exc, extra=event("replicas_unused"))
                self._turn.clear()
                return None
            self._need, self._as_of = RequiredPosition(position=position, types=self.load_date_types), as_of
            self._resting.clear()
        return self._need

    async def _read_from(
        self, replica: Replica, need: RequiredPosition, accounts: Sequence[str], as_of: datetime
    ) -> list[AccountRows] | None:
        """Read from a replica; return None when it rests or has to rest now."""
        rests = replica in self._resting
        if rests and time.monotonic() < self._resting[replica]:
            return None
        try:
            async with replica.serving(need, 0.0 if rests else self._wait_seconds):
                rows = await replica.read(accounts, as_of)
        except LaggingError as exc:
            if not rests:
                log.warning("A replica is passed over until it has caught up: %s", exc, extra=event("replica_lags"))
            self._resting[replica] = time.monotonic() + AGAIN_SECONDS
            return None
        except ConfigurationError as exc:
            log.warning("A replica is not used. %s", exc, extra=event("replica_refused"))
            if replica in self._turn:
                self._turn.remove(replica)
            return None
        except Exception as exc:  # of any kind: a fault that is not the replica's shows at the primary as well
            said = str(exc) if isinstance(exc, IncidentProcessError) else f"{replica.where}, {type(exc).__name__}"
            log.warning("A replica is left out for the rest of the run: %s", said, extra=event("replica_lost"))
            self._resting[replica] = math.inf
            return None
        if self._resting.pop(replica, None) is not None:
            log.info(
                "A replica has caught up and is read from: %s",
                replica.where,
                extra=event("replica_caught_up", replica=replica.where),
            )
        return rows
