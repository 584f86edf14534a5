"""The model's tests replace two things in the program: the time since boot and the chance in the jitter."""

import logging
import random
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from tests.model import machine


@pytest.fixture(autouse=True)
def _virtual(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the program the world's time and a fixed chance, and keep thousands of runs from logging."""
    monkeypatch.setattr("incident_process.core.clock.uptime", machine.uptime)
    monkeypatch.setattr("incident_process.pipeline.lease.uptime", machine.uptime)
    # Thousands of runs that were killed leave cycles behind, in a process that goes on.
    monkeypatch.setattr("incident_process.pipeline.processor.rare_collections", nullcontext)
    monkeypatch.setattr("incident_process.delivery.sender.random", SimpleNamespace(Random=lambda: random.Random(1)))
    logger = logging.getLogger("incident_logger")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
    machine.Stage.world = None
