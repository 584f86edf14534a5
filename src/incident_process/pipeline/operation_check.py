"""Whether the state that a run is given is this operation's, and what it holds this receiver's (SPEC 6).

A mistyped operation_name would find an empty ledger and send every account again, under other keys. After a changed
api_url the ledger would take for delivered what the new receiver has never seen. Both are told before anything is sent.
"""

import logging
from difflib import SequenceMatcher

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.core.events import Events
from incident_process.core.logs import event, get_logger
from incident_process.core.models import DeliveryStatus, Identity, Lease, RunStatus, Tracking
from incident_process.core.window import Refusal
from incident_process.delivery.endpoint import receiver_place
from incident_process.settings import Settings
from incident_process.state.base import LedgerReader, RunState

log = get_logger()

NAMES_SHOWN = 3
NEARLY_ALIKE = 0.8
"""From this likeness on (of 1) a document of another program may be the operation that was meant."""
PAGE = 1000

RECEIVER_REMEDY = (
    "If it is the same receiver under another address, say so with 'incident-process state receiver --accept'; if it "
    "is another one, send it everything with 'incident-process backfill --from DAY --to DAY --force', or give it a "
    "state of its own."
)


async def unknown_operation(store: LedgerReader, settings: Settings) -> Refusal | None:
    """Return why the operation is none that may run: the state does not know it, but others over this source.

    An operation is known that has a row or document in ``Process_Operation``, or that ``init`` has created. With
    tracking in MongoDB one that nobody knows may run as long as the state holds no other over this source, and
    ``Process_Operation`` no document of nearly its name (SPEC 3).
    """
    name = settings.process.operation_name
    if await store.read_operation() is not None:
        return None
    in_sql = settings.process.tracking is Tracking.SQL
    if not in_sql and await store.identity() is not None:
        return None
    here = settings.source_target.place
    known = {item.operation for item in await store.operations() if item.source in {None, here}}
    tracked = set(await store.tracked())
    others = known | (tracked if in_sql else {other for other in tracked if _likeness(name, other) >= NEARLY_ALIKE})
    others.discard(name)
    if not others and not in_sql:
        return None
    return Refusal(status=RunStatus.INACTIVE, message=_unknown(name, others, in_sql=in_sql))


def _unknown(name: str, others: set[str], *, in_sql: bool) -> str:
    what = (
        f"Operation '{name}' is inactive: Process_Operation has no row of that name."
        if in_sql
        else f"Operation '{name}' is inactive: the state does not know it, but others, whose deliveries would all be "
        "sent again under its name."
    )
    if not others:
        return f"{what} Create it with 'incident-process init', or correct [PROCESS] operation_name."
    nearest = nearest_names(name, others)
    told = f" It knows {', '.join(repr(other) for other in nearest)}"
    if len(others) > len(nearest):
        told += f" and {len(others) - len(nearest)} more"
    if _plain(nearest[0]) == _plain(name):
        told += ", which differs from it in capitals or blanks only"
    return (
        f"{what}{told}. Correct [PROCESS] operation_name; or rename the operation with 'incident-process state rename "
        "OLD NEW'; or, if it is a new one whose every account is to be sent, create it with 'incident-process init'."
    )


def nearest_names(name: str, others: set[str]) -> list[str]:
    """Return the names that are most like it, the nearest first."""
    return sorted(others, key=lambda other: (-_likeness(name, other), other))[:NAMES_SHOWN]


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, _plain(one), _plain(other)).ratio()


def _plain(name: str) -> str:
    return "".join(name.casefold().split())


async def require_receiver(store: LedgerReader, settings: Settings, identity: Identity | None) -> None:
    """Raise ConfigurationError where what the state knows as delivered was delivered to another receiver.

    And for a state with which runs do not go on: it was copied, or a rename was cut off.
    """
    require_usable(identity)
    changed = await changed_receiver(store, settings, identity)
    if changed is not None:
        raise _other_receiver(changed, settings)


def require_usable(known: Identity | None) -> None:
    """Raise ConfigurationError for a state that was copied elsewhere, or is being renamed or copied."""
    if known is not None and known.renaming is not None:
        raise ConfigurationError(
            f"The operation is being renamed or copied ('{known.operation}', '{known.renaming}') and that was cut off: "
            "run the same 'incident-process state rename' or 'state copy' again."
        )
    if known is not None and known.moved_to is not None:
        raise ConfigurationError(
            f"This state was copied to {known.moved_to}, where runs go on: what they deliver is not known here. Let "
            "the configuration name that state; or, if the copy is not used, run 'incident-process state copy --undo'."
        )


