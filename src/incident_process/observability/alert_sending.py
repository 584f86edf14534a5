"""Sends the alerts through Apprise. Its addresses hold tokens: neither this module nor Apprise logs them."""

import asyncio
import logging
from collections.abc import Sequence

import apprise

from incident_process.core.logs import event, get_logger

log = get_logger()


async def send(addresses: Sequence[str], title: str, text: str, *, good: bool) -> bool:
    """Send one message to all addresses; return True when at least one of them took it.

    A warning names the others by their position: to retry all addresses would send some of them the message twice.

    Args:
        addresses: Apprise URLs.
        title: The subject.
        text: The message, without personal data.
        good: Whether the news is good.
    """
    _quiet()
    asset = apprise.AppriseAsset(app_id="incident-process", app_desc="", app_url="")
    kind = apprise.NotifyType.SUCCESS if good else apprise.NotifyType.FAILURE

    async def tell(place: int, address: str) -> bool:
        sender = apprise.Apprise(asset=asset)
        if not sender.add(address):
            log.warning(
                "[NOTIFY] urls: address %d is none that Apprise understands; nothing is sent there.",
                place,
                extra=event("alert_address_unknown", place=place),
            )
            return False
        # Plain text, so that mail keeps its lines and shows a receiver's words as they are instead of as markup.
        form = apprise.NotifyFormat.TEXT
        if not await sender.async_notify(body=text, title=title, notify_type=kind, body_format=form):
            log.warning(
                "[NOTIFY] urls: address %d did not take an alert.",
                place,
                extra=event("alert_address_failed", place=place),
            )
            return False
        return True

    return any(await asyncio.gather(*(tell(place, address) for place, address in enumerate(addresses, start=1))))


def _quiet() -> None:
    """Keep Apprise and its HTTP library from writing addresses into any log."""
    for name in ("apprise", "urllib3", "requests"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
