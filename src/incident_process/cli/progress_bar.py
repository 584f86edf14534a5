"""A progress bar on a terminal; none in a pipe, where it would only fill a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

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
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    with RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream, soft_wrap=True),  # a narrow terminal must not break the log's lines
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a terminal shows it above the bar; a file or pipe must get it itself
    ) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: "RichProgress") -> None:  # type: ignore[name-defined]  # noqa: F821  # imported where used
        self._bar = bar
        self._task = bar.add_task("accounts", total=None)

    def start(self, accounts: int) -> None:
        self._bar.update(self._task, total=accounts)

    def advance(self, accounts: int) -> None:
        self._bar.advance(self._task, accounts)
