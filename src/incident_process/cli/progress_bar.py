"""A progress bar on a terminal; none in a pipe, where it would only fill a log."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

from incident_process.cli.options import level_asked

if TYPE_CHECKING:
    from incident_process.observability.listeners import Progress


@contextmanager
def progress_for(stream: TextIO) -> "Iterator[Progress | None]":
    """Yield a progress bar on the stream, None where the stream is no terminal."""
    if not stream.isatty() or level_asked.get() == "WARNING":
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(file=stream, soft_wrap=True),  # a narrow terminal must not break the log's lines
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a terminal shows it above the bar; a file or pipe must get it itself
    )
    task = bar.add_task("accounts", total=None, pace="")

    def show(**shown: Any) -> None:
        bar.start()  # only now: it would cover a question that is asked before the run
        bar.update(task, **shown)

    try:
        yield ProgressBar(show)
    finally:
        bar.stop()


PACE_SECONDS = 30.0
"""Seconds over which the rate is measured."""
DRAW_SECONDS = 0.1
"""Seconds between two updates of the bar: a run may deliver thousands of incidents in one."""


class ProgressBar:
    """What the bar shows: accounts done of those found, incidents delivered a second, and the time left at that rate.

    Args:
        show: Takes what has changed: ``total``, ``completed``, ``pace``.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, show: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._total: int | None = None
        self._done = 0
        self._delivered = 0
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._drawn_at = clock()

    def start(self, accounts: int) -> None:
        """Show how many accounts there are."""
        self._total, self._done = accounts, 0
        self._draw(total=accounts)

    def advance(self, accounts: int) -> None:
        """Show that more accounts are done."""
        self._done += accounts
        is_whole = self._total is not None and self._done >= self._total
        if is_whole or self._clock() - self._drawn_at >= DRAW_SECONDS:
            self._draw()

    def delivered(self, incidents: int) -> None:
        """Count incidents that were delivered; the next ``advance`` shows them."""
        self._delivered += incidents

    def _draw(self, **shown: int) -> None:
        now = self._drawn_at = self._clock()
        self._marks.append((now, self._delivered))
        while len(self._marks) > 2 and now - self._marks[1][0] >= PACE_SECONDS:
            self._marks.popleft()
        since, before = self._marks[0]
        rate = (self._delivered - before) / (now - since) if now > since else 0.0
        pace = ""
        if rate > 0:
            pace = f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min"
            left = (self._total or 0) - self._done
            if left > 0:  # unchanged accounts need less: it is the longest that it can take at this rate
                pace += f", {timedelta(seconds=round(left / rate))} left"
        done = self._done if self._total is None else min(self._done, self._total)
        self._show(completed=done, pace=pace, **shown)
