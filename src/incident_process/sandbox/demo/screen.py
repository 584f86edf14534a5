"""The demo's output: formatted on a terminal, plain when piped, at most 100 columns wide."""

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100  # columns


class Screen:
    """Writes to a stream. No text is read as markup."""

    def __init__(self, stream: TextIO) -> None:
        tty = stream.isatty()
        self._box = box.SIMPLE_HEAD if tty else None
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._console.width = min(self._console.width, WIDTH) if tty else WIDTH

    def title(self, text: str) -> None:
        """Print the heading of a step."""
        self._console.print()
        self._console.print(text, style="bold")

    def say(self, text: str, style: str | None = None) -> None:
        """Print one sentence or more."""
        self._console.print(text, style=style)

    def paste(self, command: str) -> None:
        """Print a command for copying, without line breaks."""
        self._console.print(f"  {command}", style="cyan", soft_wrap=True)

    def figures(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table: the first column is text, the others are numbers."""
        table = Table(box=self._box, pad_edge=False, padding=(0, 2, 0, 0))
        for at, name in enumerate(names):
            table.add_column(name, justify="right" if at else "left", no_wrap=at > 0)
        for row in rows:
            table.add_row(*[f"{value:,}" if isinstance(value, int) else str(value) for value in row])
        self._console.print(table)
