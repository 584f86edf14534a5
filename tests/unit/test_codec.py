"""What a tampered outbox can do to whoever reads it: be refused, for a few bytes of memory."""

import tracemalloc

import msgspec
import pytest
import zstandard

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import Incident
from incident_process.state import codec


def entry(bodies: list[bytes]) -> codec.OutboxEntry:
    return codec.OutboxEntry(
        incidents=tuple(
            Incident(incident_id=number, account=str(number), digest="d", key="k", body=body)
            for number, body in enumerate(bodies)
        )
    )


@pytest.mark.parametrize("claims", [True, False], ids=["says its size", "hides its size"])
def test_a_bomb_is_refused_before_it_is_unpacked(claims: bool) -> None:
    plain = b"\0" * (512 * 1024 * 1024)
    bomb = zstandard.ZstdCompressor(level=1, write_content_size=claims).compress(plain)
    del plain
    assert len(bomb) < 64 * 1024
    tracemalloc.start()
    with pytest.raises(IncidentProcessError, match=r"an outbox entry is damaged .*: restore the state"):
        codec.decode([bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_a_list_that_claims_to_be_endless_is_damage() -> None:
    lying = zstandard.ZstdCompressor().compress(b"\x82\xa9incidents\xdd\xff\xff\xff\xff\xa4done\x90")
    with pytest.raises(IncidentProcessError, match="damaged"):
        codec.decode([lying])


def test_what_is_alike_beyond_measure_comes_back_all_the_same() -> None:
    alike = entry([b"x" * (codec.ALWAYS_BYTES // 4)] * 5)
    parts = codec.encode(alike)
    assert codec.decode(parts) == alike
    assert sum(map(len, parts)) >= 5 * codec.ALWAYS_BYTES // 4 // codec.MOST_TIMES


def test_more_than_can_be_read_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MOST_BYTES", 1000)
    with pytest.raises(IncidentProcessError, match=r"lower \[PROCESS\] chunk_accounts"):
        codec.encode(entry([b"x" * 1000]))
    assert msgspec.msgpack.decode(zstandard.decompress(b"".join(codec.encode(entry([b"x"])))))


def test_an_entry_that_an_earlier_version_has_written_is_read_in_full() -> None:
    """A body in the outbox may have been sent: an upgrade that misread one field of it would send it as another."""
    written = {
        "incidents": [
            {
                "incident_id": 7,
                "account": "0000000007",
                "digest": "d",
                "key": "k",
                "body": b"{}",
                "attempts": 5,
                "runs": 2,
                "in_doubt": False,
                "rows_digest": "r",
                "elsewhere": 3,
                "refused_as": "HTTP 500",
            }
        ],
        "done": [],
    }
    packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(msgspec.msgpack.encode(written))
    (incident,) = codec.decode([packed]).incidents
    assert incident == Incident(
        incident_id=7,
        account="0000000007",
        digest="d",
        key="k",
        body=b"{}",
        attempts=5,
        runs=2,
        in_doubt=False,
        rows_digest="r",
        unsent_attempts=3,
        refused_as="HTTP 500",
    )
    (stored,) = codec.encode(codec.OutboxEntry(incidents=(incident,)))
    assert msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(stored)) == written
