"""The commands that repair: backfill, dead-letters, reconcile."""

import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incident_process.cli.options import TIMES, AsJson, Config, ListLimit, load, moment
from incident_process.cli.output import (
    SHOWN,
    JsonListing,
    emit,
    emit_json,
    emit_json_line,
    emit_left_out,
    emit_pairs,
    emit_table,
    is_terminal,
)
from incident_process.cli.reading import hint_at_spelling, with_store
from incident_process.cli.running import report_run
from incident_process.core.arguments import kept_reason
from incident_process.core.errors import ConfigurationError, DeliveryIncompleteError, IncidentProcessError
from incident_process.core.logs import event, get_logger, one_line
from incident_process.core.models import INTERRUPTED, DeliveryStatus, RunReport, RunRequest
from incident_process.core.process_identity import user_name

if TYPE_CHECKING:
    from incident_process.observability.listeners import Progress
    from incident_process.operations.reconcile import AccountFinding, Reconciliation
    from incident_process.settings import Settings  # heavy: loaded by the command that needs it
    from incident_process.state.base import LedgerReader

Account = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only this account.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only where the reason holds this text.")]

ALWAYS_SHOWN = ("accounts", "in_order")
"""Totals that ``reconcile`` prints even where they are 0."""

dead_letters = typer.Typer(
    help="List, replay and export dead letters. Example: incident-process dead-letters list",
    no_args_is_help=True,
)


def backfill(
    first: Annotated[str, typer.Option("--from", metavar="TIME", help=f"Oldest LOAD_DATE: {TIMES}.")],
    last: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Newest LOAD_DATE, included; a day alone means all of it.")
    ],
    config: Config = None,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Send unchanged accounts too.")] = False,
) -> int:
    """Send the accounts that have rows in a past range, where they differ from what was delivered last.

    The watermark is not touched. Times without a zone are in source_timezone. Example:
    incident-process backfill --from 2026-01-01 --to yesterday
    """
    from incident_process.app.runner import run_leased
    from incident_process.pipeline.context import Parts
    from incident_process.pipeline.plans import backfill as make
    from incident_process.pipeline.run import Run

    def work(settings: "Settings", progress: "Progress | None") -> RunReport:
        zone = settings.process.zone

        def span(now: datetime | None) -> tuple[datetime, datetime]:
            begin = moment(first, "--from", zone, now=now)
            end = moment(last, "--to", zone, now=now, whole_day=True)
            if begin > end:
                raise typer.BadParameter("--from is later than --to: give the older time first.")
            return begin, end

        async def made(parts: Parts) -> Run:
            begin, end = span(await parts.source.now())
            return Run(parts, make(parts, begin, end, force=force))

        span(None)  # what is no time at all is refused before anything is opened
        return run_leased(settings, made, progress=progress)

    return report_run(config, work, as_json=as_json)


@dead_letters.command("list")
def list_(
    config: Config = None,
    as_json: AsJson = False,
    account: Account = None,
    reason: Reason = None,
    limit: ListLimit = None,
) -> int:
    """Show the open dead letters, newest first.

    Example: incident-process dead-letters list --reason "HTTP 422"
    """
    found = _open_dead_letters(load(config), account, reason)
    most = _most(limit, as_json=as_json)
    if as_json:
        emit_json(found[:most])
    else:
        columns = ("incident_id", "account", "attempts", "http_status", "updated", "error")
        emit_table(found, columns, "No dead letter.", most)
    return 0


