"""How far a run is, for whoever watches."""

from typing import Protocol


class Progress(Protocol):
    """Shows how far a run is. Called from the event loop; must not block."""

    def start(self, accounts: int) -> None:
        """Note that the survey found this many accounts."""
        ...

    def advance(self, accounts: int) -> None:
        """Note that so many more accounts have been looked at, and sent where necessary."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, accounts: int) -> None:
        """Do nothing."""

    def advance(self, accounts: int) -> None:
        """Do nothing."""
