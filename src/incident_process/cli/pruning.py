"""The command that deletes what is no longer needed: prune."""

from typing import TYPE_CHECKING, Annotated

import typer

from incident_process.cli.options import AsJson, Config, load
from incident_process.cli.output import emit, emit_json, emit_pairs
from incident_process.core.arguments import age
from incident_process.core.models import iso

if TYPE_CHECKING:
    from datetime import timedelta

    from incident_process.operations.prune import Pruned
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Only what is older: days or hours, as 90d or 36h.")],
    config: Config = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be deleted; delete nothing.")] = False,
) -> int:
    """Delete old runs, and deliveries that later ones of their accounts have superseded; runs may be at work.

    Never what decides whether an account is sent again. The act stands in history. Not before every program of 0.1.0
    on this state has ended: it does not know what prune leaves behind. Example:
    incident-process prune --older-than 90d --dry-run
    """
    from incident_process.app.runner import in_loop
    from incident_process.operations.prune import KEPT, require_age

    try:
        length = age(older_than, "--older-than")
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.") from None
    settings = load(config)
    require_age(length, settings)
    done = in_loop(_prune(settings, length, dry_run=dry_run))
    if as_json:
        emit_json(done)
        return 0
    emit(f"{'Would delete' if dry_run else 'Deleted'} what is older than {iso(done.older_than)}:")
    emit_pairs(
        {f"superseded deliveries ({status.value})": count for status, count in done.deliveries.items()}
        | {"runs": done.runs}
    )
    if done.bytes_before is not None:
        after = "" if done.bytes_after is None else f"; before, {done.bytes_before:,}"
        emit(f"The state takes {done.bytes_before if done.bytes_after is None else done.bytes_after:,} bytes{after}.")
    if done.not_reclaimed is not None:
        emit(f"No space was given back: {done.not_reclaimed}.")
    emit(KEPT)
    return 0


async def _prune(settings: "Settings", length: "timedelta", *, dry_run: bool) -> "Pruned":
    from incident_process.app.factory import make_source, make_store
    from incident_process.operations.prune import Prune

    operation = settings.process.operation_name
    async with make_source(settings) as source, make_store(settings) as store:
        await store.require()
        return await Prune(store, operation, await source.now(), length, dry_run=dry_run).make()
