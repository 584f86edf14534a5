"""The receiver in memory: it knows ids, may honour keys, and has moods."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

MOODS = {"well": 201, "down": 503, "refusing": 401}


@dataclass(frozen=True, slots=True)
class Accepted:
    """One line of the receiver's log: what the body says of the rows from which it was made."""

    incident_id: int
    account: str
    content: tuple[Any, ...]
    stamps: dict[str | None, datetime]
    """The LOAD_DATE of each asset's row; that of the payment at None."""


def read(body: bytes) -> Accepted:
    """Read what a body says, by the places at which SPEC 4 puts it."""
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


class Receiver:
    """Stores one body under an id. A repeated id is answered by 409, a repeated key (where honoured) as it was."""

    def __init__(self, *, honours_keys: bool) -> None:
        self.log: list[Accepted] = []
        self.mood = "well"
        self.sick: set[str] = set()
        self.poisoned: set[str] = set()
        self.foreign: set[int] = set()
        self.in_the_network: deque[tuple[bytes, str]] = deque()
        self._honours_keys = honours_keys
        self._ids: set[int] = set()
        self._keys: set[str] = set()

    def answer(self, body: bytes, key: str) -> int:
        """Take a request, and return the status."""
        incident = read(body)
        if self.mood != "well":
            return MOODS[self.mood]
        if self._honours_keys and key in self._keys:
            return 201
        if incident.incident_id in self._ids | self.foreign:
            return 409
        if incident.account in self.sick:
            return 500
        if incident.account in self.poisoned:
            return 422
        self._ids.add(incident.incident_id)
        self._keys.add(key)
        self.log.append(incident)
        return 201

    def arrive(self) -> None:
        """Let what was held up in the network arrive; nobody hears the answer."""
        while self.in_the_network:
            self.answer(*self.in_the_network.popleft())

    def accepted(self, account: str) -> list[Accepted]:
        """What was accepted of one account, in order."""
        return [item for item in self.log if item.account == account]
