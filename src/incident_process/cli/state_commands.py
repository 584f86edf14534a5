"""The commands about the state itself: its receiver, its operation's name, copies of it."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incident_process.cli.options import AsJson, Config, load
from incident_process.cli.output import emit, emit_json, emit_pairs
from incident_process.cli.reading import with_store
from incident_process.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from incident_process.core.models import Identity, Lease
    from incident_process.operations.state_copy import Copied
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it
    from incident_process.state.base import LedgerReader, StateStore

state = typer.Typer(
    help="The state itself: its receiver, its operation's name, copies. Example: incident-process state receiver",
    no_args_is_help=True,
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
    from incident_process.app.runner import in_loop
    from incident_process.delivery.endpoint import receiver_place

    settings = load(config)
    configured = receiver_place(settings.api.api_url)
    if accept:
        in_loop(_note(settings, receiver=configured))
    known = with_store(settings, lambda store: store.identity())
    noted = known.receiver if known is not None else None
    same = noted in {None, configured}
    if as_json:
        emit_json({"delivered_to": noted, "configured": configured, "same": same})
    else:
        emit_pairs({"delivered to": noted, "configured": configured})
    return 0 if same else ConfigurationError.exit_status


async def _note(settings: "Settings", **changed: str | None) -> None:
    """Change what the state knows of the operation."""
    import msgspec

    from incident_process.app.factory import make_store

    async with make_store(settings) as store:
        await store.require()
        async with _held(store, settings) as (lease, identity):
            await store.write_identity(lease, msgspec.structs.replace(identity, **changed))


@asynccontextmanager
async def _held(store: "StateStore", settings: "Settings") -> "AsyncIterator[tuple[Lease, Identity]]":
    """Hold the lease of an operation; yield it and what is known of the operation, read once no other can change it."""
    from incident_process.pipeline.lease import hold_lease

    name = settings.process.operation_name
    if await store.identity() is None:  # the lease would leave a trace of a name that was mistyped
        raise ConfigurationError(await _no_such(store, name))
    async with hold_lease(store, settings.process.lease_seconds) as heartbeat:
        identity = await store.identity()
        if identity is None:  # renamed meanwhile
            raise ConfigurationError(await _no_such(store, name))
        yield heartbeat.lease, identity


@state.command("rename")
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD_NAME", help="The operation's name in the state.")],
    new: Annotated[str, typer.Argument(metavar="NEW_NAME", help="The name that it is to have.")],
    config: Config = None,
) -> int:
    """Give an operation another name: watermark, ledger, outbox, runs and idempotency keys stay what they are.

    Nobody may be at work. Afterwards [PROCESS] operation_name has to say the new name. Example:
    incident-process state rename "Incident extraction" "Incident extraction from data lake"
    """
    from incident_process.app.runner import in_loop

    if not new.strip() or new != new.strip() or len(new) > MAX_NAME:
        raise typer.BadParameter(f"the new name has to have 1 to {MAX_NAME} characters, without blanks around it.")
    if old == new:
        raise typer.BadParameter("the new name is the old one: give another.")
    settings = load(config)
    in_loop(_rename(settings, old, new))
    emit(f"Operation '{old}' is called '{new}' now; watermark, ledger and keys are as they were.")
    if settings.process.operation_name != new:
        emit(f"Set [PROCESS] operation_name = {new} before the next run.")
    return 0


MAX_NAME = 255
"""Characters that ``Operation_name`` in the team's table has room for."""


async def _rename(settings: "Settings", old: str, new: str) -> None:
    from incident_process.app.factory import make_store
    from incident_process.pipeline.lease import hold_lease

    async with make_store(settings, old) as store:
        await store.require()
        known = {item.operation: item for item in await store.operations()}
        is_begun = new in known and known[new].renaming == old  # and was cut off
        if not is_begun and old not in known and await store.read_operation() is None:
            raise ConfigurationError(await _no_such(store, old))
        async with hold_lease(store, settings.process.lease_seconds) as heartbeat:
            await store.rename(heartbeat.lease, new)


async def _no_such(store: "LedgerReader", name: str) -> str:
    from incident_process.pipeline.operation_check import nearest_names

    names = {item.operation for item in await store.operations()} | set(await store.tracked())
    known = ", ".join(repr(other) for other in nearest_names(name, names)) or "none"
    return f"The state knows no operation '{name}' (it knows: {known}): give the name as it stands there."


@state.command("copy")
def copy(
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="mysql://user:password@host:3306/database, sqlite:///file or mongodb://host:27017/database.",
        ),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go on with this state after all; the copy is not used.")
    ] = False,
) -> int:
    """Copy the operation's state to an empty database of any kind, and compare; nobody may be at work.

    Afterwards this state refuses runs, and the configuration has to name the copy: nothing is sent again. Example:
    incident-process state copy --to mysql://user:password@host:3306/incident_state
    """
    from incident_process.app.runner import in_loop

    if (to is None) != undo:
        raise typer.BadParameter("give --to with the address of an empty database, or --undo.")
    settings = load(config)
    if to is None:
        in_loop(_note(settings, moved_to=None))
        emit("This state is the operation's again.")
        return 0
    copied, place = in_loop(_copy(settings, to))
    if as_json:
        emit_json(copied)
        return 0
    emit(f"Copied to {place}, and compared:")
    emit_pairs({"deliveries": copied.deliveries, "pending": copied.pending, "runs": copied.runs})
    emit("Let the configuration name it now: [PROCESS] tracking, and [STATE] url or [MONGODB].")
    return 0


async def _copy(settings: "Settings", to: str) -> "tuple[Copied, str]":
    import msgspec

    from incident_process.app.factory import make_store, make_store_at
    from incident_process.operations.state_copy import Copy, require_empty
    from incident_process.pipeline.lease import hold_lease

    process = settings.process
    target, place = make_store_at(to, settings)
    async with make_store(settings) as source, target:
        await source.require()
        await target.require()
        async with _held(source, settings) as (lease, identity):
            if identity.renaming is not None or identity.moved_to is not None:
                raise ConfigurationError(
                    "This state was copied elsewhere, or is being renamed: copy the one that runs use."
                )
            has_runs = bool(await target.runs(limit=1) or await target.deliveries(limit=1))
            require_empty(await target.identity(), has_runs, await target.read_operation())
            async with hold_lease(target, process.lease_seconds) as held:
                parts = ((source, lease), (target, held.lease))
                copied = await Copy(*parts, identity, process.execution_duration).make()
                await source.write_identity(lease, msgspec.structs.replace(identity, moved_to=place))
    return copied, place


@state.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")],
    config: Config = None,
    as_json: AsJson = False,
) -> int:
    """Copy a state in SQLite to a file of mode 0600, at one instant, also while runs are at work.

    Example: incident-process state backup copy.db
    """
    from incident_process.database.file_connection import back_up
    from incident_process.settings.database_urls import SqliteTarget

    settings = load(config)
    target = settings.state_target if settings.process.tracking == "sql" else None
    if not isinstance(target, SqliteTarget):
        raise ConfigurationError(
            "The state is not in SQLite: copy it with mysqldump --single-transaction or mongodump."
        )
    size = back_up(target.path, file)
    if as_json:
        emit_json({"file": str(file), "bytes": size})
    else:
        emit(f"Wrote {file}, {size} bytes, checked.")
    return 0
