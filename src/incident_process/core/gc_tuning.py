"""The garbage collector while a run sends: rarely, and not over what lives as long as the run."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 50_000
"""How many objects may come into being before the collector looks at them. A chunk makes some ten thousand, nearly all
of them free of cycles and gone with the chunk by themselves; looked at every 700 objects, they are looked at in vain,
which took a tenth of a run's processor time."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector work rarely while the block runs, and leave out of it what is there at its beginning."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
