"""The rates as a plot, PNG and SVG."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.measure import Line
from bench.report import floor_rate

SECTIONS = {"limits": "#8a8f98", "ours": "#1f6feb", "naive": "#c2410c", "peers": "#b58900"}
"""The sections whose rates can be compared with each other, and their colours."""


def plot(lines: Sequence[Line], folder: Path) -> bool:
    """Write ``performance.png`` and ``performance.svg`` into the folder.

    Returns:
        False, and nothing is written, when the plotting library is not installed or there is nothing to show.
    """
    plt = plotting("performance")
    if plt is None:
        return False
    shown = [one for one in lines if one.section in SECTIONS and one.per_second]
    if not shown:
        return False
    shown.sort(key=lambda one: one.per_second or 0.0)
    rates = [one.per_second or 0.0 for one in shown]
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(shown) + 1.2), layout="constrained")
    axes.barh([one.name for one in shown], rates, color=[SECTIONS[one.section] for one in shown])
    axes.set_xscale("log")
    axes.set_xlabel("incidents a second (peers: rows), logarithmic")
    floor = floor_rate(lines)
    for at, rate in enumerate(rates):
        share = f"  {rate / floor:.0%} of the floor" if floor else ""
        axes.text(rate, at, f" {rate:,.0f}{share}", va="center", fontsize=8)
    axes.set_xlim(right=max(rates) * 4)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, folder, "performance")
    plt.close(figure)
    return True


def plotting(name: str) -> Any:
    """Return the plotting library's module, None where it is not installed."""
    try:
        mpl = import_module("matplotlib")
    except ImportError:
        return None
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = name  # the same figures give the same file
    return import_module("matplotlib.pyplot")


def save(figure: Any, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        figure.savefig(folder / f"{name}.{kind}", dpi=110, metadata=metadata)
