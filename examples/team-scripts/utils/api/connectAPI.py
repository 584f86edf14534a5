"""The configured receiver."""

from incident_process import read_api_config

__all__ = ["read_api_config"]
