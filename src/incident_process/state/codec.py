"""Encodes an outbox entry: MessagePack, compressed, with a checksum, in parts that fit a database.

The bodies must come back byte for byte (SPEC 6): the receiver would answer a changed body under an id that it has
already stored with 409, and the body would be lost. The checksum turns damage into an error.
"""

from collections.abc import Collection, Sequence

import msgspec
import zstandard

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import DeliveryStatus, Incident, Outcome, Record

LAST_CHARACTER = "\U0010ffff"
"""Sorts after all others: the texts that begin with ``t`` are those from ``t`` to ``t + LAST_CHARACTER``."""

PART_BYTES = 4 * 1024 * 1024
"""Bytes of a part at most. A driver may double it by escaping, which stays below max_allowed_packet (16 MB)."""
MOST_BYTES = 1024 * 1024 * 1024
"""Bytes of an unpacked chunk at most: a run would not have the memory to make a larger one."""
ALWAYS_BYTES = 64 * 1024 * 1024
MOST_TIMES = 1000
"""Largest ratio of unpacked to stored bytes for chunks above ``ALWAYS_BYTES``."""


class OutboxEntry(Record, frozen=True, kw_only=True):
    """A chunk's incidents, and the ids of those with an outcome (kept for auditors)."""

    incidents: tuple[Incident, ...]
    done: frozenset[int] = frozenset()

    @property
    def pending(self) -> tuple[Incident, ...]:
        """The incidents without an outcome, in the order in which they were written."""
        return tuple(incident for incident in self.incidents if incident.incident_id not in self.done)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(OutboxEntry)


def encode(entry: OutboxEntry, part_bytes: int = PART_BYTES) -> Sequence[bytes]:
    """Return the entry as one or more parts of at most ``part_bytes`` bytes, in order.

    Raises:
        IncidentProcessError: It is larger than ``decode`` accepts.
    """
    plain = _ENCODER.encode(entry)
    if len(plain) > MOST_BYTES:
        raise IncidentProcessError("A chunk has more than 1 GiB of bodies: lower [PROCESS] chunk_accounts.")
    # Level 1: an entry lives for seconds, so speed counts, and bodies with the same keys compress well anyway.
    packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)
    if len(plain) > ALWAYS_BYTES:
        packed = packed.ljust(-(-len(plain) // MOST_TIMES), b"\0")  # decoding ignores bytes after the frame
    return cut([packed], part_bytes)


def cut(parts: Sequence[bytes], part_bytes: int) -> Sequence[bytes]:
    """Return the same bytes in parts of at most ``part_bytes`` bytes."""
    if all(len(part) <= part_bytes for part in parts):
        return parts
    packed = b"".join(parts)
    return [packed[start : start + part_bytes] for start in range(0, len(packed), part_bytes)]


def decode(parts: Sequence[bytes]) -> OutboxEntry:
    """Return the entry that ``encode`` made of these parts.

    Raises:
        IncidentProcessError: A part is missing or damaged. The message contains nothing of the content.
    """
    try:
        packed = b"".join(parts)
        # Checked before unpacking: an attacker with access to the state could make kilobytes expand to gigabytes.
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= min(MOST_BYTES, max(ALWAYS_BYTES, MOST_TIMES * len(packed))):
            raise _damaged("its size cannot be right")
        return _DECODER.decode(zstandard.ZstdDecompressor().decompress(packed))
    except (zstandard.ZstdError, msgspec.DecodeError, MemoryError, RecursionError, TypeError) as exc:
        raise _damaged(type(exc).__name__) from exc


def _damaged(what: str) -> IncidentProcessError:
    return IncidentProcessError(f"an outbox entry is damaged ({what}): restore the state")


def body_of(incidents: Sequence[Incident], incident_id: int) -> bytes | None:
    """Return the body of one of these incidents, None when it is not among them."""
    return next((incident.body for incident in incidents if incident.incident_id == incident_id), None)


def settle(entry: OutboxEntry, outcomes: Collection[Outcome], *, keep: bool) -> OutboxEntry:
    """Return the entry after outcomes of some or all of its incidents; those of others are ignored.

    ``keep``: bodies stay after their outcome (``[PROCESS] keep_bodies``), marked as done.
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
    """Return the incidents with ``new`` in place of the one with ``old_id``."""
    return tuple(new if incident.incident_id == old_id else incident for incident in incidents)
