"""What an answer means, when to retry, and whether what failed stays pending or is dead (SPEC 5). Pure functions."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from incident_process.core.models import DeliveryStatus, Record

FIRST_DELAY_SECONDS = 0.2  # before the first retry, at most
LONGEST_DELAY_SECONDS = 15.0  # before any retry
RETRYABLE = frozenset({408, 425})  # 4xx after which the same request may succeed
GATEWAY = frozenset({502, 503, 504})
"""A gateway's statuses for a service that it cannot reach: any record may meet them."""
SUSPECT = frozenset({401, 402, 403, 404, 405, 406, 407, 411, 413, 421, 426, 431, 451})
"""4xx that concern the credentials, the address or the network path rather than one record."""


class ResponseClass(StrEnum):
    """What one answer says about one incident."""

    DELIVERED = "delivered"  # the receiver has it
    RETRY = "retry"  # it may or may not have it: retry
    THROTTLED = "throttled"  # it takes no more for now: slow down for all, and count nothing against the record
    DEAD = "dead"  # a rule of the configuration says that it rejected this body for good
    REFUSED = "refused"  # it rejected this body for good, unless it rejects whatever it receives
    SUSPECT = "suspect"  # the same, for a reason that concerns the sender or the network rather than the record
    ID_IN_USE = "taken"  # it has another body under this Incident_Id; metrics and traces say "taken"


def classify_response(status: int | None, *, may_have_arrived: bool, others_taken: bool = False) -> ResponseClass:
    """Return what an HTTP status says; None stands for a request without an answer.

    ``may_have_arrived``: an earlier attempt of this very body may have reached the receiver (a retry, or a run that
    resumes). Only then does 409 mean delivered; on a first attempt another incident has the id. No redirect is
    followed: credentials and personal data go to the configured address or nowhere.

    ``others_taken``: the receiver takes other requests now, so 503 is no outage but limits the rate, as 429 does.
    """
    if status == 429 or (status == 503 and others_taken):
        return ResponseClass.THROTTLED
    if status is None or status in RETRYABLE or status >= 500 or 300 <= status < 400:
        return ResponseClass.RETRY
    if 200 <= status < 300:
        return ResponseClass.DELIVERED
    if status == 409:
        return ResponseClass.DELIVERED if may_have_arrived else ResponseClass.ID_IN_USE
    if status in SUSPECT:
        return ResponseClass.SUSPECT
    return ResponseClass.REFUSED if 400 <= status < 500 else ResponseClass.RETRY


def backoff(attempt: int, chance: float) -> float:
    """Return the seconds to wait after the ``attempt``-th failure in a row, with ``chance`` in [0, 1) as the jitter.

    It doubles from 0.2 s to 15 s; half of it is random, so that many senders do not come back at once.
    """
    full = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 16))
    return full * (0.5 + 0.5 * chance)


