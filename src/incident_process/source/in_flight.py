"""Which open transactions of a MySQL or MariaDB source have changed rows, and since when (SPEC 3).

InnoDB renews ``information_schema.innodb_trx`` only when nobody has read it for 0.1 s: while another program polls it
more often, the view stands still, and an open load is not in it. So every answer is checked. The question is asked
inside of a transaction and carries a mark; where the view shows that transaction with that question, it was made for
it. Where it does not even after pauses, InnoDB's status is read, which is made anew for everybody who asks.
"""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta

from incident_process.core.logs import get_logger
from incident_process.source.driver import Driver
from incident_process.source.queries import Statement

log = get_logger()

PAUSES = (0.0, 0.12, 0.18)
"""Seconds before each look at the view."""

_VIEW = """
    SELECT '{mark}', CONVERT_TZ(trx_started, 'SYSTEM', '+00:00'), trx_rows_modified > 0,
        trx_mysql_thread_id = CONNECTION_ID() AND LOCATE('{mark}', trx_query) > 0
    FROM information_schema.innodb_trx
    WHERE trx_rows_modified > 0 OR trx_mysql_thread_id = CONNECTION_ID()
    """
"""The view tells the time in the zone of the server's system, whatever the session's zone."""

_TRUNCATED = "... truncated..."
"""What the server puts into a status of more than 1 MB, in the place of some of its transactions."""

_TRANSACTION = re.compile(r"^---TRANSACTION [^\n]*?, ACTIVE (?:\([A-Z ]+\) )?(\d+) sec(.*?)(?=^---|\Z)", re.M | re.S)
_OF_A_CLIENT = re.compile(r"^(?:MySQL|MariaDB) thread id ", re.M)
"""After this line follows what the client has asked, which may hold anything."""


async def open_writers(driver: Driver, now: str) -> list[datetime] | None:
    """Return when each open transaction that has changed rows began (aware UTC), at the latest.

    Args:
        driver: Connected, and in no transaction.
        now: The query for the database's clock in UTC.

    Returns:
        None where the server does not tell all of them.

    Raises:
        RefusedError: The user lacks the privilege PROCESS.
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
        )
        return None
    return [asked_at - timedelta(seconds=seconds) for seconds in seconds_open(status)]


def seconds_open(status: str) -> list[int]:
    """Return for how many seconds each transaction of InnoDB's status has been open that has changed rows."""
    return [
        int(seconds)
        for seconds, rest in _TRANSACTION.findall(status)
        if "undo log entries" in _OF_A_CLIENT.split(rest, maxsplit=1)[0]
    ]
