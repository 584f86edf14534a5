"""Sends one message to one address through Apprise, in a process of its own with limited memory and time.

The address's server decides how long and how large its answer is, and what Apprise reads of it has no limit. Standard
input holds the message as JSON, with the address: no argument does. The exit status is the result.
"""

import asyncio
import json
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES = 512 << 20
"""Bytes of memory that sending may take."""
TAKEN = 0
FAILED = 10
UNKNOWN = 11
"""Apprise knows no such address."""


def main() -> int:
    """Send the message and return the exit status."""
    message = json.load(sys.stdin)
    signal.alarm(message["seconds"])  # ends this process also where nobody is left who would
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    return asyncio.run(_send(message))


async def _send(message: dict[str, Any]) -> int:
    import apprise

    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="incident-process", app_desc="", app_url=""))
    if not sender.add(message["address"]):
        return UNKNOWN
    if message["check"]:
        return TAKEN
    kind = apprise.NotifyType.SUCCESS if message["good"] else apprise.NotifyType.FAILURE
    # Plain text, so that mail keeps its lines and shows a receiver's words as they are instead of as markup.
    form = apprise.NotifyFormat.TEXT
    taken = await sender.async_notify(body=message["text"], title=message["title"], notify_type=kind, body_format=form)
    return TAKEN if taken else FAILED


if __name__ == "__main__":
    sys.exit(main())