def retry_after(header: str | None, now: datetime, cap_seconds: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most ``cap_seconds``; None when it asks for nothing.

    The header holds seconds or an HTTP date (RFC 9110, 10.2.3). An unreadable value is ignored, and so is a past date:
    to a fast clock every date is past, and retrying at once would use up the attempts.
    """
    if header is None:
        return None
    written = header.strip()
    if written.isascii() and written.isdigit():
        return float(min(int(written[:12]), cap_seconds))
    try:
        when = parsedate_to_datetime(written)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = (when - now).total_seconds()
    return min(seconds, cap_seconds) if seconds > 0 else None


class Failure(Record, frozen=True, kw_only=True):
    """What a run knows of an incident that it could not deliver.

    ``verdict`` is that of the last attempt, ``status`` its answer. ``runs``: earlier runs that count against it.
    ``alone``: the receiver rejected it while it took others; for RETRY it took one that was sent between two of its
    failures, for a refusal one that was sent after it. ``known``: an earlier run has seen that, and the receiver's
    words are the same now, or it says these words of others that it rejects alone.
    """

    verdict: ResponseClass
    status: int | None
    runs: int = 0
    alone: bool = False
    known: bool = False


class Evidence(Record, frozen=True, kw_only=True):
    """What a run has shown of the service as a whole.

    ``taken``: it took an incident. ``many``: so many accounts failed without further evidence that the service may be
    the cause. ``only``: just one incident has no outcome. ``all_known``: of all of them it is ``known`` that the
    receiver rejects them. ``asked``: the answer to ``{}`` at the end of the run, None where it was not sent;
    ``same_words``: that answer had the same words as those to the incidents.
    """

    taken: bool = False
    many: bool = False
    only: bool = False
    all_known: bool = False
    asked: ResponseClass | None = None
    same_words: bool = False

    @property
    def answers(self) -> bool:
        """True when the service, asked with ``{}``, neither failed nor rejects every sender."""
        if self.same_words and self.asked is not ResponseClass.DELIVERED:
            return False
        return self.asked not in {None, ResponseClass.RETRY, ResponseClass.SUSPECT, ResponseClass.THROTTLED}


class DeadLetterDecision(Record, frozen=True, kw_only=True):
    """What becomes of an incident that has used up its attempts of this run."""

    status: DeliveryStatus
    runs: int


def dead_letter_decision(failure: Failure, evidence: Evidence, *, max_runs: int) -> DeadLetterDecision:
    """Tell a failing service from an incident that the receiver rejects (SPEC 5; docs/decisions/0025-outcomes.md).

    Without evidence that the service takes others, an incident stays pending, however often runs try it.
    """
    if failure.verdict is ResponseClass.RETRY:
        return _decide_failing(failure, evidence, max_runs)
    return _decide_refused(failure, evidence, max_runs)


def _decide_failing(failure: Failure, evidence: Evidence, max_runs: int) -> DeadLetterDecision:
    if failure.status in {429, 503}:  # a limit of the rate, or an outage: never the record's
        return DeadLetterDecision(status=DeliveryStatus.PENDING, runs=failure.runs)
    if failure.alone or (failure.known and evidence.taken):
        return _count_run(failure.runs, max_runs)
    if evidence.taken:
        if max_runs == 1 and not evidence.many:
            return _count_run(failure.runs, max_runs)
        return _count_run_in_doubt(failure.runs, max_runs)
    if evidence.answers and (evidence.only or (failure.known and evidence.all_known)):
        return _count_run(failure.runs, max_runs)
    return DeadLetterDecision(status=DeliveryStatus.PENDING, runs=failure.runs)


def _decide_refused(failure: Failure, evidence: Evidence, max_runs: int) -> DeadLetterDecision:
    dead = DeadLetterDecision(status=DeliveryStatus.DEAD, runs=failure.runs)
    if failure.alone:
        return dead
    is_suspect = failure.verdict is ResponseClass.SUSPECT
    if evidence.taken:
        if not evidence.many and (evidence.answers or (evidence.asked is None and not is_suspect)):
            return dead
        return _count_run_in_doubt(failure.runs, max_runs)
    if evidence.answers and not evidence.many and (evidence.only or not is_suspect):
        return dead
    return DeadLetterDecision(status=DeliveryStatus.PENDING, runs=failure.runs)


def _count_run(runs: int, max_runs: int) -> DeadLetterDecision:
    """Count the run against the record, which may make it dead."""
    runs += 1
    return DeadLetterDecision(status=DeliveryStatus.DEAD if runs >= max_runs else DeliveryStatus.PENDING, runs=runs)


def _count_run_in_doubt(runs: int, max_runs: int) -> DeadLetterDecision:
    """Count the run, but never as the last: the service took others, but an outage after them would look the same."""
    return DeadLetterDecision(status=DeliveryStatus.PENDING, runs=max(runs, min(runs + 1, max_runs - 1)))
