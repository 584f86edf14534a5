"""The empty payload: what is posted when there was nothing to post (SPEC 5)."""

import logging
from collections.abc import Callable

from incident_process.core import logs
from incident_process.core.events import Attempted, Events
from incident_process.delivery.http.transport import Answer, MaySend, Transport
from incident_process.delivery.policy import ResponseClass, classify_response
from incident_process.delivery.response_rules import ResponseRules

log = logs.get_logger()
EMPTY = b"{}"
NOT_SENT = Answer(status=None, seconds=0.0, error="NotAllowed", unsent=True)


async def send_empty(transport: Transport, url: str, rules: ResponseRules, events: Events, may_send: MaySend) -> None:
    """POST ``{}`` to say that there was no new data; its failure is a warning only. Nothing without the lease."""
    if not may_send():
        return
    log.debug(logs.payload_message(EMPTY.decode()), extra=logs.event("payload"))
    log.info(logs.sending_message(url), extra=logs.event("sending"))
    answer, verdict = await _post(transport, rules, events, may_send)
    if verdict is ResponseClass.DELIVERED:
        log.info(logs.SENT, extra=logs.event("sent"))
    elif may_send():
        # Most receivers refuse a body without an account: every quiet run would warn of that.
        is_refused = answer.status is not None and 400 <= answer.status < 500
        log.log(
            logging.INFO if is_refused else logging.WARNING,
            "The empty payload was not accepted: %s.",
            answer.error or f"HTTP {answer.status}",
            extra=logs.event("empty_payload_rejected", http_status=answer.status),
        )


async def ask_empty(
    transport: Transport,
    rules: ResponseRules,
    events: Events,
    may_send: MaySend,
    reason_of: Callable[[Answer, bytes], str],
) -> tuple[ResponseClass, str]:
    """Find out with an empty payload whether the service is at work; return what its answer means, and its words."""
    answer, verdict = await _post(transport, rules, events, may_send)
    log.debug(
        "Asked whether the service takes requests: %s.",
        answer.error or f"HTTP {answer.status}",
        extra=logs.event("receiver_asked", http_status=answer.status),
    )
    return verdict, reason_of(answer, EMPTY)


async def _post(
    transport: Transport, rules: ResponseRules, events: Events, may_send: MaySend
) -> tuple[Answer, ResponseClass]:
    answer = await transport.post(EMPTY, None, may_send) if may_send() else NOT_SENT
    rule = rules.fitting(answer.status, answer.excerpt)
    verdict = classify_response(answer.status, may_have_arrived=False) if rule is None else rule.verdict
    events.emit(Attempted, None, answer.status, answer.error, answer.seconds, verdict.value)
    return answer, verdict
