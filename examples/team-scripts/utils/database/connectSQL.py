"""The configured MySQL database."""

from incident_process import get_mysql_connection

__all__ = ["get_mysql_connection"]
