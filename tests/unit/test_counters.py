"""What a run says of the incidents that it leaves without an outcome."""

from datetime import UTC, datetime

import pytest

from incident_process.core.models import DeliveryStatus, Outcome
from incident_process.pipeline.counters import RunCounters


def outcomes_of(*errors: str | None, status: DeliveryStatus = DeliveryStatus.PENDING) -> list[Outcome]:
    return [
        Outcome(
            incident_id=number,
            account=str(number),
            status=status,
            attempts=1,
            runs=1,
            error=error,
            at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for number, error in enumerate(errors)
    ]


def counters(*errors: str | None) -> RunCounters:
    """A run that left these incidents pending."""
    outcomes = outcomes_of(*errors)
    made = RunCounters()
    made.by_status.update(outcome.status for outcome in outcomes)
    made.recorded(outcomes)
    return made


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ((), ""),
        (("HTTP 500",), "HTTP 500: 1 incident"),
        ((None, None), "2 not tried in this run"),
        (
            ("HTTP 500", "no answer (TimeoutError)", "HTTP 500", None),
            "HTTP 500: 2 incidents; no answer (TimeoutError): 1 incident; 1 not tried in this run",
        ),
    ],
)
def test_what_is_left_is_said_with_its_reasons_from_the_first_account_on(
    errors: tuple[str | None, ...], said: str
) -> None:
    made = counters(*errors)
    assert made.left == said
    assert made.unfinished == (
        f"{len(errors)} incident{' has' if len(errors) == 1 else 's have'} no outcome yet ({said})" if errors else None
    )


def test_an_incident_that_had_no_second_try_still_counts_as_tried() -> None:
    """As when the run stops between the two: the ledger has its error, too."""
    made = counters("HTTP 500", "HTTP 500", None)
    made.recorded(outcomes_of(None, "HTTP 502", None))
    assert made.left == "HTTP 500: 1 incident; HTTP 502: 1 incident; 1 not tried in this run"
    made.recorded(outcomes_of(None, None, status=DeliveryStatus.DELIVERED))
    assert not made.reasons
