"""The commands about the state itself: to which receiver it delivers, and what its operation is called."""

from typing import TYPE_CHECKING, Annotated

import typer

from incident_process.cli.options import AsJson, Config, load
from incident_process.cli.output import emit, emit_json, emit_pairs
from incident_process.errors import ConfigurationError

if TYPE_CHECKING:
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it
    from incident_process.state.contract import StateStore

state = typer.Typer(
    help="The state itself: its receiver, its operation's name. Example: incident-process state receiver",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@state.command("receiver")
def receiver(
    config: Config = None,
    as_json: AsJson = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="From now on what the state knows as delivered counts as delivered to api_url."),
    ] = False,
) -> int:
    """Show to which receiver the state has delivered, and whether [API] api_url leads to it; nothing is sent.

    With --accept the configured address takes its place: the same receiver under another address, or one that has got
    everything already. Example: incident-process state receiver --accept
    """
    from incident_process.delivery.address import receiver_place
    from incident_process.engine.local import in_loop

    settings = load(config)
    configured = receiver_place(settings.api.api_url)
    noted = in_loop(_receiver(settings, configured if accept else None))
    same = noted in {None, configured}
    if as_json:
        emit_json({"delivered_to": noted, "configured": configured, "same": same})
    else:
        emit_pairs({"delivered to": noted, "configured": configured})
    return 0 if same else ConfigurationError.exit_status


async def _receiver(settings: "Settings", accepted: str | None) -> str | None:
    """Return the receiver that the state notes, once the accepted one is noted in its place."""
    import msgspec

    from incident_process.engine.compose import make_store
    from incident_process.pipeline.keeper import leased

    async with make_store(settings) as store:
        await store.require()
        known = await store.identity()
        if accepted is None:
            return known.receiver if known is not None else None
        if known is None:
            msg = f"The state knows no operation '{settings.process.operation_name}': correct [PROCESS] operation_name."
            raise ConfigurationError(msg)
        async with leased(store, settings.process.lease_seconds) as keeper:
            await store.write_identity(keeper.lease, msgspec.structs.replace(known, receiver=accepted))
        return accepted


@state.command("rename")
def rename(
    old: Annotated[str, typer.Argument(help="The operation's name in the state.")],
    new: Annotated[str, typer.Argument(help="The name that it is to have.")],
    config: Config = None,
) -> int:
    """Give an operation another name: watermark, ledger, outbox, runs and idempotency keys stay what they are.

    Nobody may be at work. Afterwards [PROCESS] operation_name has to say the new name. Example:
    incident-process state rename "Incident extraction" "Incident extraction from data lake"
    """
    from incident_process.engine.local import in_loop

    if not new.strip() or new != new.strip() or len(new) > MAX_NAME:
        msg = f"the new name has to have 1 to {MAX_NAME} characters, without blanks around it."
        raise typer.BadParameter(msg)
    if old == new:
        msg = "the new name is the old one: give another."
        raise typer.BadParameter(msg)
    settings = load(config)
    in_loop(_rename(settings, old, new))
    emit(f"Operation '{old}' is called '{new}' now; watermark, ledger and keys are as they were.")
    if settings.process.operation_name != new:
        emit(f"Set [PROCESS] operation_name = {new} before the next run.")
    return 0


MAX_NAME = 255
"""Characters of ``Operation_name`` in the team's table."""


async def _rename(settings: "Settings", old: str, new: str) -> None:
    from incident_process.engine.compose import make_store
    from incident_process.pipeline.keeper import leased

    async with make_store(settings, old) as store:
        await store.require()
        known = {item.operation: item for item in await store.operations()}
        is_begun = new in known and known[new].renaming == old  # and was cut off
        if not is_begun and old not in known and await store.read_operation() is None:
            raise ConfigurationError(await _no_such(store, old))
        async with leased(store, settings.process.lease_seconds) as keeper:
            await store.rename(keeper.lease, new)


async def _no_such(store: "StateStore", name: str) -> str:
    from incident_process.pipeline.recognition import nearest_names

    names = {item.operation for item in await store.operations()} | set(await store.tracked())
    known = ", ".join(repr(other) for other in nearest_names(name, names)) or "none"
    return f"The state knows no operation '{name}' (it knows: {known}): give the name as it stands there."
