"""What the ledger says of accounts, in all scopes."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Collection as Some

from incident_process.core.models import DeliveryStatus, LastDelivery, LedgerEntry
from incident_process.state.batches import batches
from incident_process.state.mongo.connection import Collection, Document
from incident_process.state.mongo.ledger import LIST, PENDING, status_of
from incident_process.state.remembered import delivered_among, followed

Claims = Callable[[Some[int | None]], Awaitable[dict[int | None, int]]]
"""Returns the token of the last finished claim of each of these scopes; None is the operation's own."""

_Newest = dict[str, dict[str, int]]
"""By account and status: the highest id."""

_Digests = dict[int, tuple[str, str]]
"""By id: the digests of content and rows."""


class History:
    """The ledger of one operation, read by account."""

    def __init__(self, collection: Collection, operation: str, claims: Claims) -> None:
        self._collection = collection
        self._operation = operation
        self._claims = claims

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        """Return the last delivery of these accounts: newest id per account and status, then their digests."""
        newest = await self._newest(accounts)
        digests: _Digests = {}
        for ids in batches([one for by_status in newest.values() for one in by_status.values()], LIST):
            async for found in self._collection.find({"_id": {"$in": ids}}, {"Digest": True, "Rows_Digest": True}):
                # An entry of an earlier version has no digest of its rows.
                digests[found["_id"]] = found["Digest"], found.get("Rows_Digest", "")
        known = ((account, _known(by_status, digests)) for account, by_status in newest.items())
        return {account: last for account, last in known if last is not None}

    async def not_followed(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Return the entries that are the newest of their accounts."""
        newest = await self._newest(list({entry.account for entry in entries}))
        return [entry for entry in entries if entry.incident_id >= max(newest[entry.account].values(), default=0)]

    async def _newest(self, accounts: Sequence[str]) -> _Newest:
        newest: _Newest = defaultdict(dict)
        pending: list[int] = []
        for some in batches(accounts, LIST):
            cursor = await self._collection.aggregate(
                [
                    self._of_accounts(some),
                    {
                        "$group": {
                            # Pending entries one by one: some of them may not count.
                            "_id": {
                                "a": "$Account_Num",
                                "s": "$Status",
                                "p": {"$cond": [{"$eq": ["$Status", PENDING]}, "$_id", None]},
                            },
                            "id": {"$max": "$_id"},
                        }
                    },
                ]
            )
            async for group in cursor:
                if group["_id"]["s"] == PENDING:
                    pending.append(group["id"])
                else:
                    newest[group["_id"]["a"]][group["_id"]["s"]] = group["id"]
        await self._add_pending(newest, pending)
        return newest

    async def _add_pending(self, newest: _Newest, ids: Sequence[int]) -> None:
        """Add the pending entries that count, with their present status.

        It reads the last claims before the tokens: a claim between the two only raises tokens, so an entry below a
        claim then was below it all along.
        """
        if not ids:
            return
        scopes: set[int | None] = set()
        for some in batches(ids, LIST):
            scopes |= {
                found.get("Scope") async for found in self._collection.find({"_id": {"$in": some}}, {"Scope": 1})
            }
        claimed = await self._claims(scopes)
        fields = {"Account_Num": True, "Status": True, "Scope": True, "Token": True}
        for some in batches(ids, LIST):
            async for found in self._collection.find({"_id": {"$in": some}}, fields):
                if found["Status"] == PENDING and found["Token"] < claimed.get(found.get("Scope"), 0):
                    continue
                of_account = newest[found["Account_Num"]]
                of_account[found["Status"]] = max(found["_id"], of_account.get(found["Status"], 0))

    async def delivered_before(self, contents: Some[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (account, digest) pairs that the receiver may have had before what it has now."""
        wanted = set(contents)
        found: set[tuple[str, str]] = set()
        for some in batches(sorted(wanted), LIST):
            digests = sorted({digest for _, digest in some})
            cursor = await self._collection.aggregate(
                [
                    self._of_accounts(sorted({account for account, _ in some})),
                    {
                        "$match": {
                            "Status": {"$in": [DeliveryStatus.DELIVERED.value, DeliveryStatus.DEAD.value]},
                            "$or": [{"Digest": {"$in": digests}}, {"Earlier_Digests": {"$exists": True}}],
                        }
                    },
                    {"$project": {"Account_Num": 1, "Digest": 1, "Earlier_Digests": 1, "Status": 1, "Attempts": 1}},
                    # A prune marks a later delivery before it deletes an earlier one: read in this order, one is seen.
                    {"$sort": {"_id": 1}},
                ]
            )
            deliveries, dead = [], []
            async for entry in cursor:
                account, digest = entry["Account_Num"], entry["Digest"]
                if entry["Status"] == DeliveryStatus.DELIVERED.value:
                    deliveries.append((account, digest, entry.get("Earlier_Digests") or ()))
                elif entry["Attempts"]:
                    dead.append((account, digest, entry["_id"]))
            known = await self.last_known(list({account for account, _, _ in dead}))
            found |= delivered_among(some, deliveries, followed(dead, known))
        return found

    def _of_accounts(self, accounts: Sequence[str]) -> Document:
        """Return the stage that selects entries by account.

        Further conditions need a stage of their own: MongoDB joins the two, and servers that choose an index by the
        shape of the first one still choose the right one.
        """
        return {"$match": {"Operation_name": self._operation, "Account_Num": {"$in": accounts}}}


def _known(by_status: dict[str, int], digests: _Digests) -> LastDelivery | None:
    # A runner may have withdrawn a pending entry between the two queries.
    by_status = {status: key for status, key in by_status.items() if key in digests}
    if not by_status:
        return None
    newest = max(by_status, key=lambda status: by_status[status])
    delivered = by_status.get(DeliveryStatus.DELIVERED.value)
    newest_digest, newest_rows = digests[by_status[newest]]
    return LastDelivery(
        delivered_digest=None if delivered is None else digests[delivered][0],
        delivered_id=int(delivered or 0),
        newest_digest=newest_digest,
        newest_status=status_of(newest),
        newest_rows=newest_rows,
    )
