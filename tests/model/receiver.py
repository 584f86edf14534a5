"""The receiver in memory: it knows ids, may honour keys, and may be well, down or refusing."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

MOODS = {"well": 201, "down": 503, "refusing": 401}


@dataclass(frozen=True, slots=True)
class Accepted:
    """One line of the receiver's log: what the body says of the rows behind it."""

    incident_id: int
    account: str
    content: tuple[Any, ...]
    stamps: dict[str | None, datetime]
    """The LOAD_DATE of each asset's row; that of the payment at None."""


def read(body: bytes) -> Accepted:
    """Return what a body says, read from the properties of SPEC 4."""
    document = msgspec.json.decode(body)
    products = {item["Product_Id"]: item for item in document["Product_Details"]}
    (action,) = document["Last_Actions"]
    stamps: dict[str | None, datetime] = {
        asset: datetime.fromisoformat(item["Product_Name"]) for asset, item in products.items()
    }
    if action["Payment_Seq"]:
        stamps[None] = datetime.fromisoformat(action["Payment_Created"]).astimezone(UTC)
    labels = tuple((asset, stamps[asset], int(item["Product_Label"])) for asset, item in sorted(products.items()))
    content = (int(document["Arrears"]), labels, stamps.get(None), action["Payment_Seq"])
    return Accepted(document["Incident_Id"], document["Account_Num"], content, stamps)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the receiver answers; ``status`` None: no answer."""

    status: int | None
    retry_after: str | None = None
    excerpt: bytes = b""


WORDS = b'{"detail": "it already exists in open cases"}'


class Weather:
    """How the receiver answers all accounts for a while: it fails, refuses, or limits the rate.

    It fails the requests ``begin`` to ``end``, counted from when the weather is set, and accepts ``per_second`` of the
    others in each second; ``status`` None is no answer.
    """

    def __init__(
        self,
        status: int | None = None,
        *,
        begin: int = 0,
        end: int = 0,
        per_second: int = 0,
        limit: int = 429,
        retry_after: str | None = None,
    ) -> None:
        self._status = status
        self._begin = begin
        self._end = end
        self._per_second = per_second
        self._limit = limit
        self._retry_after = retry_after
        self._requests = 0
        self._taken: dict[int, int] = {}

    def answer(self, now: float) -> Answered | None:
        """Return the answer to any request now, None where the body decides."""
        self._requests += 1
        if self._begin <= self._requests - 1 < self._end:
            return Answered(self._status)
        if not self._per_second:
            return None
        taken = self._taken.get(int(now), 0)
        if taken >= self._per_second:
            return Answered(self._limit, self._retry_after)
        self._taken[int(now)] = taken + 1
        return None


class Receiver:
    """Stores one body under an id. It answers a repeated id with 409, a repeated key (where honoured) with 201."""

    def __init__(self, *, honours_keys: bool) -> None:
        self.log: list[Accepted] = []
        self.mood = "well"
        self.sick: set[str] = set()
        self.poisoned: set[str] = set()
        self.refuses: dict[str, int] = {}
        """Accounts that are always refused, with their statuses."""
        self.weather = Weather()
        self.foreign: set[int] = set()
        self.in_the_network: deque[tuple[bytes, str]] = deque()
        self._honours_keys = honours_keys
        self._ids: set[int] = set()
        self._keys: set[str] = set()

    def answer(self, body: bytes, key: str) -> int:
        """Handle a request and return the status."""
        incident = read(body)
        if self.mood != "well":
            return MOODS[self.mood]
        if self._honours_keys and key in self._keys:
            return 201
        if incident.incident_id in self._ids | self.foreign:
            return 409
        refused = self._refused(incident.account)
        if refused is not None:
            return refused
        self._ids.add(incident.incident_id)
        self._keys.add(key)
        self.log.append(incident)
        return 201

    def _refused(self, account: str) -> int | None:
        """Return the status that the account always gets, None where the receiver accepts it."""
        if account in self.sick:
            return 500
        return 422 if account in self.poisoned else self.refuses.get(account)

    def arrive(self, incident_id: int | None = None) -> None:
        """Let delayed requests arrive, all or those of one incident; their answers are lost."""
        delayed = list(self.in_the_network)
        self.in_the_network.clear()
        for body, key in delayed:
            if incident_id in {None, read(body).incident_id}:
                self.answer(body, key)
            else:
                self.in_the_network.append((body, key))

    def accepted(self, account: str) -> list[Accepted]:
        """Return what the receiver accepted of one account, in order."""
        return [item for item in self.log if item.account == account]
