"""Loggers that write to stderr as ``LEVEL:logger:message``, as the team has it."""

import logging

from incident_process import get_logger

__all__ = ["get_logger"]

logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
