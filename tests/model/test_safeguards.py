"""Without any one safeguard the same storms and scenes break an invariant: they would notice that it is missing."""

import pytest

from tests.model.machine import BrokenError, Storm, search
from tests.model.safeguards import SAFEGUARDS, Safeguard
from tests.model.scenes import Scene, play

MOST_HISTORIES = 1000


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_without_it_an_invariant_breaks(safeguard: Safeguard, monkeypatch: pytest.MonkeyPatch) -> None:
    safeguard.remove(monkeypatch)
    if isinstance(safeguard.seen_in, type):
        found = in_a_storm(safeguard.seen_in, safeguard)
        assert found
        assert found <= safeguard.breaks
    else:
        assert safeguard.breaks <= in_a_scene(safeguard.seen_in, safeguard)


def in_a_storm(storm: type[Storm], safeguard: Safeguard) -> set[str]:
    """Return the invariants that the first bad history broke."""
    with pytest.raises(BrokenError) as broken:
        search(storm, MOST_HISTORIES, flaws=safeguard.flaws, shorten=False)
    return broken.value.invariants


def in_a_scene(scene: Scene, safeguard: Safeguard) -> set[str]:
    """Return the invariants that the scene's histories broke, until all expected ones are among them."""
    found: set[str] = set()
    for setup, script in scene():
        found |= {violation.invariant for violation in play(setup, script, safeguard.flaws)}
        if safeguard.breaks <= found:
            break
    return found
