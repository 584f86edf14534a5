"""Which open transactions of a MySQL or MariaDB source have changed rows, and since when (SPEC 3).

InnoDB renews ``information_schema.innodb_trx`` only when no program has read it for 0.1 s: while another program polls
it more often, the view is frozen and may lack an open load. So the source checks every answer: its query carries a mark
and runs in a transaction, and a view that shows this transaction with this query is fresh. If it is not fresh even
after pauses, the source reads InnoDB's status, which the server makes anew for each query.
"""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta

from incident_process.core.logs import event, get_logger
from incident_process.source.driver import Driver
from incident_process.source.queries import Statement

log = get_logger()

PAUSES = (0.0, 0.12, 0.18)
"""Seconds before each query of the view."""

_VIEW = """
    SELECT '{mark}', CONVERT_TZ(trx_started, 'SYSTEM', '+00:00'), trx_rows_modified > 0,
        trx_mysql_thread_id = CONNECTION_ID() AND LOCATE('{mark}', trx_query) > 0
    FROM information_schema.innodb_trx
    WHERE trx_rows_modified > 0 OR trx_mysql_thread_id = CONNECTION_ID()
    """
"""The view has times in the zone of the server's system, whatever the session's zone."""

_TRUNCATED = "... truncated..."
"""What the server writes into a status of more than 1 MB in place of some transactions."""

_TRANSACTION = re.compile(r"^---TRANSACTION [^\n]*?, ACTIVE (?:\([A-Z ]+\) )?(\d+) sec(.*?)(?=^---|\Z)", re.M | re.S)
_OF_A_CLIENT = re.compile(r"^(?:MySQL|MariaDB) thread id ", re.M)
"""The client's query follows this line, and may contain anything."""


async def open_writers(driver: Driver, now: str) -> list[datetime] | None:
    """Return when each open transaction that has changed rows began at the latest (aware UTC).

    None where the server does not list all of them. ``driver`` is connected, and in no transaction; ``now`` is the
    query for the database's clock in UTC. Raises MissingPrivilegeError where the user lacks the privilege PROCESS.
    """
    async with driver.snapshot():  # a transaction of our own, from its beginning
        for pause in PAUSES:
            await asyncio.sleep(pause)
            rows = await driver.fetch(Statement(sql=_VIEW.format(mark=secrets.token_hex(8))))
            if any(is_this_question for *_, is_this_question in rows):
                return [started.replace(tzinfo=UTC) for _, started, has_changed, _ in rows if has_changed]
    asked_at = (await driver.fetch(Statement(sql=now)))[0][0].replace(tzinfo=UTC)
    ((_, _, status),) = await driver.fetch(Statement(sql="SHOW ENGINE INNODB STATUS"))
    if _TRUNCATED in status:
        log.warning(
            "Another program reads information_schema.innodb_trx of %s more often than every 0.1 s, so that the server "
            "never renews it, and the server's status is too long to be read in its place. Let that program read it "
            "less often.",
            driver.where,
            extra=event("guard_disturbed"),
        )
        return None
    return [asked_at - timedelta(seconds=seconds) for seconds in seconds_open(status)]


def seconds_open(status: str) -> list[int]:
    """Return the age, in seconds, of each transaction in InnoDB's status that has changed rows."""
    return [
        int(seconds)
        for seconds, rest in _TRANSACTION.findall(status)
        if "undo log entries" in _OF_A_CLIENT.split(rest, maxsplit=1)[0]
    ]
