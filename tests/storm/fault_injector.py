"""Injects the planned faults at one place, each at its time, and undoes each of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.storm.cluster import ClusterPlace
from tests.storm.places import BASE_FAULTS, Place, ReceiverPlace, ask_receiver
from tests.storm.plan import Fault

RATES = {"drop_rate": 0.0, "fail_rate": 0.0, "stall_rate": 0.0, "reject_before_rate": 0.0, "fail_accounts": {}}
CALM = {**RATES, "retry_after": None, "rate_limit": 0.0, "proxy_status": None, **BASE_FAULTS}


class FaultInjector:
    """Injects one place's faults, one after the other; ``done`` counts them by kind."""

    def __init__(self, name: str, place: Place | ClusterPlace, faults: Sequence[Fault]) -> None:
        self.done: Counter[str] = Counter()
        self._name = name
        self._place = place
        self._faults = faults

    def inject(self, stop: threading.Event) -> None:
        """Inject the faults until they or the storm end; undo the one that lasts at that moment."""
        began = time.monotonic()
        for fault in self._faults:
            if stop.wait(max(0.0, began + fault.at - time.monotonic())):
                return
            begin, end = self._ways(fault)
            begin()
            self.done[f"{self._name}: {fault.kind}"] += 1
            try:
                stop.wait(fault.seconds)
            finally:
                end()

    def _ways(self, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
        """Return what begins the fault and what ends it."""
        place = self._place
        if isinstance(place, ClusterPlace):
            return place.ways(fault)
        if fault.kind in {"kill", "lock"}:
            return place.kill, place.start
        network: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
        with suppress(AttributeError):  # a file has no proxy
            proxy = place.proxy
            network = {
                "cut": (proxy.cut, lambda: None),
                "stall": (proxy.stall, proxy.resume),
                "mute": (proxy.mute, proxy.resume),
                "refuse": (proxy.refuse, proxy.admit),
            }
        if fault.kind in network:
            return network[fault.kind]
        assert isinstance(place, ReceiverPlace)
        handle = place.handle
        settings = dict(fault.details)
        if fault.kind == "poison":
            settings = {"fail_accounts": {f"{fault.details['account']:010d}": fault.details["status"]}}
        return lambda: ask_receiver(handle, settings), lambda: ask_receiver(handle, CALM)
