"""The unchanged pipeline keeps the invariants of SPEC 10 whatever happens, in any order.

``MODEL_FACTOR=100`` plays a hundred times as many storms, and every pair of points in the scenes. ``history`` and
``world`` say which events may happen and what lies beyond the promise.
"""

import pytest

from tests.model.machine import FACTOR, Restored, RestoredWithKeys, Storm, StormWithKeys, search
from tests.model.scenes import SCENES, Scene, play

HISTORIES = 60


@pytest.mark.parametrize("storm", [Storm, StormWithKeys, Restored, RestoredWithKeys])
def test_no_storm_breaks_the_promise(storm: type[Storm]) -> None:
    search(storm, HISTORIES * FACTOR)


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_no_scene_breaks_the_promise(scene: Scene) -> None:
    broken = [(setup, *violations) for setup, script in scene() if (violations := play(setup, script))]
    assert not broken
