"""The bad spirit at one place: does its deeds when their time has come, and undoes each of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.storm.cluster import ClusterPlace
from tests.storm.places import BASE_FAULTS, Place, ReceiverPlace, ask_receiver
from tests.storm.plan import Deed

RATES = {"drop_rate": 0.0, "fail_rate": 0.0, "stall_rate": 0.0, "reject_before_rate": 0.0, "fail_accounts": {}}
CALM = {**RATES, "retry_after": None, "rate_limit": 0.0, "proxy_status": None, **BASE_FAULTS}


class Spirit:
    """Works off one place's deeds, one after the other; ``done`` counts them by kind."""

    def __init__(self, name: str, place: Place | ClusterPlace, deeds: Sequence[Deed]) -> None:
        self.done: Counter[str] = Counter()
        self._name = name
        self._place = place
        self._deeds = deeds

    def haunt(self, stop: threading.Event) -> None:
        """Go on until the deeds or the storm end; whatever is broken then is put right."""
        began = time.monotonic()
        for deed in self._deeds:
            if stop.wait(max(0.0, began + deed.at - time.monotonic())):
                return
            begin, end = self._ways(deed)
            begin()
            self.done[f"{self._name}: {deed.kind}"] += 1
            try:
                stop.wait(deed.seconds)
            finally:
                end()

    def _ways(self, deed: Deed) -> tuple[Callable[[], object], Callable[[], object]]:
        """How the deed is done, and undone."""
        place = self._place
        if isinstance(place, ClusterPlace):
            return place.ways(deed)
        if deed.kind in {"kill", "lock"}:
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
        if deed.kind in network:
            return network[deed.kind]
        assert isinstance(place, ReceiverPlace)
        handle = place.handle
        faults = dict(deed.details)
        if deed.kind == "poison":
            faults = {"fail_accounts": {f"{deed.details['account']:010d}": deed.details["status"]}}
        return lambda: ask_receiver(handle, faults), lambda: ask_receiver(handle, CALM)
