"""The HTTP client against receivers that behave in every way that RFC 9112 allows or forbids."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest
import uvloop

from incident_process.core.errors import APIConfigError
from incident_process.core.events import NOBODY
from incident_process.core.models import Incident
from incident_process.delivery.http import connect_limiter
from incident_process.delivery.http import transport as module
from incident_process.delivery.http.persistent_connection import EXCERPT_BYTES, MOST_BYTES, PersistentConnection
from incident_process.delivery.http.transport import TRACEPARENT, Answer, HttpTransport, always
from incident_process.delivery.policy import ResponseClass
from incident_process.delivery.sender import NO_RULES, Sender, SendLimits
from incident_process.pipeline.empty_payload import ask_empty, send_empty
from tests.support.authority import Authority

T = TypeVar("T")
Talk = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BODY = b'{"Account_Num":"0000000001"}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b'HTTP/1.1 422 Unprocessable\r\nContent-Length: 16\r\n\r\n{"detail":"odd"}'


class Peer:
    """A receiver that says, request by request, what it was told to say. It notes what came over which connection."""

    def __init__(self, answers: Sequence[bytes | Talk]) -> None:
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.ended = 0
        self.asked = asyncio.Event()
        self._answers = iter(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while request := await read_request(reader):
                self.requests.append((number, request))
                self.asked.set()
                answer = next(self._answers)
                if callable(answer):
                    await answer(self, reader, writer)
                else:
                    writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended += 1
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return a whole request, nothing at the end of the connection."""
    with suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return head + await reader.readexactly(length)
    return b""


@asynccontextmanager
async def receiver(
    *answers: bytes | Talk, seconds: float = 5.0, headers: dict[str, str] | None = None, path: str = "/in"
) -> AsyncIterator[tuple[HttpTransport, Peer]]:
    """Run a receiver, and a transport to it."""
    peer = Peer(answers)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    async with server:
        async with HttpTransport(url, headers or {}, seconds, None) as transport:
            yield transport, peer
        for _ in range(500):
            if peer.ended == peer.connections:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the transport has left a connection open")


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return uvloop.run(main())


def posted(*answers: bytes | Talk, times: int = 1, seconds: float = 5.0) -> tuple[list[Answer], Peer]:
    """Post so many times, one after the other, and return the answers."""

    async def main() -> tuple[list[Answer], Peer]:
        async with receiver(*answers, seconds=seconds) as (transport, peer):
            return [await transport.post(BODY, f"key-{number}") for number in range(times)], peer

    return run(main())


