"""The commands for trying things out: receiver and demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from incident_process.cli import streams
from incident_process.cli.options import AsJson, load
from incident_process.cli.output import emit_at_once, emit_json, emit_pairs
from incident_process.core.errors import ConfigurationError

DEFAULT_ADDRESS = ("127.0.0.1", 8000)
"""The host and TCP port of the receiver without options."""


def receiver(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; by default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="PORT", help="TCP port, by default 8000; 0: any free.")
    ] = None,
    database: Annotated[Path, typer.Option(metavar="FILE", help="SQLite file for what is accepted.")] = Path(
        "receiver.db"
    ),
    faults: Annotated[
        str, typer.Option(metavar="JSON", help='What to do wrong, as JSON: {"latency_ms": 20, "fail_rate": 0.1}.')
    ] = "{}",
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was accepted as JSON lines and end; - is stdout.")
    ] = None,
    bodies: Annotated[bool, typer.Option(help="With --export: include the bodies, which are personal data.")] = True,
    summary: Annotated[bool, typer.Option("--summary", help="Print what was accepted and answered, and end.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(readable=False, metavar="FILE", help="Configuration file: listen where its [API] api_url leads."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run a local receiver that keeps the contract, or print what it has accepted.

    201 for a new incident, 409 for a known Incident_Id, 422 with what is wrong. What it does wrong is JSON; POST
    /_control changes it while it runs:

    \b
    slow         latency_ms, jitter_ms
    at random    fail_rate (answers fail_status, with retry_after), drop_rate, reject_before_rate, stall_rate, seed
    the next n   fail_next, drop_next
    by account   fail_accounts: an error status (4xx, 5xx), as a service that fails, with retry_after
                 refuse_accounts: any status with refuse_text, as a business rule that says no
    a share      refuse_share of the accounts, with refuse_status and refuse_text, as business rules do
    a rate       rate_limit a second, rate_kind: second, sliding or bucket (with rate_burst), rate_status 429 or
                 503, rate_retry_after
    a queue      workers, work_ms for each request, queue: places in it
    a proxy      proxy_status 400 for everybody, proxy_body_bytes: 413 beyond it
    keys         honour_keys: a known Idempotency-Key is answered 201 again

    \b
    Two accounts fail from now on, in different ways; DELETE takes all faults away:
      curl 127.0.0.1:8000/_control -d '{"fail_accounts": {"0000000007": 503}, "refuse_accounts": {"0000000008": 422}}'
      curl 127.0.0.1:8000/_control -X DELETE

    Example: incident-process receiver --port 8000 --database receiver.db
    """  # noqa: D301  # the backspace is what keeps the lines below it from being wrapped
    import msgspec

    import incident_process.sandbox.receiver as service
    from incident_process.core.safe_files import private_opener, writing
    from incident_process.sandbox.receiver.faults import with_changes

    if summary:
        (emit_json if as_json else emit_pairs)(service.summary(database))
        return 0
    if export is not None:
        if str(export) == "-":
            streams.use_utf8()
            service.export(database, sys.stdout, bodies=bodies)
        else:
            with writing(f"--export {export}"), open(export, "w", encoding="utf-8", opener=private_opener) as out:
                service.export(database, out, bodies=bodies)
        return 0
    try:
        chosen = with_changes(service.Faults(), msgspec.json.decode(faults, type=dict[str, object]))
    except msgspec.DecodeError as exc:
        raise typer.BadParameter(f'--faults is no JSON object: write it like {{"latency_ms": 20}} ({exc}).') from exc
    default = DEFAULT_ADDRESS if config is None else _api_address(load(config).api.api_url)
    from incident_process.sandbox.receiver.receiver_server import serve

    kept = f"It keeps what it accepts in {database.absolute()}. Ctrl-C ends it."
    port = default[1] if port is None else port
    serve(host or default[0], port, database, chosen, lambda url: emit_at_once(f"Listening: {url}", kept))
    return 0


def _api_address(url: str) -> tuple[str, int]:
    """Return host and port of api_url; raise ConfigurationError for one that does not lead to this receiver."""
    from incident_process.delivery.endpoint import parse_address
    from incident_process.sandbox.receiver import INCIDENT_PATH

    address = parse_address(url)
    if address.tls or address.target != INCIDENT_PATH:
        raise ConfigurationError(
            f"[API] api_url leads elsewhere: this receiver answers http:// at {INCIDENT_PATH} only."
        )
    return address.host, address.port


def demo(
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep source, state and receiver's file in this folder.")
    ] = None,
    accounts: Annotated[
        int, typer.Option(min=10, max=100_000, metavar="N", help="How many synthetic accounts.")
    ] = 2_000,
    config: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Configuration file to check first; the demo's own parts stay apart from it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show the whole story on embedded parts with synthetic data: new, late and equal rows, a crash, a comparison.

    With --json the story goes to stderr. Exit status 1 when something was missed or doubled. Example:
    incident-process demo
    """
    from incident_process.sandbox.demo.story import tell

    if config is not None:
        load(config)
    found = tell(folder, accounts, sys.stderr if as_json else sys.stdout)
    if as_json:
        emit_json(found)
    return 1 if found.differences else 0
