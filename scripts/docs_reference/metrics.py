"""The metrics that the program offers to Prometheus, and the conditions of which it sends alerts."""

from prometheus_client.metrics import MetricWrapperBase

from docs_reference.enums import meanings, sentence
from docs_reference.table import table as made
from incident_process.observability.alert_conditions import TITLES, ConditionName
from incident_process.observability.metrics import Instruments


def table() -> str:
    """Return a table of the metrics: name as it is scraped, kind, labels, meaning.

    Raises:
        LookupError: There is no metric at all.
    """
    metrics = [item for item in vars(Instruments("")).values() if isinstance(item, MetricWrapperBase)]
    if not metrics:
        msg = "observability/metrics.py has no metric among the attributes of Instruments."
        raise LookupError(msg)
    return made(("name", "kind", "labels", "meaning"), [_row(metric) for metric in metrics])


def alerts() -> str:
    """Return a table of the conditions that are told to ``[NOTIFY] urls``."""
    rows = [(TITLES[ConditionName(value)], sentence(meaning)) for value, meaning in meanings(ConditionName).items()]
    return made(("alert", "it stands when"), rows)


def _row(metric: MetricWrapperBase) -> tuple[str, str, str, str]:
    (family,) = metric.describe()
    # A counter's series is scraped under the family's name and this ending; a histogram's has three of its own.
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ("operation", *metric._labelnames)  # no public name says which labels a metric has
    return f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), sentence(family.documentation)