async def changed_receiver(store: LedgerReader, settings: Settings, identity: Identity | None) -> str | None:
    """Return the receiver to which the state has delivered, None where that is the configured one or none."""
    if identity is None or identity.receiver in {None, receiver_place(settings.api.api_url)}:
        return None
    delivered = await store.deliveries(status=DeliveryStatus.DELIVERED, limit=1)
    return identity.receiver if delivered else None


def _other_receiver(before: str, settings: Settings) -> ConfigurationError:
    error = ConfigurationError(
        f"[API] api_url leads to {receiver_place(settings.api.api_url)}, but the state has delivered to {before}: what "
        f"it knows as delivered would never be sent to the new address. {RECEIVER_REMEDY}"
    )
    error.remedy = RECEIVER_REMEDY
    return error


class OperationCheck:
    """What a run knows of its operation, once it holds the lease.

    ``sends_all``: it sends what it is given whatever the ledger knows, so it may go to another receiver.
    """

    def __init__(self, store: RunState, settings: Settings, events: Events, *, sends_all: bool) -> None:
        self._store = store
        self._events = events
        self._settings = settings
        self._sends_all = sends_all
        self._name = settings.process.operation_name
        self.identity = Identity(operation=self._name, key_name=self._name)
        self.before: str | None = None
        """The receiver of earlier runs, where this one goes to another."""

    async def begin(self, lease: Lease) -> None:
        """Look at what the state knows, and note what it does not know yet.

        Raises ConfigurationError for another receiver, unless everything is sent, and for a rename that was cut off.
        """
        known = await self._store.identity()
        require_usable(known)
        self.identity = known or self.identity
        self.before = await changed_receiver(self._store, self._settings, known)
        if self.before is not None:
            if not self._sends_all:
                raise _other_receiver(self.before, self._settings)
            log.warning(
                "The state has delivered to %s; this run sends to %s.",
                self.before,
                receiver_place(self._settings.api.api_url),
                extra=event("receiver_changed"),
            )
            return
        await self._note(lease)

    async def end(self, lease: Lease, since_id: int, *, everything: bool) -> None:
        """Take the new receiver for the operation's, if all that the old one has was sent to it since ``since_id``.

        ``everything``: it has all there is, by its own log.
        """
        if self.before is None:
            return
        left = 0 if everything else await self._left(since_id)
        if not left:
            await self._note(lease)
            return
        log.warning(
            "%d account(s) that were delivered to %s were not among those that this run has sent: they lie outside of "
            "its range, or the source has no row of them any more. Until they are sent, or 'incident-process state "
            "receiver --accept' says that they need not be, other runs stop.",
            left,
            self.before,
            extra=event("receiver_incomplete", accounts=left),
        )

    async def _note(self, lease: Lease) -> None:
        noted = msgspec.structs.replace(
            self.identity,
            source=self._settings.source_target.place,
            receiver=receiver_place(self._settings.api.api_url),
        )
        if noted != self.identity:
            if noted.receiver != self.identity.receiver:
                # Of a state that has delivered before, this is for the operator to know: it was taken on trust.
                delivered = await self._store.deliveries(status=DeliveryStatus.DELIVERED, limit=1)
                level = logging.INFO if delivered else logging.DEBUG
                log.log(
                    level,
                    "The state notes that operation '%s' delivers to %s.",
                    self._name,
                    noted.receiver,
                    extra=event("receiver_noted", receiver=noted.receiver),
                )
            await self._events.timed(self._store.write_identity, lease, noted)
            self.identity = noted

    async def _left(self, since_id: int) -> int:
        """Count the accounts whose last delivery is older."""
        left, page = 0, list[str]()
        async for account in self._store.delivered_accounts():
            page.append(account)
            if len(page) == PAGE:
                left += await self._older(page, since_id)
                page.clear()
        return left + await self._older(page, since_id)

    async def _older(self, accounts: list[str], since_id: int) -> int:
        known = await self._store.last_known(accounts)
        return sum(item.delivered_id < since_id for item in known.values())