@dead_letters.command("replay")
def replay(
    config: Config = None,
    as_json: AsJson = False,
    account: Account = None,
    reason: Reason = None,
    why: Annotated[
        str | None, typer.Option("--why", metavar="TEXT", help="Why, for auditors: it stands in the run's record.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Leave what earlier runs left pending, which otherwise goes out first.")
    ] = False,
) -> int:
    """Send the open dead letters again, built from their present rows; who did, and why, stands in the run's record.

    What earlier runs left pending goes out first, unless --only says otherwise. Example:
    incident-process dead-letters replay --account 0000003746 --why "ticket 4711: number corrected"
    """
    from incident_process.app.runner import run_leased
    from incident_process.operations.dead_letters import open_dead_letters
    from incident_process.pipeline.context import Parts
    from incident_process.pipeline.plans import replay as make
    from incident_process.pipeline.run import Run

    async def made(parts: Parts) -> Run:
        found = await open_dead_letters(parts.store, account=account, reason=reason)
        if not found:
            hint = " --reason selects; your own reason goes into --why." if reason is not None else ""
            get_logger().info("No open dead letter fits.%s", hint, extra=event("no_dead_letter"))
            await hint_at_spelling(parts.store, account)
        pending = (await parts.store.delivery_counts())[DeliveryStatus.PENDING]
        chosen_none = not found and (account is not None or reason is not None)  # a typing error must send nothing
        leaves = only or chosen_none or (pending > 0 and not as_json and _leaves_pending(len(found), pending))
        if pending:
            get_logger().info(
                "%d dead letter(s) are replayed, and %d pending incident(s) %s.",
                len(found),
                pending,
                "stay pending" if leaves else "go out first",
                extra=event("replay_planned", dead_letters=len(found), pending=pending, only=leaves),
            )
        request = RunRequest(requested_by=user_name(), why=kept_reason(why))
        return Run(parts, make(parts, [entry.account for entry in found], request=request, only=leaves))

    return report_run(config, lambda settings, progress: run_leased(settings, made, progress=progress), as_json=as_json)


@dead_letters.command("export")
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="File for the JSON lines; - is stdout.")] = Path("-"),
    config: Config = None,
    as_json: AsJson = False,
    account: Account = None,
    reason: Reason = None,
) -> int:
    """Write the open dead letters as JSON lines: ids, accounts, reasons; no document.

    Example: incident-process dead-letters export --out dead-letters.jsonl
    """
    found = _open_dead_letters(load(config), account, reason)
    if str(out) == "-":
        for entry in found:
            emit_json_line(entry)
        return 0
    import msgspec

    from incident_process.core.safe_files import private_opener, writing

    with writing(f"--out {out}"), open(out, "wb", opener=private_opener) as file:
        file.writelines(msgspec.json.encode(entry) + b"\n" for entry in found)
    if as_json:
        emit_json({"written": len(found), "out": str(out)})
    else:
        emit(f"Wrote {len(found)} dead letter(s) to {out}.")
    return 0


def reconcile(
    config: Config = None,
    as_json: AsJson = False,
    repair: Annotated[bool, typer.Option("--repair", help="Send what is missing or stale.")] = False,
    receiver_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with this export of what the receiver has instead of the ledger."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --receiver-log --repair: do not ask where nearly all accounts differ.")
    ] = False,
    limit: ListLimit = None,
) -> int:
    """Compare every account of the source with the ledger, and name what is missing, stale or surplus.

    With --json one object: "differences", a line each, "run" (the report of what --repair sent), how many accounts
    there are of each kind, and with --repair in "left" how many there are after it (null: not compared again). Exit
    status 4 when something is missing or stale and was not repaired. Example: incident-process reconcile --repair
    """
    from incident_process.app.factory import open_parts
    from incident_process.app.runner import in_loop, run_leased
    from incident_process.delivery.endpoint import receiver_place
    from incident_process.operations.receiver_export import opened
    from incident_process.operations.reconcile import Reconciliation
    from incident_process.pipeline.context import Parts
    from incident_process.pipeline.run import Run
    from incident_process.settings import Settings

    listing = JsonListing("differences") if as_json else None
    passes: list[Reconciliation] = []
    left: Reconciliation | None = None
    ended: list[RunReport] = []
    findings = _Findings(listing, _most(limit, as_json=as_json))

    async def repairing(parts: Parts) -> Run:
        received = held.enter_context(opened(receiver_log))
        if received is not None and not yes:
            before = Reconciliation(parts, lambda _: None, received)
            await before.compare()
            _ask(before.doubt(), receiver_place(parts.settings.api.api_url), may_prompt=listing is None)
        passes.append(Reconciliation(parts, findings.show, received))
        return passes[0].repair()

    async def comparing(settings: "Settings", show: "Callable[[AccountFinding], None]") -> Reconciliation:
        async with open_parts(settings) as parts:
            compared = Reconciliation(parts, show, held.enter_context(opened(receiver_log)))
            await compared.compare()
            return compared

    def repaired(settings: "Settings", progress: "Progress | None") -> RunReport:
        ended.append(run_leased(settings, repairing, progress=progress))
        return ended[-1]

    def reconciled(members: dict[str, Any]) -> int:
        if not repair:
            passes.append(in_loop(comparing(load(config), findings.show)))
            return _told_of(passes[0])
        nonlocal left
        status = report_run(config, repaired, as_json=as_json, show=lambda report: members.update(run=report))
        left = _left(ended[0], passes[0], lambda: in_loop(comparing(Settings.load(config), lambda _: None)))
        return status

    with ExitStack() as held:
        if listing is None:
            status = reconciled({})
            emit_left_out(findings.count, findings.most)
            emit_pairs(_shown_totals(passes[0]) | ({"after the repair": _shown_totals(left)} if left else {}))
            return status
        with listing:
            listing.members["run"] = None
            status = reconciled(listing.members)
            listing.members |= _totals(passes[0]) | ({"left": left and _totals(left)} if repair else {})
        return status


