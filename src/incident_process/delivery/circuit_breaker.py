"""The circuit breaker: it tells a failing service from an incident that the receiver rejects (SPEC 5)."""

from enum import StrEnum


class CircuitState(StrEnum):
    """How freely the sender may send."""

    CLOSED = "closed"  # all is well
    PROBING = "probing"  # several accounts failed in a row: a few requests at a time, with growing pauses
    OPEN = "open"  # those failed too: the run stops, everything undelivered stays pending


class CircuitBreaker:
    """Counts failures in a row over different accounts; a success resets the count.

    When ``accounts`` different accounts have failed without a success between them, the probing starts; after
    ``probes`` rounds without a success the circuit opens. It has no clock and no I/O; the sender asks it and waits.
    """

    def __init__(self, accounts: int, probes: int) -> None:
        self.circuit = CircuitState.CLOSED
        self.failed_probes = 0
        self._accounts = accounts
        self._probes = probes
        self._failing: set[str] = set()

    def success(self) -> None:
        """Note that the service took a request, or rejected one as a rule of the configuration says."""
        self.circuit = CircuitState.CLOSED
        self.failed_probes = 0
        self._failing.clear()

    def failure(self, account: str) -> None:
        """Note that a request of this account failed while the circuit was closed."""
        if self.circuit is not CircuitState.CLOSED:
            return  # a request that was under way when the probing began shows nothing new
        self._failing.add(account)
        if len(self._failing) >= self._accounts:
            self.circuit = CircuitState.PROBING

    def probe_failed(self) -> None:
        """Note that the receiver took none of a round of probes."""
        self.failed_probes += 1
        if self.failed_probes >= self._probes:
            self.circuit = CircuitState.OPEN

    def give_up(self) -> None:
        """Open the circuit: the probing has used up its time."""
        self.circuit = CircuitState.OPEN
