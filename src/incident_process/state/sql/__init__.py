"""The state in SQL: one code path for MySQL 8, MariaDB 10.6+ and SQLite, in plain SQL over their drivers.

``dialect`` holds the expressions in which they differ, ``connection`` what the rest asks of a connection, ``mysql`` and
``sqlite`` keep that, ``faults`` says what their errors mean, ``database`` runs transactions, ``schema`` is the tables;
``lease``, ``scopes``, ``tracking``, ``runs``, ``ledger`` and ``outbox`` are one subject each, their statements at their
top, and ``store`` puts them together as the ``StateStore`` of ``state.base``.
"""

from incident_process.state.sql.store import SqlStateStore

__all__ = ["SqlStateStore"]
