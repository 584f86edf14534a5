"""What an answer means, and when to try again (SPEC 5). Pure functions."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from incident_process.records import DeliveryStatus, Record

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 15.0
RETRYABLE = frozenset({408, 425})
SUSPECT = frozenset({401, 402, 403, 404, 405, 406, 407, 421, 426, 431, 451})
"""4xx that speak of the credentials or the address rather than of one record."""


class Verdict(StrEnum):
    """What one answer says of one incident."""

    DELIVERED = "delivered"  # the receiver has it
    RETRY = "retry"  # it may or may not have it: try again
    THROTTLED = "throttled"  # the receiver takes no more for now: slow down for all, nothing is held against the record
    DEAD = "dead"  # it turned this body away for good
    SUSPECT = "suspect"  # it turned this body away for a reason that may hold for every body
    TAKEN = "taken"  # it has another body under this Incident_Id


def judge(status: int | None, *, may_have_arrived: bool, others_taken: bool = False) -> Verdict:
    """Return what an HTTP status says; None stands for a request without an answer.

    ``may_have_arrived``: an earlier attempt of this very body may have reached the receiver (a retry, or a run that
    resumes). Only then does 409 say that it was delivered; on a first attempt somebody else used the id. A redirect
    is not followed: credentials and personal data go to the configured address or nowhere.

    ``others_taken``: the receiver takes others just now, so 503 is a limit of the rate as 429 always is, and no outage.
    """
    if status == 429 or (status == 503 and others_taken):
        return Verdict.THROTTLED
    if status is None or status in RETRYABLE or status >= 500 or 300 <= status < 400:
        return Verdict.RETRY
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 409:
        return Verdict.DELIVERED if may_have_arrived else Verdict.TAKEN
    if status in SUSPECT:
        return Verdict.SUSPECT
    return Verdict.DEAD if 400 <= status < 500 else Verdict.RETRY


def backoff(attempt: int, chance: float) -> float:
    """Return the seconds to wait after the ``attempt``-th failure in a row, with ``chance`` in [0, 1) as the jitter.

    Doubles from 0.2 s to 15 s; half of it is fixed and half is chance, so that many senders do not come back at once.
    """
    full = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 16))
    return full * (0.5 + 0.5 * chance)


def retry_after(header: str | None, now: datetime, cap_seconds: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most ``cap_seconds``; None when it asks for nothing.

    Read in seconds or as an HTTP date (RFC 9110, 10.2.3). What cannot be read is ignored, and so is a date that has
    passed: to a clock that is fast every date has, and to try again at once would use up the attempts.
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


class Evidence(StrEnum):
    """What a run has shown of the service as a whole."""

    NONE = "none"  # it took nothing
    EMPTY = "empty"  # it took {} and nothing else, while several incidents failed
    OTHERS = "others"  # it took another incident
    ASKED = "asked"  # when it was asked with {} at the end, it neither failed nor turned away whoever asks


class Fate(Record, frozen=True, kw_only=True):
    """What becomes of an incident whose attempts of this run are used up."""

    status: DeliveryStatus
    runs: int


def fate_of_exhausted(runs_before: int, evidence: Evidence, *, max_runs: int, suspect: bool = False) -> Fate:
    """Decide between a failing service and a poisonous record (SPEC 5).

    A run counts against the record only when the service took something else in that run; a record against which
    ``max_runs`` runs count is dead, and a suspect at once where the service turns away nobody else. Without such
    evidence it stays pending as it was, however often it is tried.

    That the service takes ``{}`` shows little while incidents fail alike: it counts only against a record that failed
    in an earlier run in which others were taken.
    """
    if evidence is Evidence.NONE or (evidence is Evidence.EMPTY and not runs_before):
        return Fate(status=DeliveryStatus.PENDING, runs=runs_before)
    if suspect and evidence is not Evidence.OTHERS:
        return Fate(status=DeliveryStatus.DEAD, runs=runs_before)
    runs = runs_before + 1
    return Fate(status=DeliveryStatus.DEAD if runs >= max_runs else DeliveryStatus.PENDING, runs=runs)
