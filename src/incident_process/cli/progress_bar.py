"""A progress bar on a terminal; nothing when the output is piped, where a bar would only fill a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from incident_process.pipeline.progress import NoProgress, Progress


@contextmanager
def progress_for(stream: TextIO) -> Iterator[Progress]:
    """Yield a bar on the stream while the block runs, or one that shows nothing when the stream is no terminal."""
    if not stream.isatty():
        yield NoProgress()
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
        console=Console(file=stream, soft_wrap=True),  # the log's lines as they are, however narrow the terminal
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # above the bar; but what goes to a file or a pipe must get there
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
