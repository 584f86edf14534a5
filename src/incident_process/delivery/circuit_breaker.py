"""The circuit breaker: tells a failing service from a poisonous record (SPEC 5)."""

from enum import StrEnum


class CircuitState(StrEnum):
    """How freely requests may go out."""

    CLOSED = "closed"  # all is well
    PROBING = "probing"  # several accounts failed in a row: a few requests at a time, with growing pauses
    OPEN = "open"  # those failed too: the run stops, everything undelivered stays pending


class CircuitBreaker:
    """Counts failures in a row over different accounts; any success starts over.

    ``accounts`` different accounts failing without a success between them start the probing, ``probes`` rounds of
    probes of which none is taken open the circuit. It has no clock and does no I/O; the sender asks it and waits.
    """

    def __init__(self, accounts: int, probes: int) -> None:
        self.circuit = CircuitState.CLOSED
        self.failed_probes = 0
        self._accounts = accounts
        self._probes = probes
        self._failing: set[str] = set()

    def success(self) -> None:
        """Note that the service took a request, or refused one as a rule says that it does."""
        self.circuit = CircuitState.CLOSED
        self.failed_probes = 0
        self._failing.clear()

    def failure(self, account: str) -> None:
        """Note that a request of this account failed while the circuit was closed."""
        if self.circuit is not CircuitState.CLOSED:
            return  # a request that was under way when the probing began proves nothing new
        self._failing.add(account)
        if len(self._failing) >= self._accounts:
            self.circuit = CircuitState.PROBING

    def probe_failed(self) -> None:
        """Note that none of a round of probes was taken."""
        self.failed_probes += 1
        if self.failed_probes >= self._probes:
            self.circuit = CircuitState.OPEN

    def give_up(self) -> None:
        """Open the circuit: the probing has lasted for as long as it may."""
        self.circuit = CircuitState.OPEN
