"""Checks every effect of the runners, and notes each that breaks an invariant (SPEC 3, 6, 10)."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from itertools import pairwise
from typing import Any, Protocol

from incident_process.core.models import NEVER, DeliveryStatus, Incident
from tests.model.process import Process
from tests.model.receiver import Accepted, Receiver, read
from tests.model.world import Row, World


class Entry(Protocol):
    """What the ledger says of an incident."""

    @property
    def status(self) -> DeliveryStatus:
        """Its delivery status."""
        ...


Newest = Callable[[str], tuple[int, Entry] | None]
"""Returns the id and the entry of an account's newest incident in the ledger."""


class InvariantChecker:
    """The model calls it at the instant of each effect."""

    def __init__(self, world: World, receiver: Receiver) -> None:
        self.excused: set[str] = set()
        self.posts = 0
        self._world = world
        self._receiver = receiver
        self._owned: defaultdict[str, set[tuple[int, bytes]]] = defaultdict(set)
        self._born: dict[int, str] = {}
        self._bodies: dict[int, bytes] = {}
        self._surveyed: dict[str, list[Row]] = {}

    def note_owned(self, process: Process, incidents: Iterable[Incident], *, born: bool = False) -> None:
        """Note that the process wrote these incidents into the outbox (``born``), or claimed them there."""
        for incident in incidents:
            self._owned[process.name].add((incident.incident_id, incident.body))
            if born:
                self._born[incident.incident_id] = process.name

    def check_request(self, process: Process, incident: Accepted, body: bytes) -> bool:
        """Check a request; return whether it is the first under its id, from the process that reserved the id."""
        self.posts += 1
        number = incident.incident_id
        if (number, body) not in self._owned[process.name]:
            self._world.violate("outbox", f"{process.name} posted {number}, which it neither wrote nor claimed")
        first = number not in self._bodies and self._born.get(number) == process.name
        if self._bodies.setdefault(number, body) != body:
            self._world.violate("one body", f"{process.name} posted another body under {number}")
        return first

    def excuse(self, account: str) -> None:
        """Excuse the account: another program used its id, and the attempt that learned of it was lost.

        The next attempt gets the same 409 as after an attempt of this body that arrived, so no program can know.
        """
        self.excused.add(account)

    def note_given_up(self, incident_id: int) -> None:
        """Let the incident's delayed requests arrive before it becomes a dead letter.

        Beyond the promise: one that arrives after newer content has followed the dead letter.
        """
        self._receiver.arrive(incident_id)

    def note_survey(self, process: Process, rows: Collection[Row]) -> None:
        """Note the rows that a survey found."""
        self._surveyed[process.name] = list(rows)

    def check_advance(self, process: Process, before: datetime, after: datetime, newest: Newest) -> None:
        """Check a step of the watermark: never backwards, never past a row without an outcome."""
        if after < before:
            self._world.violate("watermark", f"{process.name} moved it back from {before} to {after}")
        for row in self._surveyed.get(process.name, []):
            if row.stamp <= after and row.account not in self.excused:
                found = newest(row.account)
                if found is None or not self._has_outcome(row, *found):
                    self._world.violate("watermark", f"{process.name} moved it to {after}, past {row}")

    def _has_outcome(self, row: Row, number: int, entry: Entry) -> bool:
        """Return whether the receiver accepted or rejected the row, or a newer one in its place."""
        if entry.status is DeliveryStatus.PENDING:
            return False
        if entry.status is DeliveryStatus.SKIPPED:
            return True
        holds = self._receiver.accepted(row.account)
        if entry.status is DeliveryStatus.DEAD and number in self._bodies:
            holds = [*holds, read(self._bodies[number])]
        return max((item.stamps.get(row.asset, NEVER) for item in holds), default=NEVER) >= row.stamp

    def check_log(self, as_of: datetime) -> None:
        """Compare the receiver's log with the rows as of an instant (SPEC 10)."""
        checks_doubles = self._world.setup.honours_keys or not self._world.setup.restores
        for account in sorted({row.account for row in self._world.rows}):
            wanted = content(self._world, account, as_of)
            log = self._receiver.accepted(account)
            accepted = [item.content for item in log]
            if wanted is not None and accepted[-1:] != [wanted] and account not in self.excused:
                self._world.violate("missed", f"account {account}: {wanted} wanted, accepted {accepted}")
            if checks_doubles and any(one == other for one, other in pairwise(accepted)):
                self._world.violate("doubled", f"account {account}: accepted {accepted}")
            if not self._world.setup.restores and any(map(_is_older, log[1:], log)):
                self._world.violate("order", f"account {account}: older content after newer: {accepted}")


def _is_older(one: Accepted, before: Accepted) -> bool:
    """Return whether one document was made from older rows than the document before it."""
    return any(one.stamps.get(asset, NEVER) < stamp for asset, stamp in before.stamps.items())


def content(world: World, account: str, as_of: datetime) -> tuple[Any, ...] | None:
    """Return what the account's document must say, computed from the rows alone; None where it gets no document."""
    rows = world.rows_of(account, as_of)
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row.stamp, row.value)):
        if row.asset is not None:
            newest[row.asset] = row
    if not newest:
        return None
    payment = max((row for row in rows if row.asset is None), key=lambda row: (row.stamp, row.value), default=None)
    # Rows of one LOAD_DATE are ordered by the rest of the row, in which the asset stands before the value.
    arrears = max(newest.values(), key=lambda row: (row.stamp, row.asset)).value
    labels = tuple((asset, newest[asset].stamp, newest[asset].value) for asset in sorted(newest))
    return (arrears, labels, payment.stamp if payment else None, payment.value if payment else 0)
