"""The receiver's HTTP behaviour, as a plain ASGI application.

| request | answer |
|---|---|
| POST INCIDENT_PATH | 201 accepted · 409 known Incident_Id · 422 breaks the contract · 413 too large · or a fault |
| GET /healthz | 200 |
| GET, POST, DELETE /_control | 200 with the faults in force; POST changes those it names, DELETE ends them all |

The receiver never logs or sends back any part of a body.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.sandbox.receiver import INCIDENT_PATH
from incident_process.sandbox.receiver.body import MAX_BODY_BYTES, Examiner
from incident_process.sandbox.receiver.capacity import RateLimit, Workers
from incident_process.sandbox.receiver.faults import Dice, Fault, Faults
from incident_process.sandbox.receiver.request_log import LoggedRequest, RequestLog

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Cut = Callable[[], None]

Headers = tuple[tuple[bytes, bytes], ...]

CUT = "cut"  # key in scope["state"] of the server's function that cuts the connection

_logger = logging.getLogger("incident_process.sandbox.receiver")
_encode = msgspec.json.Encoder().encode
_HTML = ((b"content-type", b"text/html"),)
_SAID = {
    Fault.RATE: "too many requests",
    Fault.BUSY: "no place in the queue",
    Fault.PROXY: "a proxy before the receiver",
}
LIMITS = frozenset({"rate_limit", "rate_kind", "rate_burst", "workers", "work_ms", "queue"})
"""Faults that start to count when they are set."""


class ReceiverAnswer(msgspec.Struct, frozen=True):
    """A status with its JSON content."""

    status: int
    content: dict[str, Any]
    headers: Headers = ()


class ReceiverApp:
    """Answers requests: ``log`` stores them, ``dice`` chooses the faults."""

    def __init__(self, log: RequestLog, dice: Dice) -> None:
        self._log = log
        self._dice = dice
        self._examiner = Examiner()
        self._limit_by(dice.faults)
        if dice.faults.honour_keys:
            log.index_keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or cut its connection; a fault of the receiver's own is answered 500."""
        try:
            if scope["path"] == INCIDENT_PATH:
                answer = await self._incident(scope, receive)
            else:
                answer = await self._other(scope, receive)
        except asyncio.CancelledError:  # the server stops
            answer = None
        except Exception as exc:  # whatever it is, the client gets an answer and the log no body
            _logger.error("a request failed: %s", type(exc).__name__)
            answer = ReceiverAnswer(500, {"detail": "internal fault of the receiver"})
        if answer is None:
            cut: Cut = scope["state"][CUT]
            cut()
        else:
            await _send(send, answer)

    async def _incident(self, scope: Scope, receive: Receive) -> ReceiverAnswer | None:
        """Return the answer to one incident, or None to cut the connection."""
        if scope["method"] != "POST":
            return _not_allowed("POST")
        body = await _read(receive)
        if body is None:
            return None  # the client closed before it had sent everything: that is no request yet
        stopped = await self._stopped(scope, body)
        if stopped is not None:
            return stopped
        async with self._workers.at_work():
            return await self._worked_on(scope, receive, body)

    async def _stopped(self, scope: Scope, body: bytes) -> ReceiverAnswer | None:
        """Return the answer of a proxy or a limit before the receiver's own work; None: the request goes on."""
        faults = self._dice.faults
        status, fault = faults.proxy_status, Fault.PROXY
        headers: Headers = _HTML
        if status is None and faults.proxy_body_bytes is not None and len(body) > faults.proxy_body_bytes:
            status = 413
        if status is None and not self._rate.takes(time.time()):
            status, fault, headers = faults.rate_status, Fault.RATE, _retry_after(faults.rate_retry_after)
        if status is None and self._workers.full:
            status, fault, headers = 503, Fault.BUSY, ()
        if status is None:
            return None
        examined = self._examiner.examine(body)
        entry = LoggedRequest(incident_id=examined.incident_id, account=examined.account, key=_key(scope), fault=fault)
        entry.status = status
        await self._log.record(entry)
        return ReceiverAnswer(status, {"detail": _SAID[fault]}, headers)

    async def _worked_on(self, scope: Scope, receive: Receive, body: bytes) -> ReceiverAnswer | None:
        examined = self._examiner.examine(body)
        fault = self._dice.roll(examined.account)
        entry = LoggedRequest(incident_id=examined.incident_id, account=examined.account, key=_key(scope), fault=fault)
        entry.silent = fault in {Fault.REJECT_BEFORE, Fault.DROP, Fault.STALL}
        entry.honour_key = self._dice.faults.honour_keys
        if fault in {Fault.FAIL, Fault.FAIL_ACCOUNT, Fault.REFUSE}:
            entry.status = self._dice.status(fault, examined.account)
        elif examined.problem is not None:
            entry.status = 413 if len(body) > MAX_BODY_BYTES else 422
        elif fault is not Fault.REJECT_BEFORE:
            entry.body = body
        verdict = await self._log.record(entry)
        answer = self._answer(verdict.status, verdict.incident_id, examined.problem, fault)
        if delay := self._dice.delay():
            await asyncio.sleep(delay)
        if fault is Fault.STALL:
            await _gone(receive)
        return None if entry.silent else answer

    def _answer(self, status: int, incident_id: int | None, problem: str | None, fault: Fault | None) -> ReceiverAnswer:
        faults = self._dice.faults
        if fault in {Fault.FAIL, Fault.FAIL_ACCOUNT}:
            return ReceiverAnswer(status, {"detail": "failing on purpose"}, _retry_after(faults.retry_after))
        if fault is Fault.REFUSE:
            said = {"success": False, "message": faults.refuse_text} if status < 300 else {"detail": faults.refuse_text}
            return ReceiverAnswer(status, said)
        if status == 201:
            return ReceiverAnswer(status, {"Incident_Id": incident_id, "message": "Incident created successfully"})
        if status == 409:
            return ReceiverAnswer(status, {"detail": f"Incident_Id {incident_id} is known already"})
        return ReceiverAnswer(status, {"detail": problem})

    def _limit_by(self, faults: Faults) -> None:
        """Apply the limits of these faults from now on, and forget earlier counts."""
        self._rate = RateLimit(faults)
        self._workers = Workers(faults)

    async def _other(self, scope: Scope, receive: Receive) -> ReceiverAnswer | None:
        path, method = scope["path"], scope["method"]
        if path == "/healthz":
            return ReceiverAnswer(200, {"status": "ok"}) if method == "GET" else _not_allowed("GET")
        if path != "/_control":
            return ReceiverAnswer(404, {"detail": f"there is nothing here; incidents go to {INCIDENT_PATH}"})
        if not _from_loopback(scope) or _from_page(scope):
            return ReceiverAnswer(403, {"detail": "faults are set from this machine only, and by no web page"})
        if method == "POST":
            return await self._control(receive)
        if method == "DELETE":
            self._limit_by(self._dice.reset())
        elif method != "GET":
            return _not_allowed("GET, POST, DELETE")
        return ReceiverAnswer(200, msgspec.to_builtins(self._dice.faults))

    async def _control(self, receive: Receive) -> ReceiverAnswer | None:
        body = await _read(receive)
        if body is None:
            return None
        try:
            changes = msgspec.json.decode(body, type=dict[str, Any])
            faults = self._dice.change(changes)
        except (ConfigurationError, ValueError) as exc:  # ValueError: no JSON object
            return ReceiverAnswer(422, {"detail": str(exc)})
        if faults.honour_keys:
            self._log.index_keys()
        if LIMITS & changes.keys():
            self._limit_by(faults)
        return ReceiverAnswer(200, msgspec.to_builtins(faults))


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, None when the client closed the connection.

    The rest beyond the limit is read and dropped: an answer before the client has sent everything would be lost with
    the connection's reset. The result is then longer than MAX_BODY_BYTES.
    """
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        whole: bytes = message["body"]  # the common case: no copy
        return whole
    body = bytearray()
    while message["type"] == "http.request":
        if len(body) <= MAX_BODY_BYTES:
            body += message["body"]
        if not message["more_body"]:
            return bytes(body)
        message = await receive()
    return None


async def _gone(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, answer: ReceiverAnswer) -> None:
    content = _encode(answer.content)
    if _HTML[0] in answer.headers:
        content = b"<html><head><title>%d</title></head><body>%d</body></html>" % (answer.status, answer.status)
    else:
        answer = ReceiverAnswer(
            answer.status, answer.content, ((b"content-type", b"application/json"), *answer.headers)
        )
    headers = [(b"content-length", b"%d" % len(content)), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _retry_after(value: str | None) -> Headers:
    return () if value is None else ((b"retry-after", value.encode()),)


def _key(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            text: str = value.decode("latin-1")
            return text or None
    return None


def _not_allowed(methods: str) -> ReceiverAnswer:
    return ReceiverAnswer(405, {"detail": f"allowed here: {methods}"}, ((b"allow", methods.encode()),))


def _from_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback


def _from_page(scope: Scope) -> bool:
    """Return whether a web page sent this, of any site; a page cannot leave these headers out."""
    return any(name in {b"origin", b"sec-fetch-site"} for name, _ in scope["headers"])
