"""The Grafana dashboard uses exactly the metrics that there are: each one, with labels that it has, and no other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric

from incident_process.observability.metrics import PREFIX, Instruments

DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy" / "grafana" / "incident-process.json").read_text())
SERIES = re.compile(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?")
BY = re.compile(r"\bby \(([^)]*)\)")
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def families() -> dict[str, Metric]:
    """Every metric, with and without something in it, by the name of each of its series."""
    found = Instruments("operation").registry.collect()
    return {family.name + ending: family for family in found for ending in ENDINGS.get(family.type, ())}


def labels() -> set[str]:
    instruments = Instruments("operation")
    instruments.attempts.labels("2xx")
    instruments.writes.labels("enqueue")
    return {label for family in instruments.collect() for sample in family.samples for label in sample.labels}


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (item["query"]["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query")


def test_every_series_that_it_shows_exists() -> None:
    shown = {name for expression in expressions() for name, _ in SERIES.findall(expression)}
    assert shown
    assert shown <= set(families())


def test_every_metric_that_there_is_is_shown() -> None:
    shown = {families()[name].name for expression in expressions() for name, _ in SERIES.findall(expression)}
    assert {family.name for family in families().values()} == shown


def test_it_selects_and_groups_by_labels_that_there_are() -> None:
    used = set()
    for expression in expressions():
        for _, selector in SERIES.findall(expression):
            used |= set(re.findall(r"(\w+)(?:=~|=|!=|!~)", selector))
        for group in BY.findall(expression):
            used |= set(re.split(r",\s*", group))
    assert used
    assert used <= labels() | {"le"}


def test_every_panel_of_the_data_is_for_the_chosen_operation() -> None:
    panels = [expression for expression in expressions() if not expression.startswith("label_values")]
    assert all('operation=~"$operation"' in expression for expression in panels)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_a_panel_has_what_grafana_needs(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["datasource"]["uid"] == "${datasource}"  # chosen on the page, not one of somebody's site
    assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
    area = panel["gridPos"]
    assert area["x"] + area["w"] <= 24


def test_no_two_panels_lie_on_one_another() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
