"""The metrics as a file for the textfile collector of node_exporter (``[METRICS] textfile``).

A run by cron lives for seconds, a counter is for ever: so each process adds to the file what it has counted since it
last wrote, under a lock, and puts the whole in place in one step. Gauges are as the last writer saw them.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from incident_process.local_places import expanded

_CUMULATIVE = frozenset({"counter", "histogram"})
_Key = tuple[str, tuple[tuple[str, str], ...]]


class TextFile:
    """The file of one process."""

    def __init__(self, path: Path, metrics: Collector) -> None:
        self.path = path
        self._path = expanded(path)
        self._metrics = metrics
        self._written: dict[_Key, float] = {}
        """What of this process is in the file already."""

    def write(self) -> None:
        """Bring the file up to date; raise OSError when it cannot be written."""
        with _locked(self._path.with_name(f".{self._path.name}.lock")):
            mine = list(self._metrics.collect())
            merged = _Merged(_read(self._path), mine, self._written)
            new = self._path.with_name(f".{self._path.name}.new")  # the collector reads *.prom only
            new.write_bytes(generate_latest(merged))
            new.chmod(0o644)  # another user's node_exporter reads it, whatever this one's umask
            os.replace(new, self._path)  # noqa: PTH105  # Path.replace is the same call
        self._written = {
            _key(sample): sample.value for metric in mine if metric.type in _CUMULATIVE for sample in metric.samples
        }


class _Merged(Collector):
    """What the file holds and what this process has seen since, as one."""

    def __init__(self, old: dict[str, Metric], mine: Iterable[Metric], written: dict[_Key, float]) -> None:
        self._metrics = dict(old)
        for metric in mine:
            self._metrics[metric.name] = _added(old.get(metric.name), metric, written)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.values()


def _added(old: Metric | None, mine: Metric, written: dict[_Key, float]) -> Metric:
    merged = Metric(mine.name, mine.documentation, mine.type)
    values = {_key(sample): sample for sample in (old.samples if old else ())}
    for sample in mine.samples:
        key = _key(sample)
        value = sample.value
        if mine.type in _CUMULATIVE:
            value += (values[key].value if key in values else 0.0) - written.get(key, 0.0)
        values[key] = Sample(sample.name, sample.labels, value)
    merged.samples = list(values.values())
    return merged


def _read(path: Path) -> dict[str, Metric]:
    """Return what the file holds; nothing when it is not there, or was not written by this program."""
    try:
        text = path.read_text(encoding="utf-8")
        return {metric.name: metric for metric in text_string_to_metric_families(text)}
    except (FileNotFoundError, ValueError):
        return {}


def _key(sample: Sample) -> _Key:
    labels = dict(sample.labels)
    if "le" in labels:  # written as 1.0 by one side and as 1.0 or 1 by the other
        labels["le"] = str(float(labels["le"]))
    return sample.name, tuple(sorted(labels.items()))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
