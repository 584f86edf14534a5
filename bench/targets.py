"""The targets of the bench, as ratios within one run, and how far this run is from each of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.measure import Line
from bench.sections import history, hourly, naive, ours, peers, starts
from bench.sections.limits import FLOOR

MEMORY_MIB = 250


@dataclass(frozen=True, kw_only=True)
class Target:
    """One target: ``value`` as measured, ``asked`` in words, ``met`` or not."""

    name: str
    value: str
    asked: str
    met: bool


def check_targets(lines: Sequence[Line]) -> list[Target]:
    """Return every target that these lines decide."""
    return [*_rates(lines), *_memory(lines), *_hourly(lines), *_history(lines), *_starts(lines)]


def _rates(lines: Sequence[Line]) -> Iterator[Target]:
    """Yield the targets for rates: at least this multiple of another line."""
    percent: Callable[[float], str] = "{:.0%}".format
    times: Callable[[float], str] = "{:,.1f} times".format
    for name, other, least, shown in (
        (ours.ON_SQLITE, FLOOR, 0.65, percent),
        (ours.ON_MARIADB, ours.ON_SQLITE, 0.9, percent),
        (ours.ON_MONGO, ours.RAW_MONGO, 0.8, percent),
        (ours.ON_SQLITE, naive.UNINDEXED, 300.0, times),
        (ours.ON_SQLITE, naive.INDEXED, 300.0, times),
        (ours.ON_SQLITE, peers.DRT, 4.0, times),
        (ours.ON_SQLITE, peers.DLT, 4.0, times),
    ):
        ratio = _ratio(_rate(lines, name), _rate(lines, other))
        if ratio is not None:
            yield Target(
                name=f"{name}: {other}", value=shown(ratio), asked=f"at least {shown(least)}", met=ratio >= least
            )


def _memory(lines: Sequence[Line]) -> Iterator[Target]:
    large, small = _find(lines, ours.ON_SQLITE), _find(lines, ours.ON_SQLITE_SMALL)
    if large and large.peak_mib:
        met = large.peak_mib < MEMORY_MIB
        yield Target(
            name=f"peak memory with {large.count:,} accounts",
            value=f"{large.peak_mib:,.0f} MiB",
            asked=f"below {MEMORY_MIB} MiB",
            met=met,
        )
        if small and small.peak_mib:
            grown = large.peak_mib / small.peak_mib - 1
            name = f"peak memory, {large.count:,} accounts against {small.count:,}"
            yield Target(name=name, value=f"{grown:+.0%}", asked="within 10%", met=grown <= 0.1)


def _hourly(lines: Sequence[Line]) -> Iterator[Target]:
    runs = [one for one in lines if one.name == hourly.NAME and one.samples]
    raws = [one for one in lines if one.name == hourly.RAW and one.samples]
    if runs and raws:
        ratio = runs[0].seconds / raws[0].seconds
        name = "hourly run: raw reading of the rows that it looks at"
        yield Target(name=name, value=f"{ratio:.1f} times", asked="at most 1.8 times", met=ratio <= 1.8)
    if len(runs) > 1:
        grown = runs[-1].seconds / runs[0].seconds
        # Independent: no more than what two runs differ by on a machine that is not alone.
        name = "hourly run, largest table: smallest table"
        yield Target(name=name, value=f"{grown:.2f} times", asked="the same (to 1.25)", met=grown <= 1.25)


def _history(lines: Sequence[Line]) -> Iterator[Target]:
    depths = [one for one in lines if one.section == "history" and one.samples]
    if len(depths) > 1:
        ratio = depths[-1].seconds / depths[0].seconds
        asked = f"at most 3 times {history.NAME.format(1)}"
        yield Target(name=depths[-1].name, value=f"{ratio:.1f} times", asked=asked, met=ratio <= 3)


def _starts(lines: Sequence[Line]) -> Iterator[Target]:
    for name, limit in ((starts.HELP, 0.25), (starts.EMPTY, 0.6)):
        found = _find(lines, name)
        if found:
            asked = f"at most {limit:g} s"
            yield Target(name=name, value=f"{found.seconds:.2f} s", asked=asked, met=found.seconds <= limit)
    few, empty = _find(lines, starts.FEW), _find(lines, starts.EMPTY)
    if few and empty:
        ratio = few.seconds / empty.seconds
        yield Target(
            name=f"{few.name}: {empty.name}", value=f"{ratio:.2f} times", asked="at most 1.3 times", met=ratio <= 1.3
        )


def _find(lines: Sequence[Line], name: str) -> Line | None:
    return next((one for one in lines if one.name == name and one.samples), None)


def _rate(lines: Sequence[Line], name: str) -> float | None:
    found = _find(lines, name)
    return found.per_second if found else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None
