"""Deletes entries of the ledger that later ones have superseded, and runs, for ``prune`` (SPEC 6.4)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import DeliveryStatus, RunStatus
from incident_process.state.base import RENAMED
from incident_process.state.batches import batches
from incident_process.state.remembered import mark
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import marks

_DELIVERED = DeliveryStatus.DELIVERED.value
_PENDING = DeliveryStatus.PENDING.value

_LOCK = (
    "SELECT Token FROM Process_Operation_Lease WHERE Operation_name = ? {locked}"  # every fenced write locks it, too
)

_FOUND = "SELECT Incident_Id, Status, Digest, Earlier_Digests FROM Incident_Delivery WHERE Incident_Id IN "

_DELETE = "DELETE FROM Incident_Delivery WHERE Incident_Id IN "
"""By the key alone: with the operation's name beside it, SQLite would go through all of the operation's entries."""

_MARKED = 200
"""Entries whose marks one statement writes at most."""
_CASE = 64
"""Bytes of a statement for an entry besides its marks: its id, twice, in a CASE and in a list."""

_DELETE_RUNS = f"""
    DELETE FROM Process_Operation_Run
    WHERE Operation_name = ? AND Status <> '{RunStatus.RUNNING.value}' AND Run_Id IN """

_AT_WORK = "SELECT 1 FROM Process_Operation_Lease WHERE Holder IS NOT NULL AND Expires_Dtm > {now} LIMIT 1"


async def delete_superseded(connection: Connection, operation: str, superseded: Mapping[int, int]) -> int:
    """Delete entries, and mark the contents of delivered ones in the delivered entries that their ids lead to.

    The lease's row stays locked until the transaction ends, so of two prunes one waits for the other. Returns how many
    entries it deleted; raises ConfigurationError where the operation has another name by now.
    """
    if await connection.row(_LOCK, (operation,)) is None:
        raise ConfigurationError(RENAMED.format(operation))
    ids = [*superseded, *(one for one in superseded.values() if one)]
    found = {
        number: (status, digest, (earlier or "").split())
        for some in batches(list(dict.fromkeys(ids)))
        for number, status, digest, earlier in await connection.rows(f"{_FOUND} ({marks(len(some))})", some)
    }
    kept: dict[int, dict[str, None]] = defaultdict(dict)
    deleted: list[int] = []
    for number, by in superseded.items():
        status, digest, earlier = found.get(number, ("", "", []))
        is_kept = bool(by)
        if status in {"", _PENDING} or ((is_kept or status == _DELIVERED) and found.get(by, ("",))[0] != _DELIVERED):
            continue  # another prune was quicker
        deleted.append(number)
        if is_kept:
            kept[by].update(dict.fromkeys((*earlier, mark(digest))))
    texts = {number: " ".join(dict.fromkeys((*found[number][2], *of_entry))) for number, of_entry in kept.items()}
    for some in _slices(texts, connection.part_bytes):
        cases, values = "WHEN ? THEN ? " * len(some), list[object]()
        for number in some:
            values += [number, texts[number]]
        await connection.execute(
            f"UPDATE Incident_Delivery SET Earlier_Digests = CASE Incident_Id {cases} END "
            f"WHERE Incident_Id IN ({marks(len(some))})",
            (*values, *some),
        )
    for some in batches(deleted):
        await connection.execute(f"{_DELETE} ({marks(len(some))})", some)
    return len(deleted)


def _slices(texts: Mapping[int, str], size: int) -> Iterator[Sequence[int]]:
    """Yield the numbers of so many texts that one statement takes; a text longer than that is alone in its own."""
    some, length = list[int](), 0
    for number, text in texts.items():
        more = len(text) + _CASE
        if some and (length + more > size or len(some) == _MARKED):
            yield some
            some, length = [], 0
        some.append(number)
        length += more
    if some:
        yield some


async def delete_runs(connection: Connection, operation: str, run_ids: Sequence[str]) -> int:
    """Delete runs that have ended; return how many."""
    return sum(
        [
            await connection.execute(f"{_DELETE_RUNS} ({marks(len(some))})", (operation, *some))
            for some in batches(run_ids)
        ]
    )


async def is_at_work(connection: Connection) -> bool:
    """Return whether a runner holds a lease, of any operation in the state."""
    return await connection.row(_AT_WORK) is not None
