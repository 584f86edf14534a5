"""The commands that only read: status, history, deliveries, preview."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from incident_process.cli import streams
from incident_process.cli.options import AsJson, Config, Limit, Since, began_from, level_asked, load
from incident_process.cli.output import COUNTED, emit, emit_json, emit_json_text, emit_pairs, emit_table, is_terminal
from incident_process.core.logs import event, get_logger
from incident_process.core.models import DeliveryStatus

if TYPE_CHECKING:
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it
    from incident_process.state.base import LedgerReader

Result = TypeVar("Result")

RUN_COLUMNS = (
    *("run_id", "kind", "status", "started", "seconds", "accounts", "delivered", "unchanged", "skipped"),
    *("dead", "pending", "error"),
)
RUN_SPARE = ("skipped", "unchanged", "accounts", "seconds", "kind")
"""What a narrow terminal goes without, in this order."""
DELIVERY_COLUMNS = ("incident_id", "account", "status", "attempts", "http_status", "updated", "run_id", "error")
DELIVERY_SPARE = ("run_id", "http_status", "updated")


def status(config: Config = None, as_json: AsJson = False) -> int:
    """Show where the operation stands: watermark, lag, what is due, the last run, the ledger, the lease.

    Example: incident-process status --json
    """
    settings = load(config)
    answer = with_parts(settings, lambda parts: _status(settings, parts))
    place = str(settings.config_path.absolute()) if settings.config_path is not None else None
    answer = {"config": place} | answer
    if as_json:
        emit_json(answer)
        return 0
    answer["config"] = place or "none found, the embedded default applies"
    last = answer.pop("last_run")
    counts = answer.pop("deliveries")  # includes entries that later ones have followed
    if answer["lag_seconds"] is not None:
        answer["lag_seconds"] = int(answer["lag_seconds"])
    answer.pop("gate" if answer["reason"] else "reason")
    answer["deliveries in the ledger"] = counts
    answer["open_dead_letters"] = answer.pop("open_dead_letters")
    answer["last_run"] = _last_run(last) if last else None
    emit_pairs(answer)
    return 0


async def _status(settings: "Settings", parts: Any) -> dict[str, Any]:
    from incident_process.operations import insights
    from incident_process.operations.dead_letters import count_open

    answer = await insights.status(settings, parts.source, parts.store)
    return answer | {"open_dead_letters": await count_open(parts.store)}


def _last_run(run: dict[str, Any]) -> str:
    told = f"{run['run_id']} {run['status']} {run['started']}"
    return f"{told}: {run['error']}" if run["error"] else told


def history(
    ctx: typer.Context,
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", show_default=False, help="Show all of this one run.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
    limit: Limit = 20,
    since: Since = None,
) -> int:
    """Show the runs, newest first; RUN_ID shows all of one run: its window, its rows, who asked for it, and why.

    Example: incident-process history --since yesterday
    """
    from incident_process.operations import insights

    if run_id is not None and (since is not None or _is_given(ctx, "limit")):
        raise typer.BadParameter("RUN_ID shows one run: leave out --since and --limit.")
    settings = load(config)
    first = began_from(since, settings.process.zone)
    if run_id is not None:
        one = with_store(settings, lambda store: insights.run(store, run_id))
        if one is None:
            raise typer.BadParameter(f"the state knows no run {run_id!r}: 'incident-process history' lists them.")
        (emit_json if as_json else emit_pairs)(one)
        return 0
    counted = 0 if as_json or not is_terminal() else COUNTED
    runs = with_store(settings, lambda store: insights.history(store, limit=limit + counted))
    runs = _begun(runs, "started", first)
    if as_json:
        emit_json(runs)
    else:
        empty = "No run yet." if first is None else "No run that fits."
        emit_table(runs, RUN_COLUMNS, empty, limit, RUN_SPARE, note=_request)
    return 0


def _request(run: Mapping[str, Any]) -> str | None:
    """Return who asked for a run and why, None where nobody said."""
    who = f"by {run['requested_by']}" if run["requested_by"] else ""
    return ": ".join(part for part in (who, run["why"]) if part) or None


def deliveries(
    config: Config = None,
    as_json: AsJson = False,
    account: Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only this account.")] = None,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only this status.")] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID",
            help="Only incidents that this run, by its run_id, wrote; what it resumed stands under the run that wrote "
            "it (`resumed` in its record).",
        ),
    ] = None,
    limit: Limit = 100,
    since: Since = None,
) -> int:
    """Show the ledger, newest incident first.

    On a terminal, --status pending lists what was attempted, and says how many were not yet.
    Example: incident-process deliveries --account 0000003746
    """
    from incident_process.operations import insights

    settings = load(config)
    first = began_from(since, settings.process.zone)
    for_program = as_json or not is_terminal()
    most = limit if for_program else limit + COUNTED
    untried: list[dict[str, Any]] = []
    if status is DeliveryStatus.PENDING and account is None and not for_program:
        found, untried = with_store(settings, lambda store: insights.pending(store, run_id=run, limit=most))
    else:
        found = with_store(settings, lambda store: _deliveries(store, account, status, run, most))
    found, untried = (_begun(rows, "created", first) for rows in (found, untried))
    if as_json:
        emit_json(found)
        return 0
    if found or not untried:
        emit_table(found, DELIVERY_COLUMNS, "No delivery that fits.", limit, DELIVERY_SPARE)
    if untried:
        more = "more than " if len(untried) == insights.MOST_COUNTED else ""
        emit(f"{more}{len(untried)} not tried yet")
    return 0


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _begun(rows: list[dict[str, Any]], name: str, first: datetime | None) -> list[dict[str, Any]]:
    """Return the rows, which begin with the newest, of that time and later; None: all."""
    return [row for row in rows if first is None or datetime.fromisoformat(row[name]) >= first]


async def _deliveries(
    store: "LedgerReader", account: str | None, status: DeliveryStatus | None, run: str | None, limit: int
) -> list[dict[str, Any]]:
    from incident_process.operations import insights

    found = await insights.deliveries(store, account=account, status=status, run_id=run, limit=limit)
    if not found:
        await hint_at_spelling(store, account)
    return found


async def hint_at_spelling(store: "LedgerReader", account: str | None) -> None:
    """Log the account of the ledger that has this number with other leading zeros, if there is one."""
    from incident_process.operations import insights

    other = await insights.known_spelling(store, account) if account else None
    if other is not None:
        get_logger().info("No entry of account %s: did you mean %s?", account, other, extra=event("account_unknown"))


def preview(
    config: Config = None,
    as_json: AsJson = False,
    account: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="The document of this account instead of a window's.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many documents; without it, all.")
    ] = None,
) -> int:
    """Show the documents that a run would build and send now, or that of one account. Nothing is sent.

    They are shown as they would be sent, personal data included; with --json as one array, with --account as one
    object. What waits in the outbox is counted. Example: incident-process preview --account 0000003746
    """
    settings = load(config)
    if account is not None:
        with_parts(settings, lambda parts: _preview_account(settings, parts, account))
    else:
        with_parts(settings, lambda parts: _preview_window(settings, parts, as_json=as_json, limit=limit))
    return 0


def doctor(
    config: Config = None,
    as_json: AsJson = False,
    answers: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Look at nothing but this file of recorded answers, as `curl -i` prints them: say of each what a run "
            "would make of it, and by which rule of [API].",
        ),
    ] = None,
    test_alert: Annotated[
        bool, typer.Option("--test-alert", help="Send a test alert to each address of [NOTIFY] urls, too.")
    ] = False,
) -> int:
    """Look at everything that a run depends on: connections, privileges, indexes, types, clocks, rows, alerts.

    No incident is sent. Each finding comes with its remedy; -q leaves out what is well. The exit status is the one that
    a run would end with, or with --test-alert 2 or 4 where only an address did not take its alert.
    Example: incident-process doctor
    """
    if answers is not None:
        return _judge_answers(answers, config, as_json=as_json)
    from incident_process.app.runner import in_loop
    from incident_process.operations.alert_check import examine_alerts
    from incident_process.operations.doctor import Level, examine, examine_installation

    settings = load(config, warns=False)
    findings = in_loop(examine(settings)) + in_loop(examine_alerts(settings, send=test_alert)) + examine_installation()
    if as_json:
        emit_json(findings)
    for finding in findings if not as_json else ():
        if finding.level is Level.OK and level_asked.get() == "WARNING":
            continue
        emit(f"{finding.level.value.upper():<8}{finding.subject}: {finding.finding}")
        if finding.remedy:
            emit(f"{'':<8}Remedy: {finding.remedy}")
    # The findings are in the order of a run's checks: a run would end with the first error.
    return next((finding.exit_status for finding in findings if finding.level is Level.ERROR), 0)


def _judge_answers(file: Path, config: Path | None, *, as_json: bool) -> int:
    from incident_process.operations.recorded_answers import judged
    from incident_process.settings import Api, Settings

    found = judged(file, Settings.load_section(Api, config))
    if as_json:
        emit_json(found)
        return 0
    for answer in found:
        emit(f"answer {answer.place}: {answer.reason}")
        emit(f"  {answer.rule or 'no rule fits'} -> {answer.meaning}")
    return 0


async def _preview_account(settings: "Settings", parts: Any, account: str) -> None:
    from incident_process.operations.preview import known_spelling, preview_account

    found = await preview_account(settings, parts.source, account)
    if found is None:
        other = await known_spelling(parts.source, account)
        hint = f": did you mean {other}?" if other else "."
        raise typer.BadParameter(f"account {account!r} has no row in the source as of now less the time gap{hint}")
    if found.document is None:
        emit_json({"account": found.account, "outcome": found.outcome, "error": found.error})
    else:
        emit_json(found.document)


async def _preview_window(settings: "Settings", parts: Any, *, as_json: bool, limit: int | None) -> None:
    from incident_process.operations.preview import preview_window

    log = get_logger()
    shown = 0
    async for item in preview_window(settings, parts.source, parts.store):
        if item.document is None:
            log.info(
                f"Account {item.account} would be {item.outcome}: {item.error}.",
                extra=event("account_unsendable", outcome=item.outcome),
            )
            continue
        if as_json:
            emit_json_text(("," if shown else "[") + msgspec.json.encode(item.document).decode())
        else:
            emit_json(item.document)
        shown += 1
        if shown == limit or streams.fault():  # with a broken stdout, a million more documents would be in vain
            break
    if as_json:
        emit_json_text("]" if shown else "[]")
    elif not shown:
        log.info("A run would build no new document now.", extra=event("nothing_to_preview"))


def with_parts(settings: "Settings", work: Callable[[Any], Awaitable[Result]]) -> Result:
    """Return what ``work`` returns for the opened parts; close them."""
    from incident_process.app.factory import open_parts
    from incident_process.app.runner import in_loop

    async def opened() -> Result:
        async with open_parts(settings) as parts:
            return await work(parts)

    return in_loop(opened())


def with_store(settings: "Settings", work: "Callable[[LedgerReader], Awaitable[Result]]") -> Result:
    """Return what ``work`` returns for the opened state store; close it."""
    from incident_process.app.factory import make_store
    from incident_process.app.runner import in_loop

    async def opened() -> Result:
        async with make_store(settings) as store:
            await store.require()
            return await work(store)

    return in_loop(opened())