async def hang_up(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def then_close(said: bytes) -> Talk:
    async def talk(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    return talk


def byte_by_byte(said: bytes) -> Talk:
    async def talk(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for position in range(len(said)):
            writer.write(said[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)

    return talk


def without_end(head: bytes) -> Talk:
    async def talk(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    return talk


async def silence(_peer: Peer, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    "said",
    [
        CREATED,
        b"HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n",
        b"HTTP/1.1 201 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + CREATED,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n" + CREATED,
        b"HTTP/1.1 201 Created\nContent-Length: 2\n\n{}",
        b"HTTP/1.1 201 Created\r\nX-Long: " + b"x" * 7000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nX-Folded: one,\r\n  two,\r\n\tthree\r\nContent-Length:\r\n 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\nX-Folded:\n one\n \nTransfer-Encoding:\n chunked\n\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=[
        "length",
        "empty",
        "chunked",
        "continue",
        "early hints",
        "bare line feeds",
        "long header",
        "folded headers",
        "folded coding",
    ],
)
@pytest.mark.parametrize("slowly", [False, True])
def test_whole_answers_leave_the_connection_for_the_next_request(said: bytes, slowly: bool) -> None:
    answers, peer = posted(*[byte_by_byte(said) if slowly else said] * 3, times=3)
    assert [answer.status for answer in answers] == [201] * 3
    assert [number for number, _ in peer.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\n{}",
        then_close(b"HTTP/1.1 201 Created\r\n\r\n{"),
        then_close(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: gzip\r\n\r\nxyz"),
        then_close(CREATED),
    ],
    ids=["close", "HTTP/1.0", "to the end", "coded to the end", "closed after it"],
)
def test_an_answer_that_ends_the_connection_is_followed_by_a_new_one(said: bytes | Talk) -> None:
    answers, peer = posted(*[said] * 2, times=2)
    assert [answer.status for answer in answers] == [201] * 2
    assert [number for number, _ in peer.requests] == [1, 2]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (hang_up, "ConnectionClosedError"),
        (then_close(b"HTTP/1.1 201 Cre"), "ConnectionClosedError"),
        (then_close(b"HTTP/1.1 201 Created\r\nContent-Length: 20\r\n\r\n{}"), "ConnectionClosedError"),
        (then_close(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "ConnectionClosedError"),
        (then_close(b"HTTP/1.1 100 Continue\r\n\r\n"), "ConnectionClosedError"),
        (b"<html>not HTTP</html>", "MalformedAnswerError"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: two\r\n\r\n", "MalformedAnswerError"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "MalformedAnswerError"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "MalformedAnswerError"),
        (without_end(b"HTTP/1.1 201 Created\r\nX: "), "MalformedAnswerError"),
    ],
    ids=[
        "nothing",
        "half a status",
        "half a body",
        "half the chunks",
        "interim only",
        "no HTTP",
        "length in words",
        "two lengths",
        "upgrade",
        "endless header",
    ],
)
def test_what_is_no_whole_answer_may_have_arrived(said: bytes | Talk, error: str) -> None:
    """Nothing is sent again by itself, and the next request goes over a connection of its own."""
    answers, peer = posted(said, CREATED, times=2)
    assert [(answer.status, answer.error, answer.unsent) for answer in answers] == [
        (None, error, False),
        (201, None, False),
    ]
    assert [number for number, _ in peer.requests] == [1, 2]


@pytest.mark.parametrize("extra", [REFUSED, b"\0\0garbage", b"HTTP/1.1 5"], ids=["an answer", "garbage", "half of one"])
def test_bytes_that_nobody_asked_for_are_never_the_next_answer(extra: bytes) -> None:
    answers, peer = posted(CREATED + extra, CREATED, times=2)
    assert [answer.status for answer in answers] == [201, 201]
    assert [number for number, _ in peer.requests] == [1, 2]


def test_what_follows_an_answer_does_not_mix_with_it() -> None:
    busy = b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n"
    stray = b'HTTP/1.1 503 Down\r\nRetry-After: 3600\r\nContent-Length: 3\r\n\r\n"?"'
    answers, _ = posted(busy + stray)
    assert (answers[0].status, answers[0].retry_after, answers[0].excerpt) == (429, None, b"")


def test_an_answer_that_comes_between_two_requests_is_nobodys() -> None:
    async def late(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(REFUSED)

    async def main() -> None:
        async with receiver(late, CREATED) as (transport, peer):
            assert (await transport.post(BODY, "a")).status == 201
            await asyncio.sleep(0.3)
            assert (await transport.post(BODY, "b")).status == 201
            assert [number for number, _ in peer.requests] == [1, 2]

    run(main())


@pytest.mark.parametrize(("said", "status"), [(b"413 Too Large", 413), (b"201 Created", None)])
def test_an_answer_to_half_a_request_ends_the_connection(said: bytes, status: int | None) -> None:
    """The rest would be taken for the beginning of the next request; and nobody has taken what was not sent."""

    async def main() -> None:
        ended = asyncio.Event()

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % said)
            await writer.drain()
            await ended.wait()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            async with HttpTransport(url, {}, 5.0, None) as transport:
                answer = await transport.post(b"x" * 50_000_000, "a")
                assert (answer.status, answer.unsent) == (status, False)
                assert answer.error == (None if status else "EarlyAnswerError")
                assert not transport._idle
            ended.set()
            await asyncio.sleep(0.1)

    run(main())


@pytest.mark.parametrize(
    ("head", "status"), [(b"HTTP/1.1 201 Created\r\n\r\n", 201), (b"HTTP/1.1 500 Oh\r\n\r\n", 500)]
)
def test_of_an_endless_answer_the_status_counts(head: bytes, status: int) -> None:
    answers, _ = posted(without_end(head), seconds=30.0)
    assert (answers[0].status, answers[0].error) == (status, None)
    assert len(answers[0].excerpt) == (EXCERPT_BYTES if status == 500 else 0) < MOST_BYTES


def test_what_a_refusal_says_is_kept() -> None:
    said = (
        b"HTTP/1.1 503 Busy\r\nRETRY-AFTER: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfar\r\n4\r\n off\r\n0\r\n\r\n"
    )
    odd = b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n"
    answers, peer = posted(said, odd, CREATED, times=3)
    assert (answers[0].status, answers[0].retry_after, answers[0].excerpt) == (503, "7", b"far off")
    assert answers[1].status == 429
    assert (answers[2].status, answers[2].retry_after, answers[2].excerpt) == (201, None, b"")
    assert [number for number, _ in peer.requests] == [1, 1, 1]


def test_a_pause_that_is_asked_for_in_a_folded_header_is_read() -> None:
    (answer,), _ = posted(b"HTTP/1.1 429 Too Many\r\nRetry-After:\r\n\t7\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.retry_after) == (429, "7")


def test_an_answer_that_does_not_come_in_time() -> None:
    answers, peer = posted(silence, CREATED, times=2, seconds=0.3)
    assert [(answer.status, answer.error, answer.unsent) for answer in answers] == [
        (None, "TimeoutError", False),
        (201, None, False),
    ]
    assert answers[0].seconds >= 0.25
    assert [number for number, _ in peer.requests] == [1, 2]


def test_a_receiver_that_cannot_be_reached_was_sent_nothing() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        for url in (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/", f"http://{'x' * 64}.invalid/"):
            async with HttpTransport(url, {}, 5.0, None) as transport:
                answer = await transport.post(BODY, "a")
                assert (answer.status, answer.unsent) == (None, True)
                assert answer.error

    run(main())


def test_a_receiver_that_speaks_no_tls_was_sent_nothing() -> None:
    async def main() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.read(65_536))
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        seen: list[bytes] = []
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, HttpTransport(url, {}, 5.0, None) as transport:
            answer = await transport.post(BODY, "a")
        assert (answer.status, answer.unsent) == (None, True)
        assert BODY not in b"".join(seen)

    run(main())


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"])
def test_a_connection_that_ends_or_speaks_before_it_is_asked_was_sent_nothing(greeting: bytes) -> None:
    async def main() -> None:
        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, HttpTransport(url, {}, 5.0, None) as transport:
            connect = transport._loop.create_connection

            async def slowly(*args: Any, **options: Any) -> Any:
                made = await connect(*args, **options)
                await asyncio.sleep(0.1)  # what the receiver does at once is known by now
                return made

            transport._loop = cast("asyncio.AbstractEventLoop", Loop(transport._loop, create_connection=slowly))
            answer = await transport.post(BODY, "a")
        assert (answer.status, answer.error, answer.unsent) == (None, "ConnectionResetError", True)

    run(main())


class Loop:
    """The event loop, but for what is replaced: uvloop's own takes no other methods."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **replaced: Any) -> None:
        self._loop = loop
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def test_an_address_that_swallows_everything_leaves_the_next_its_time() -> None:
    """As IPv6 does where no way leads out."""

    async def main() -> None:
        async with receiver(CREATED, seconds=2.0) as (transport, peer):
            port = transport._address.port
            with socket.socket() as hole, ExitStack() as waiting:
                hole.bind(("127.0.0.2", port))
                hole.listen(0)
                for _ in range(3):  # whoever comes now is neither taken nor turned away
                    full = waiting.enter_context(socket.socket())
                    full.setblocking(False)
                    full.connect_ex(("127.0.0.2", port))

                async def two(_host: str, port: int, **_: object) -> list[Any]:
                    return [
                        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (to, port)) for to in ("127.0.0.2", "127.0.0.1")
                    ]

                transport._loop = cast("asyncio.AbstractEventLoop", Loop(transport._loop, getaddrinfo=two))
                assert (await transport.post(BODY, "a")).status == 201
            assert peer.connections == 1

    run(main())


def test_a_lease_that_is_lost_while_connecting_leaves_the_body_unsent() -> None:
    async def main() -> None:
        async with receiver(CREATED) as (transport, peer):
            answer = await transport.post(BODY, "a", lambda: False)
            assert (answer.status, answer.unsent) == (None, True)
            assert not peer.requests
            assert (await transport.post(BODY, "b")).status == 201
            assert (peer.connections, len(peer.requests)) == (1, 1)

    run(main())


def test_a_connection_that_is_over_is_gone_without_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called rarely while a run sends, and a connection holds what TLS needs."""
    made: list[weakref.ref[PersistentConnection]] = []

    class Noted(PersistentConnection):
        def __init__(self, loop: asyncio.AbstractEventLoop, read_from: int) -> None:
            super().__init__(loop, read_from)
            made.append(weakref.ref(self))

    monkeypatch.setattr(module, "PersistentConnection", Noted)
    gc.disable()
    try:
        posted(*[b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"] * 5, times=5)
        assert [one() for one in made] == [None] * 5
    finally:
        gc.enable()


def test_over_tls_connections_are_kept_too_and_their_end_is_noticed(tmp_path: Path) -> None:
    """What TLS itself says between two requests, such as tickets, is no reason to give a connection up."""
    ours = Authority("ours")
    context = ours.server(tmp_path, "127.0.0.1")
    peer = Peer([CREATED, CREATED, then_close(CREATED), CREATED, hang_up])

    async def main() -> None:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            async with HttpTransport(url, {}, 5.0, ours.write(tmp_path / "ca.pem")) as transport:
                for number in range(4):
                    assert (await transport.post(BODY, f"{number}")).status == 201
                    await asyncio.sleep(0.1)
                lost = await transport.post(BODY, "lost")
                assert (lost.status, lost.error, lost.unsent) == (None, "ConnectionClosedError", False)
            async with HttpTransport(url, {}, 5.0, None) as transport:
                stranger = await transport.post(BODY, "stranger")
                assert (stranger.status, stranger.error, stranger.unsent) == (None, "SSLCertVerificationError", True)

    run(main())
    assert [number for number, _ in peer.requests] == [1, 1, 1, 2, 2]


def test_an_authority_named_in_ca_file_needs_no_extensions_under_any_python(tmp_path: Path) -> None:
    """Python 3.13 refuses certificates without them by default: an upgrade would have stopped all deliveries."""
    ours = Authority("a company's own", bare=True)
    context = ours.server(tmp_path, "127.0.0.1")
    peer = Peer([CREATED])

    async def main() -> None:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, HttpTransport(url, {}, 5.0, ours.write(tmp_path / "ca.pem")) as transport:
            assert (await transport.post(BODY, "a")).status == 201

    run(main())


def test_a_connection_that_lay_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with receiver(CREATED, CREATED, CREATED) as (transport, peer):
            await transport.post(BODY, "a")
            await transport.post(BODY, "b")
            monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
            await asyncio.sleep(0.2)
            await transport.post(BODY, "c")
            assert [number for number, _ in peer.requests] == [1, 1, 2]

    run(main())


def test_requests_at_once_have_a_connection_each_and_share_them_afterwards() -> None:
    async def main() -> None:
        async with receiver(*[CREATED] * 40) as (transport, peer):
            for _ in range(4):
                answers = await asyncio.gather(*(transport.post(BODY, f"{number}") for number in range(10)))
                assert [answer.status for answer in answers] == [201] * 10
            assert peer.connections == 10

    run(main())


async def post_at_once(transport: HttpTransport, number: int) -> list[Answer]:
    return await asyncio.gather(*(transport.post(BODY, f"{one}") for one in range(number)))


@pytest.mark.parametrize(("patience", "at_once"), [(30.0, 4), (0.01, 20)])
def test_few_connections_are_opened_before_the_receiver_has_answered_over_one(
    monkeypatch: pytest.MonkeyPatch, patience: float, at_once: int
) -> None:
    """Its queue may be short. A long way to it, or a slow receiver, holds them up for a moment only."""
    monkeypatch.setattr(connect_limiter, "PATIENCE_SECONDS", patience)

    async def main() -> None:
        may_answer = asyncio.Event()

        async def wait(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_answer.wait()
            writer.write(CREATED)

        async with receiver(*[wait] * 40, seconds=20.0) as (transport, peer):
            posting = asyncio.create_task(post_at_once(transport, 20))
            async with asyncio.timeout(10.0):
                while len(peer.requests) < at_once:  # noqa: ASYNC110  # the peer has no event for it
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert peer.connections == at_once
            may_answer.set()
            assert {answer.status for answer in await posting} == {201}
            free = transport._opening._free
            assert free._value >= connect_limiter.AT_ONCE
            assert not free._waiters

    run(main())


@pytest.mark.parametrize("how", ["hung up on", "refused", "cancelled", "without the lease"])
def test_a_connection_without_an_answer_lets_the_next_one_be_opened(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(connect_limiter, "PATIENCE_SECONDS", 30.0)

    async def main() -> None:
        said = {"hung up on": hang_up, "cancelled": silence}.get(how, CREATED)
        async with receiver(*[said] * 20) as (transport, peer):
            if how == "refused":
                transport._address = msgspec.structs.replace(transport._address, port=1)
            may_send = (lambda: False) if how == "without the lease" else always
            posts = [asyncio.create_task(transport.post(BODY, f"{one}", may_send, fresh=True)) for one in range(20)]
            if how == "cancelled":
                await peer.asked.wait()
                for post in posts:
                    post.cancel()
            async with asyncio.timeout(5.0):
                await asyncio.gather(*posts, return_exceptions=True)
            free = transport._opening._free
            assert (free._value, len(free._waiters or ())) == (connect_limiter.AT_ONCE, 0)

    run(main())


def test_a_fresh_connection_takes_the_place_of_the_one_that_lay_idle_longest() -> None:
    async def main() -> None:
        async with receiver(*[CREATED] * 40) as (transport, peer):
            for _ in range(2):
                await asyncio.gather(*(transport.post(BODY, f"{number}") for number in range(4)))
            for number in range(8):
                assert (await transport.post(BODY, f"{number}", fresh=True)).status == 201
                assert len(transport._idle) == 4
            assert [number for number, _ in peer.requests[-8:]] == list(range(5, 13))

    run(main())


def test_a_receiver_that_closes_its_connections_without_a_word_gets_everything() -> None:
    """It does so soon after each answer, so whoever uses a kept connection is likely to meet the end."""

    async def soon(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        await asyncio.sleep(0.03)
        writer.close()

    incidents = [
        Incident(incident_id=number, account=f"{number}", digest="d", key=f"{number}", body=BODY)
        for number in range(100)
    ]

    async def main() -> None:
        async with receiver(*[soon] * 500) as (transport, _):
            limits = SendLimits(max_connections=8, max_attempts=2)
            async with Sender(transport, limits, lambda: True) as sender:
                results = await sender.deliver(incidents, resumed=False)
            assert {result.verdict for result in results} == {ResponseClass.DELIVERED}
            assert any(result.attempts == 2 for result in results)

    run(main())


def test_a_receiver_that_limits_the_rate_by_closing_connections_gets_everything() -> None:
    """As nginx does with ``limit_req_status 444``: what is too much has no answer at all."""
    taken: list[float] = []

    async def limited(_peer: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time()
        if len(taken) >= 5 and now - taken[-5] < 0.1:
            writer.transport.abort()
        else:
            taken.append(now)
            writer.write(CREATED)

    incidents = [
        Incident(incident_id=number, account=f"{number}", digest="d", key=f"{number}", body=BODY)
        for number in range(120)
    ]

    async def main() -> None:
        async with receiver(*[limited] * 5000) as (transport, peer):
            async with Sender(transport, SendLimits(), lambda: True) as sender:
                results = await sender.deliver(incidents, resumed=False)
            assert [result.verdict for result in results] == [ResponseClass.DELIVERED] * 120
            assert len(peer.requests) < 240, "it is sent about as much as it takes"

    run(main())


def test_who_waits_no_longer_leaves_no_connection_behind() -> None:
    async def main() -> None:
        async with receiver(silence, CREATED) as (transport, peer):
            waiting = asyncio.create_task(transport.post(BODY, "a"))
            await peer.asked.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await transport.post(BODY, "b")).status == 201
            assert [number for number, _ in peer.requests] == [1, 2]

    run(main())


def test_the_request_as_it_is_sent() -> None:
    async def main() -> list[bytes]:
        headers = {"X-Client": "ours", "User-Agent": "us"}
        async with receiver(CREATED, CREATED, headers=headers, path="/a b/ü?q=1 2&r=%20#") as (transport, peer):
            TRACEPARENT.set("00-1-2-01")
            await transport.post(BODY, "key-1")
            TRACEPARENT.set(None)
            await transport.post(b"{}", None)
            port = transport._address.port
            return [request.replace(b"%d" % port, b"PORT") for _, request in peer.requests]

    first, second = run(main())
    assert first == (
        b"POST /a%20b/%C3%BC?q=1%202&r=%20 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Type: application/json\r\n"
        b"Accept: application/json\r\nX-Client: ours\r\nUser-Agent: us\r\nContent-Length: 28\r\n"
        b"Idempotency-Key: key-1\r\ntraceparent: 00-1-2-01\r\n\r\n" + BODY
    )
    assert second.endswith(b"User-Agent: us\r\nContent-Length: 2\r\n\r\n{}")


def test_a_certificate_file_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    for ca in (file, tmp_path / "absent.pem"):
        with pytest.raises(APIConfigError, match=r"ca_file .* cannot be used as a PEM certificate"):
            run(HttpTransport("http://127.0.0.1:1/", {}, 5.0, ca).__aenter__())


@pytest.mark.parametrize("url", ["ftp://here/", "http:///path", "http://here:0/", "http://here:x/"])
def test_an_address_that_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(APIConfigError, match="no address that can be posted to"):
        run(HttpTransport(url, {}, 5.0, None).__aenter__())


@pytest.mark.parametrize("lost_at", [0, 1], ids=["before", "while it connects"])
def test_without_the_lease_no_empty_payload_is_posted_either(lost_at: int) -> None:
    async def main() -> tuple[Peer, ResponseClass]:
        async with receiver(CREATED) as (transport, peer):
            asked = iter([True] * lost_at + [False] * 2)
            await send_empty(transport, "the receiver", NO_RULES, NOBODY, lambda: next(asked))
            verdict, _ = await ask_empty(
                transport, NO_RULES, NOBODY, lambda: False, lambda answer, _: answer.error or ""
            )
            return peer, verdict

    peer, verdict = run(main())
    assert (peer.requests, verdict) == ([], ResponseClass.RETRY)
