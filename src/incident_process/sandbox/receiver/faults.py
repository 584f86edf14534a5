"""The faults that the receiver can be told to make, and the dice that choose them for each request."""

import re
from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Annotated, Any, Literal
from zlib import crc32

import msgspec

from incident_process.core.errors import ConfigurationError

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]
ErrorStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]
AnyStatus = Annotated[int, msgspec.Meta(ge=200, le=599)]
Count = Annotated[int, msgspec.Meta(ge=0)]

_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The receiver's faults; by default it makes none.

    Rates are shares of all requests, drawn once per request in the order of the fields, so they add up; where they
    add up to more than 1, the earlier ones win. Every fault applies to ``{}`` and invalid bodies too.
    """

    latency_ms: Milliseconds = 0.0
    """Delay before each answer; an incident is stored by then."""
    jitter_ms: Milliseconds = 0.0
    """Longest further delay, evenly distributed."""
    reject_before_rate: Rate = 0.0
    """Cut the connection with nothing stored."""
    fail_rate: Rate = 0.0
    """Answer ``fail_status`` with nothing stored."""
    drop_rate: Rate = 0.0
    """Store, then cut the connection without an answer."""
    stall_rate: Rate = 0.0
    """Store, then never answer: the client has to give up."""
    fail_status: ErrorStatus = 503
    """The status of ``fail_rate`` and ``fail_next``."""
    retry_after: str | None = None
    """``Retry-After``, sent as it is, with every failure caused by a fault: seconds or an HTTP date."""
    fail_accounts: dict[str, ErrorStatus] = {}
    """Accounts that always get this status, whatever else is set; nothing of them is stored."""
    fail_next: Count = 0
    """The next n requests fail like ``fail_rate``; counts down."""
    drop_next: Count = 0
    """The next n requests (after those of ``fail_next``) are dropped like ``drop_rate``; counts down."""
    refuse_accounts: dict[str, AnyStatus] = {}
    """Accounts that a business rule refuses with this status and ``refuse_text``; nothing of them is stored."""
    refuse_share: Rate = 0.0
    """Share of all accounts, always the same ones, that is refused with ``refuse_status``."""
    refuse_status: AnyStatus = 500
    """The status for ``refuse_share``. With one below 300 the answer says ``"success": false``."""
    refuse_text: str = "Incident already exists in open cases"
    """The text of a refusal."""
    rate_limit: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 0.0
    """Requests a second that the receiver takes; it answers the others with ``rate_status``. 0: no limit."""
    rate_kind: Literal["second", "sliding", "bucket"] = "second"
    """The limit's period: each second of the clock, any second, or a bucket of ``rate_burst`` that fills evenly."""
    rate_burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Requests that the bucket holds."""
    rate_status: ErrorStatus = 429
    """The status beyond the limit of the rate; 503 is usual too."""
    rate_retry_after: str | None = None
    """``Retry-After``, sent as it is, with that status."""
    workers: Count = 0
    """Requests that the receiver works on at once, for ``work_ms`` each; the others queue. 0: no limit."""
    work_ms: Milliseconds = 50.0
    """Time that one of the ``workers`` takes for a request."""
    queue: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Places in their queue; a request without a place is answered 503. None: no limit."""
    proxy_status: ErrorStatus | None = None
    """The status with which a proxy before the receiver answers every request, in HTML: 400 of a TLS port, 502."""
    proxy_body_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The largest body that the proxy lets through; larger ones are answered 413, in HTML."""
    honour_keys: bool = False
    """A known Idempotency-Key is answered 201 with the first Incident_Id again, and nothing is stored."""
    seed: int | None = None
    """Makes the rates' draws repeatable; setting it starts the draws anew."""


class Fault(StrEnum):
    """The fault of one request; the value of ``fault`` in the receiver's own log."""

    REJECT_BEFORE = "reject_before"  # nothing stored, connection cut
    FAIL = "fail"  # nothing stored, answered with an error
    FAIL_ACCOUNT = "fail_account"  # as above, because of the account
    DROP = "drop"  # handled in full, connection cut instead of an answer
    STALL = "stall"  # handled in full, no answer ever
    REFUSE = "refuse"  # nothing stored, a business rule says no
    RATE = "rate"  # nothing stored, one too many in this second
    BUSY = "busy"  # nothing stored, no place in the queue
    PROXY = "proxy"  # nothing stored, a proxy before the receiver answers


def with_changes(faults: Faults, changes: Mapping[str, Any]) -> Faults:
    """Return ``faults`` with the named settings changed.

    Raises:
        ConfigurationError: A name is unknown or a value is out of its range; the message says which.
    """
    try:
        result = msgspec.convert({**msgspec.structs.asdict(faults), **changes}, Faults)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"receiver faults: {exc}") from exc
    for name in ("retry_after", "rate_retry_after"):
        value = getattr(result, name)
        if value is not None and not _PRINTABLE.fullmatch(value):
            raise ConfigurationError(f"receiver faults: {name} must be printable ASCII - at `$.{name}`")
    return result


class Dice:
    """Chooses the fault of each request. ``faults`` is the present setting, with counters counted down."""

    def __init__(self, faults: Faults) -> None:
        self.faults = with_changes(faults, {})
        self._random = Random(self.faults.seed)  # noqa: S311 - chance for tests, no secret

    def change(self, changes: Mapping[str, Any]) -> Faults:
        """Change the named settings, and return all of them; a ConfigurationError changes nothing."""
        self.faults = with_changes(self.faults, changes)
        if "seed" in changes:
            self._random.seed(self.faults.seed)
        return self.faults

    def reset(self) -> Faults:
        """Remove all faults, and return the settings."""
        self.faults = Faults()
        return self.faults

    def roll(self, account: str | None) -> Fault | None:
        """Return the fault of the next request, and count down the counters."""
        faults = self.faults
        if account is not None and account in faults.fail_accounts:
            return Fault.FAIL_ACCOUNT
        if account is not None and (account in faults.refuse_accounts or self._shares(account)):
            return Fault.REFUSE
        if faults.fail_next:
            self.faults = msgspec.structs.replace(faults, fail_next=faults.fail_next - 1)
            return Fault.FAIL
        if faults.drop_next:
            self.faults = msgspec.structs.replace(faults, drop_next=faults.drop_next - 1)
            return Fault.DROP
        drawn = self._random.random()
        for rate, fault in (
            (faults.reject_before_rate, Fault.REJECT_BEFORE),
            (faults.fail_rate, Fault.FAIL),
            (faults.drop_rate, Fault.DROP),
            (faults.stall_rate, Fault.STALL),
        ):
            if drawn < rate:
                return fault
            drawn -= rate
        return None

    def status(self, fault: Fault, account: str | None) -> int:
        """Return the status that a failing fault answers."""
        faults = self.faults
        match fault:
            case Fault.FAIL_ACCOUNT if account is not None:
                return faults.fail_accounts[account]
            case Fault.REFUSE if account is not None:
                return faults.refuse_accounts.get(account, faults.refuse_status)
        return faults.fail_status

    def _shares(self, account: str) -> bool:
        """Return whether the account is one of ``refuse_share``: by its number, so the answer never changes."""
        return crc32(account.encode()) / 2**32 < self.faults.refuse_share

    def delay(self) -> float:
        """Return the seconds to wait before the next answer."""
        faults = self.faults
        if not (faults.latency_ms or faults.jitter_ms):
            return 0.0
        return (faults.latency_ms + self._random.uniform(0, faults.jitter_ms)) / 1000
