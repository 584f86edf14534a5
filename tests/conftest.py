"""The fixtures that all tests share, each in a module of its own under ``support``; and which tests begin."""

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from incident_process.core.logs import get_logger

# How long one example takes says how busy the machine is, and not whether the code is right.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

pytest_plugins = [
    name
    for name in (
        "tests.support.sql_server",
        "tests.support.mariadb",
        "tests.support.mysql",
        "tests.support.stores",
        "tests.support.receivers",
    )
    if find_spec(name) is not None
]

FIRST = Path(__file__).parent / "storm" / "test_storm.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the storms: they are the longest and mostly wait, so one worker has them while the others work."""
    items.sort(key=lambda item: item.path != FIRST)


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """For a command in this process: it sets up the logger of its process, which here is that of all tests."""
    log, last = get_logger(), logging.lastResort
    before = log.handlers[:]
    level, propagate = log.level, log.propagate
    yield
    log.handlers[:] = before
    log.level, log.propagate, logging.lastResort = level, propagate, last