class _Findings:
    """Prints the findings of ``reconcile``, at most ``most`` of them, and counts all."""

    def __init__(self, listing: JsonListing | None, most: int | None) -> None:
        self.most = most
        self.count = 0
        self._listing = listing

    def show(self, finding: "AccountFinding") -> None:
        """Count a finding, and print it unless there were enough."""
        self.count += 1
        if self.most is not None and self.count > self.most:
            return
        if self._listing is None:
            emit(" ".join([f"{finding.difference.value:<8} {finding.account}", *finding.properties]))
        else:
            self._listing.item(finding)


def _left(report: RunReport, first: "Reconciliation", again: "Callable[[], Reconciliation]") -> "Reconciliation | None":
    """Return what another comparison finds after a repair; None where that was stopped or cannot be compared."""
    if (report.message or "").startswith(INTERRUPTED):
        return None  # whoever stopped it waits for its end
    if not first.sendable:
        return first
    try:
        return again()
    except IncidentProcessError as exc:
        get_logger().warning(
            "The repair is done. What is left could not be compared: %s", exc, extra=event("left_unknown")
        )
        return None


def _told_of(compared: "Reconciliation") -> int:
    """Warn of a log that may be another receiver's; return the exit status of a comparison."""
    doubt = compared.doubt()
    if doubt is not None:
        get_logger().warning(
            "%s See that it is the right one before you send anything.", doubt, extra=event("export_doubtful")
        )
    return DeliveryIncompleteError.exit_status if compared.sendable else 0


def _ask(doubt: str | None, receiver: str, *, may_prompt: bool) -> None:
    """Return without a doubt or after a confirmation at the terminal; raise ConfigurationError otherwise."""
    if doubt is None:
        return
    if may_prompt and sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{one_line(doubt)}\n")
        if _confirmed(f"Is this what {receiver} has, and are all of these to be sent to it again?", default=False):
            return
    raise ConfigurationError(
        f"{doubt} Nothing was sent. If this is what {receiver} has, and all of these accounts are to be sent to it "
        "again, say so with --yes."
    )


def _leaves_pending(letters: int, pending: int) -> bool:
    """Ask at a terminal whether to send the chosen dead letters only; elsewhere the pending incidents go out first."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = f"{letters} dead letter(s), and {pending} pending incident(s) that go out first. Send the pending, too?"
    return not _confirmed(question, default=True)


def _confirmed(question: str, *, default: bool) -> bool:
    """Ask at the terminal, inside the event loop, which would only note a Ctrl-C: here it ends the command at once."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, default=default, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None  # no fault of the run, which has not begun: its observers are told nothing
    finally:
        signal.signal(signal.SIGINT, before)


def _shown_totals(reconciliation: "Reconciliation") -> dict[str, int]:
    return {name: count for name, count in _totals(reconciliation).items() if count or name in ALWAYS_SHOWN}


def _totals(reconciliation: "Reconciliation") -> dict[str, int]:
    from incident_process.operations.reconcile import Difference

    counted = reconciliation.totals
    named = {difference.value: counted[difference] for difference in Difference}
    return {"accounts": sum(counted.values()), "in_order": counted[None], **named}


def _open_dead_letters(settings: "Settings", account: str | None, reason: str | None) -> list[dict[str, Any]]:
    from incident_process.operations.dead_letters import open_dead_letters
    from incident_process.operations.insights import delivery_row

    async def read(store: "LedgerReader") -> list[dict[str, Any]]:
        found = await open_dead_letters(store, account=account, reason=reason)
        if not found:
            await hint_at_spelling(store, account)
        return [delivery_row(entry) for entry in found]

    return with_store(settings, read)


def _most(limit: int | None, *, as_json: bool) -> int | None:
    """Return how many lines of a list are printed, None for all."""
    return SHOWN if limit is None and not as_json and is_terminal() else limit
