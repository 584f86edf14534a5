"""Alerts: told once when a condition begins and once when it is over, whoever notices it (``[NOTIFY]``)."""
