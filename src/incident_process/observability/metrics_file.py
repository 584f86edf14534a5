"""The metrics as a file for the textfile collector of node_exporter (``[METRICS] textfile``).

A run by cron lives for seconds, a counter for ever. So each process adds to the file what it has counted since its last
write, under a lock, and puts the whole file in place in one step. Gauges have the values of the last writer.

Every user may read the file, and others may write to its folder, so each user has a lock of their own
(``core.safe_files``): processes of two users exclude each other no more than two computers would.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from incident_process.core.local_places import expand_home
from incident_process.core.safe_files import in_own_thread, locked, read_plain, remove_leftovers, replace
from incident_process.observability.metrics import OF_STATE, Instruments

WRITE_SECONDS = 10.0
"""Seconds for one update, with the wait for the lock; a folder on a server that is away never answers."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of the file that are read, at most."""
_CUMULATIVE = frozenset({"counter", "histogram"})
_NOT_OURS = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.EFBIG})
"""Errors for no file, a link, a socket or pipe, a file that is too long: the new file replaces it."""
_Key = tuple[str, tuple[tuple[str, str], ...]]


class TextFile:
    """The file of one process."""

    def __init__(self, path: Path, metrics: Instruments) -> None:
        self.path = path
        self._path = expand_home(path)
        self._metrics = metrics
        self._written: dict[_Key, float] = {}
        """This process's values that the file already has."""
        self._at_work = False

    async def update(self) -> None:
        """Update the file, outside of the event loop; raise OSError, which includes TimeoutError, if that fails."""
        if self._at_work:
            raise OSError(errno.EBUSY, "an earlier try to write it has not come to its end")
        self._at_work = True
        try:
            await in_own_thread(self._write_last, WRITE_SECONDS)
        except TimeoutError as exc:
            raise exc if exc.strerror else TimeoutError(errno.ETIMEDOUT, f"it took over {WRITE_SECONDS:g} s") from exc

    def write(self) -> None:
        """Update the file; raise OSError when it cannot be written."""
        with locked(self._path.with_name(f".{self._path.name}.{os.geteuid()}.lock")):
            remove_leftovers(self._path)
            mine = list(self._metrics.collect())
            merged = _Merged(_read(self._path, self._metrics.operation), mine, self._written)
            # Another user's node_exporter reads it. The temporary file has an ending that the collector does not read.
            replace(self._path, generate_latest(merged), 0o644)
        self._written = {
            _key(sample): sample.value for metric in mine if metric.type in _CUMULATIVE for sample in metric.samples
        }

    def _write_last(self) -> None:
        try:
            self.write()
        finally:
            self._at_work = False


class _Merged(Collector):
    """The metrics of the file and of this process since its last write, merged."""

    def __init__(self, old: dict[str, Metric], mine: Iterable[Metric], written: dict[_Key, float]) -> None:
        self._metrics = dict(old)
        for metric in mine:
            self._metrics[metric.name] = _added(old.get(metric.name), metric, written)

    def collect(self) -> Iterator[Metric]:
        yield from (metric for metric in self._metrics.values() if metric.samples)


def _added(old: Metric | None, mine: Metric, written: dict[_Key, float]) -> Metric:
    merged = Metric(mine.name, mine.documentation, mine.type)
    told = {sample.labels.get("operation") for sample in mine.samples} if mine.type not in _CUMULATIVE else set()
    # A gauge is as its operation's last writer says, whatever labels an earlier one gave it, such as another version.
    kept = [sample for sample in (old.samples if old else ()) if sample.labels.get("operation") not in told]
    values = {_key(sample): sample for sample in kept}
    for sample in mine.samples:
        key = _key(sample)
        value = sample.value
        if mine.type in _CUMULATIVE:
            value += (values[key].value if key in values else 0.0) - written.get(key, 0.0)
        values[key] = Sample(sample.name, sample.labels, value)
    merged.samples = list(values.values())
    return merged


def _read(path: Path, operation: str) -> dict[str, Metric]:
    """Return the metrics of the file; none when it is missing or another program has written it.

    Those of the state are left out for this operation: an old figure would look like a present one.
    """
    try:
        text = read_plain(path, MOST_BYTES).decode("utf-8")
        found = {metric.name: metric for metric in text_string_to_metric_families(text)}
        for metric in found.values():
            for sample in metric.samples:
                _key(sample)
        for name in OF_STATE & found.keys():
            found[name].samples = [one for one in found[name].samples if one.labels.get("operation") != operation]
        return found
    except OSError as exc:
        if exc.errno in _NOT_OURS:
            return {}
        raise
    except (ValueError, LookupError):  # the parser's errors for a text without metrics
        return {}


def _key(sample: Sample) -> _Key:
    labels = dict(sample.labels)
    if "le" in labels:  # one side writes 1.0, the other 1.0 or 1
        labels["le"] = str(float(labels["le"]))
    return sample.name, tuple(sorted(labels.items()))
