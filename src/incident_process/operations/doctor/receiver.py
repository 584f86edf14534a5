"""Looks at the receiver: whether it can be reached, and what its OpenAPI description asks for."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from incident_process.app.factory import make_transport
from incident_process.core.errors import DeliveryIncompleteError
from incident_process.delivery.endpoint import parse_address
from incident_process.delivery.status_texts import silence_text
from incident_process.document.contract import incident_schema
from incident_process.operations import openapi_drift
from incident_process.operations.doctor.finding import Finding, error, ok, warning
from incident_process.operations.openapi_fetch import descriptions
from incident_process.settings import Settings

CONNECT_SECONDS = 5.0

CONTRACT = "receiver's contract"

MOST_NAMED = 8
"""Properties that a finding names for each kind of difference."""

MOST_LETTERS = 120
"""Characters shown of a name: the description is foreign text."""


async def examine_receiver(settings: Settings) -> list[Finding]:
    """Connect as a run would and hang up: only an incident could show whether the receiver accepts incidents."""
    address = parse_address(settings.api.api_url)
    where = address.place
    try:
        async with make_transport(settings) as transport, asyncio.timeout(CONNECT_SECONDS):
            await transport.connect()
    except ssl.SSLError as exc:
        said = getattr(exc, "verify_message", "") or exc.reason or type(exc).__name__
        finding = f"{where} accepts connections, but no TLS comes about ({said})."
        remedy = "Correct [API] api_url, or name in [API] ca_file the authority that signed the receiver's certificate."
    except (socket.gaierror, UnicodeError) as exc:  # the second: no resolver accepts such a name
        why = exc.strerror if isinstance(exc, socket.gaierror) else "no name of a host has this form"
        finding = f"The name {address.host} does not resolve ({why})."
        remedy = "Correct the host in [API] api_url, or see to the DNS server or /etc/hosts of this host."
    except (OSError, ValueError) as exc:
        fault = type(exc).__name__
        finding = f"{where} {silence_text(fault) or f'does not answer ({fault})'}."
        remedy = "Correct [API] api_url, or see that the receiver runs and can be reached from here."
    else:
        finding = f"{where} accepts connections; path and credentials were not tried."
        accepts = ok("receiver", finding)
        return [accepts, *await _described(settings)]
    return [error("receiver", finding, remedy, DeliveryIncompleteError.exit_status)]


async def _described(settings: Settings) -> list[Finding]:
    """Compare the contract with the receiver's OpenAPI description, where it publishes one."""
    path = urlsplit(settings.api.api_url).path or "/"
    found = await descriptions(settings.api)
    for one in found:
        described = openapi_drift.operation(one.document, path, one.folder)
        if described is not None:
            try:
                differences = openapi_drift.compare(msgspec.json.decode(incident_schema()), described)
            except openapi_drift.TooLargeError:
                return [
                    warning(
                        CONTRACT,
                        f"The receiver's description {one.url} is too large to be compared with the contract.",
                        "Ask the receiver's owner whether it takes what the contract sends.",
                    )
                ]
            return [_drift(one.url, differences)]
    for one in found[:1]:
        if paths := openapi_drift.posts(one.document):
            return [
                warning(
                    CONTRACT,
                    f"The receiver's description {one.url} has no POST to {path}; it has {_listed(paths)}.",
                    "Correct [API] api_url, unless that describes another service.",
                )
            ]
    return []


def _drift(url: str, differences: openapi_drift.Differences) -> Finding:
    """Tell how the contract and the description at this address differ."""
    if not differences:
        agrees = f"The receiver's description {url} asks for what the contract sends."
        return ok(CONTRACT, agrees)
    said = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("required and never sent", differences.required),
            ("of another type", differences.of_type),
            ("sent and not allowed", differences.refused),
            ("sent and missing there", differences.missing),
            ("unknown here and optional", differences.unknown),
        )
        if names
    ]
    if differences.rejections:
        remedy = "by the description, it rejects such incidents."
    elif differences.missing:
        remedy = "by the description, it takes such incidents and drops a part."
    else:
        return ok(CONTRACT, f"The receiver's description {url} asks for what the contract sends. {'; '.join(said)}.")
    return warning(
        CONTRACT,
        f"The receiver's description {url} differs from the contract. {'; '.join(said)}.",
        f"Ask the receiver's owner which of the two applies: {remedy}",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…" for name in names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
