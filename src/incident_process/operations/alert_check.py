"""Checks the addresses that alerts go to, and sends a test alert to them if asked to (SPEC 7)."""

import socket

from incident_process.core.errors import ConfigurationError, DeliveryIncompleteError
from incident_process.observability.alert_process import TAKEN, UNKNOWN
from incident_process.observability.alert_sending import results
from incident_process.operations.doctor.finding import Finding, Level, error, ok, warning
from incident_process.settings import Settings

REMEDY = "Correct [NOTIFY] urls: https://appriseit.com lists the forms of addresses."


async def examine_alerts(settings: Settings, *, send: bool) -> list[Finding]:
    """Tell of each address whether Apprise understands it, and with ``send`` whether it takes a test alert."""
    addresses = [address.get_secret_value() for address in settings.notify.urls]
    if not addresses:
        finding = "[NOTIFY] urls is not set, so no alert is sent."
        return [warning("alerts", finding, REMEDY)] if send else []
    title = f"Test: an alert of incident-process ({settings.process.operation_name})"
    text = f"Nothing is wrong: an operator is testing whether alerts arrive. Host: {socket.gethostname()}"
    statuses = await results(addresses, title, text, check=not send)
    return [_finding(place, status, send=send) for place, status in enumerate(statuses, start=1)]


def _finding(place: int, status: int | None, *, send: bool) -> Finding:
    name = f"Address {place} of [NOTIFY] urls"
    if status == UNKNOWN:
        return Finding(
            subject="alerts",
            level=Level.ERROR if send else Level.WARNING,  # a run goes on without its alerts
            finding=f"{name} is none that Apprise understands.",
            remedy=REMEDY,
            exit_status=ConfigurationError.exit_status,
        )
    if status == TAKEN:
        did = "took the test alert" if send else "is understood; nothing was sent there (--test-alert sends one)"
        return ok("alerts", f"{name} {did}.")
    if not send:
        return warning(
            "alerts",
            f"{name} could not be checked: Apprise, here, had too little time or memory or was ended.",
            "Nothing was sent there. Try again when this host has less to do.",
        )
    return error(
        "alerts",
        f"{name} did not take the test alert.",
        "See that its server can be reached from here, and that its user, password or token are right.",
        DeliveryIncompleteError.exit_status,
    )
