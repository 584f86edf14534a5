"""Figures for Prometheus: the instruments, what feeds them while a run is at work, and the file for node_exporter.

Nothing here is imported unless ``[METRICS] textfile`` or ``[SCHEDULE] http_port`` asks for it.
"""
