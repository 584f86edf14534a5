"""The empty payload: what is posted when there was nothing to post (SPEC 5)."""

import logging
from collections.abc import Callable

from incident_process.core import logs
from incident_process.delivery.http.transport import Answer, Transport
from incident_process.delivery.policy import ResponseClass, classify_response
from incident_process.delivery.response_rules import ResponseRules

log = logs.get_logger()
EMPTY = b"{}"


async def send_empty(transport: Transport, url: str, rules: ResponseRules) -> None:
    """POST ``{}`` to say that there was no new data; its failure is a warning only."""
    log.debug(logs.payload_message(EMPTY.decode()), extra=logs.event("payload"))
    log.info(logs.sending_message(url), extra=logs.event("sending"))
    answer = await transport.post(EMPTY, None)
    if _verdict(answer, rules) is ResponseClass.DELIVERED:
        log.info(logs.SENT, extra=logs.event("sent"))
    else:
        log.warning(
            "The empty payload was not accepted: %s.",
            answer.error or f"HTTP {answer.status}",
            extra=logs.event("empty_payload_rejected", http_status=answer.status),
        )


async def ask_empty(
    transport: Transport, rules: ResponseRules, reason_of: Callable[[Answer, bytes], str]
) -> tuple[ResponseClass, str]:
    """Find out with an empty payload whether the service is at work; return what its answer means, and its words."""
    answer = await transport.post(EMPTY, None)
    log.log(
        logging.DEBUG,
        "Asked whether the service takes requests: %s.",
        answer.error or f"HTTP {answer.status}",
        extra=logs.event("receiver_asked", http_status=answer.status),
    )
    return _verdict(answer, rules), reason_of(answer, EMPTY)


def _verdict(answer: Answer, rules: ResponseRules) -> ResponseClass:
    rule = rules.fitting(answer.status, answer.excerpt)
    return classify_response(answer.status, may_have_arrived=False) if rule is None else rule.verdict
