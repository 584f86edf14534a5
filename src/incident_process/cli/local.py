"""The commands for trying things out: receiver and demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from incident_process.cli.output import emit, emit_pairs
from incident_process.errors import ConfigurationError


def receiver(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any free one.")] = 8000,
    database: Annotated[Path, typer.Option(help="SQLite file for what is accepted.")] = Path("receiver.db"),
    faults: Annotated[
        str, typer.Option(help='What to do wrong, as JSON: {"latency_ms": 20, "fail_rate": 0.1}.')
    ] = "{}",
    export: Annotated[
        Path | None, typer.Option(help="Write what was accepted as JSON lines and end; - is stdout.")
    ] = None,
    bodies: Annotated[bool, typer.Option(help="With --export: include the bodies, which are personal data.")] = True,
    summary: Annotated[bool, typer.Option("--summary", help="Print what was accepted and answered, and end.")] = False,
) -> int:
    """Run a local receiver that keeps the contract, or print what it has accepted.

    201 for a new incident, 409 for a known Incident_Id, 422 with what is wrong. POST /_control changes its faults
    while it runs. Example: incident-process receiver --port 8000 --database receiver.db
    """
    import msgspec

    import incident_process.receiver as service
    from incident_process.receiver.faults import changed

    if summary:
        emit_pairs(service.summary(database))
        return 0
    if export is not None:
        if str(export) == "-":
            service.export(database, sys.stdout, bodies=bodies)
        else:
            try:
                with export.open("w", encoding="utf-8") as out:
                    service.export(database, out, bodies=bodies)
            except OSError as exc:
                msg = f"--export {export} cannot be written ({exc.strerror}): name a file where you may write."
                raise ConfigurationError(msg) from exc
        return 0
    try:
        chosen = changed(service.Faults(), msgspec.json.decode(faults, type=dict[str, object]))
    except msgspec.DecodeError as exc:
        msg = f'--faults is no JSON object: write it like {{"latency_ms": 20}} ({exc}).'
        raise typer.BadParameter(msg) from exc
    service.serve(host, port, database, chosen, _listening)
    return 0


def _listening(url: str) -> None:
    """Say where the receiver answers, at once also to a pipe: whoever started it waits for this line."""
    emit(f"Listening: {url}")
    sys.stdout.flush()


def demo(
    folder: Annotated[Path | None, typer.Option(help="Keep source, state and receiver's file in this folder.")] = None,
    accounts: Annotated[int, typer.Option(min=10, max=100_000, help="How many synthetic accounts.")] = 2_000,
) -> int:
    """Show the whole story on embedded parts with synthetic data: new, late and equal rows, a crash, a comparison.

    Example: incident-process demo
    """
    from incident_process.demo.story import tell

    return tell(folder, accounts)
