"""Sends the alerts, each address in a process of its own. The addresses hold tokens: nothing logs them."""

import asyncio
import json
import os
from collections.abc import Sequence
from subprocess import DEVNULL, PIPE

from incident_process.core import safe_path
from incident_process.core.logs import event, get_logger
from incident_process.observability.alert_process import TAKEN, UNKNOWN

log = get_logger()

SECONDS = 30
"""Seconds that sending one message may take, over all addresses."""


async def send(addresses: Sequence[str], title: str, text: str, *, good: bool) -> bool:
    """Send one message to all addresses; return True when at least one of them took it.

    A warning names the others by their position: to retry all addresses would send some of them the message twice.
    An address that does not answer within ``SECONDS``, or answers with more than memory holds, has not taken it.

    Args:
        addresses: Apprise URLs.
        title: The subject.
        text: The message, without personal data.
        good: Whether the news is good.
    """
    statuses = await results(addresses, title, text, good=good)
    for place, status in enumerate(statuses, start=1):
        if status == UNKNOWN:
            log.warning(
                "[NOTIFY] urls: address %d is none that Apprise understands; nothing is sent there.",
                place,
                extra=event("alert_address_unknown", place=place),
            )
        elif status != TAKEN:
            log.warning(
                "[NOTIFY] urls: address %d did not take an alert.",
                place,
                extra=event("alert_address_failed", place=place),
            )
    return TAKEN in statuses


async def results(
    addresses: Sequence[str], title: str = "", text: str = "", *, good: bool = True, check: bool = False
) -> list[int | None]:
    """Send one message to all addresses, and return the exit status of each ``alert_process``; None: too late.

    ``check``: send nothing; the status says whether Apprise understands the address.
    """
    message = {"title": title, "text": text, "good": good, "check": check, "seconds": SECONDS + 1}
    return await asyncio.gather(
        *(_status(json.dumps(message | {"address": address}).encode()) for address in addresses)
    )


async def _status(message: bytes) -> int | None:
    """Return the exit status of a process that sends the message, None where it took too long."""
    process = await asyncio.create_subprocess_exec(
        *safe_path.command("incident_process.observability.alert_process"),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # an arena for each thread would use up the address space
    )
    try:
        async with asyncio.timeout(SECONDS):
            await process.communicate(message)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode
