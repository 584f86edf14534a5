"""The state in SQL: one code path for MySQL 8, MariaDB 10.6+ and SQLite.

``dialect`` holds what differs between them, ``faults`` translates their errors, ``database`` runs transactions,
``schema`` is the tables; ``lease``, ``tracking``, ``runs``, ``ledger`` and ``outbox`` are one subject each, and
``store`` puts them together as the ``StateStore`` of ``state.contract``.
"""

from incident_process.state.sql.store import SqlStateStore

__all__ = ["SqlStateStore"]
