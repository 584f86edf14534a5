"""What is measured for the report on coverage: everything with ``make coverage``, the cheap part with ``make test``.

Measuring nearly doubles the processor time of a command, because it is over so soon, and there are hundreds of them;
the model's tests play the same code thousands of times. Where ``TEST_COVERAGE`` is not "whole", only the processes
of the tests themselves are measured, and the model's tests not at all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from coverage import Coverage

WHOLE = os.environ.get("TEST_COVERAGE") == "whole"
STARTS = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""The variables with which a Python that starts measures itself."""


@pytest.fixture(scope="session", autouse=True)
def _commands_unmeasured() -> None:
    """Let what the tests start go unmeasured; the test processes have been started by now, and are."""
    if not WHOLE:
        for name in STARTS:
            os.environ.pop(name, None)


@contextmanager
def unmeasured() -> Iterator[None]:
    """Measure nothing of this process within the block."""
    measuring = None if WHOLE else Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()
