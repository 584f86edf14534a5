"""How an outbox entry is stored: MessagePack, compressed, with a checksum, in parts that a database takes.

The bodies must come back byte for byte (SPEC 6): a rebuilt or damaged body under an id that the receiver has already
stored would be lost behind its 409. The checksum makes damage an error instead of a wrong document.
"""

from collections.abc import Collection, Sequence

import msgspec
import zstandard

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import DeliveryStatus, Incident, Outcome, Record

LAST_CHARACTER = "\U0010ffff"
"""Sorts after every other: the texts that begin with ``t`` are those from ``t`` to ``t + LAST_CHARACTER``."""

PART_BYTES = 4 * 1024 * 1024
"""The size of a part. A driver may double it by escaping, which still stays under the 16 MB of max_allowed_packet."""
MOST_BYTES = 1024 * 1024 * 1024
"""No chunk is larger when it is unpacked: a run that made one would not have had the memory for it."""
ALWAYS_BYTES = 64 * 1024 * 1024
MOST_TIMES = 1000
"""Nor is what is larger than ``ALWAYS_BYTES`` stored in less than a thousandth of it."""


class OutboxEntry(Record, frozen=True, kw_only=True):
    """What one outbox entry holds: a chunk's incidents, and which of them have their outcome (kept for auditors)."""

    incidents: tuple[Incident, ...]
    done: frozenset[int] = frozenset()

    @property
    def pending(self) -> tuple[Incident, ...]:
        """The incidents that have no outcome yet, in the order in which they were written."""
        return tuple(incident for incident in self.incidents if incident.incident_id not in self.done)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(OutboxEntry)


def encode(entry: OutboxEntry, part_bytes: int = PART_BYTES) -> Sequence[bytes]:
    """Return the entry as one or more parts of at most ``part_bytes`` bytes, in order.

    Raises:
        IncidentProcessError: It holds more than ``decode`` would take back.
    """
    plain = _ENCODER.encode(entry)
    if len(plain) > MOST_BYTES:
        raise IncidentProcessError("A chunk has more than 1 GiB of bodies: lower [PROCESS] chunk_accounts.")
    # Level 1: the outbox is written and dropped within seconds, so speed counts, and bodies repeat their keys anyway.
    packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)
    if len(plain) > ALWAYS_BYTES:
        packed = packed.ljust(-(-len(plain) // MOST_TIMES), b"\0")  # what follows the end of the frame is not looked at
    return cut([packed], part_bytes)


def cut(parts: Sequence[bytes], part_bytes: int) -> Sequence[bytes]:
    """Return parts that hold the same as these, each of at most ``part_bytes`` bytes."""
    if all(len(part) <= part_bytes for part in parts):
        return parts
    packed = b"".join(parts)
    return [packed[start : start + part_bytes] for start in range(0, len(packed), part_bytes)]


def decode(parts: Sequence[bytes]) -> OutboxEntry:
    """Return the entry that ``encode`` made of these parts.

    Raises:
        IncidentProcessError: a part is missing or damaged. The message holds nothing of the content.
    """
    packed = b"".join(parts)
    try:
        # Asked before anything is unpacked: whoever can write to the state could let some kilobytes become gigabytes.
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= min(MOST_BYTES, max(ALWAYS_BYTES, MOST_TIMES * len(packed))):
            raise _damaged("its size cannot be right")
        return _DECODER.decode(zstandard.ZstdDecompressor().decompress(packed))
    except (zstandard.ZstdError, msgspec.DecodeError, MemoryError, RecursionError) as exc:
        raise _damaged(type(exc).__name__) from exc


def _damaged(what: str) -> IncidentProcessError:
    return IncidentProcessError(f"an outbox entry is damaged ({what}): restore the state")


def body_of(incidents: Sequence[Incident], incident_id: int) -> bytes | None:
    """Return the body of one of these incidents, None when it is not among them."""
    return next((incident.body for incident in incidents if incident.incident_id == incident_id), None)


def settle(entry: OutboxEntry, outcomes: Collection[Outcome], *, keep: bool) -> OutboxEntry:
    """Return the entry as it is after these outcomes.

    Args:
        entry: as it is stored.
        outcomes: of some or all of its incidents; those of others are passed over.
        keep: whether bodies stay after their outcome (``keep_bodies_days``), marked as done.
    """
    by_id = {outcome.incident_id: outcome for outcome in outcomes}
    incidents: list[Incident] = []
    done = set(entry.done)
    for incident in entry.incidents:
        outcome = by_id.get(incident.incident_id)
        if outcome is None:
            incidents.append(incident)
        elif outcome.status is DeliveryStatus.PENDING:
            incidents.append(
                msgspec.structs.replace(
                    incident,
                    attempts=outcome.attempts,
                    runs=outcome.runs,
                    in_doubt=outcome.in_doubt,
                    unsent_attempts=outcome.unsent_attempts,
                    refused_as=outcome.refused_as,
                )
            )
        elif keep:
            incidents.append(incident)
            done.add(incident.incident_id)
    return OutboxEntry(incidents=tuple(incidents), done=frozenset(done))


def substitute(incidents: Sequence[Incident], old_id: int, new: Incident) -> tuple[Incident, ...]:
    """Return the incidents with ``new`` in the place of the one that had ``old_id``."""
    return tuple(new if incident.incident_id == old_id else incident for incident in incidents)
