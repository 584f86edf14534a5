"""The story: five runs over data that arrives in every awkward way, then the count (SPEC 7, 10; ``demo``)."""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from types import FrameType
from typing import TextIO
from urllib.parse import urlsplit

from incident_process.sandbox.demo.compare import Comparison, compare
from incident_process.sandbox.demo.data import Population
from incident_process.sandbox.demo.screen import Screen
from incident_process.sandbox.demo.stage import DemoStage, Result, command_line, set_up
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE

_SHOWN_DIFFERENCES = 20  # sentences, at most
_CRASH = "posted:2"
"""The receiver has answered the second chunk, and the state does not know it yet: the worst moment for a crash."""


def tell(folder: Path | None, accounts: int, stream: TextIO) -> Comparison:
    """Tell the whole story and return the comparison of its last step.

    Args:
        folder: The folder for source, state, receiver's file, configuration and logs; it must not hold an earlier
            demo. None: a temporary folder, removed afterwards.
        accounts: Number of synthetic accounts in the history, 10 or more.
        stream: The stream to print to.

    Raises:
        ConfigurationError: The folder cannot be used.
        IncidentProcessError: A command did not do what the story needs; the message has its log's last lines.
    """
    began = time.monotonic()
    place = nullcontext(str(folder)) if folder else tempfile.TemporaryDirectory(prefix="incident-process-demo-")
    with _ending_on_sigterm(), place as name, set_up(Path(name), accounts) as stage:
        screen = Screen(stream)
        story = _Story(stage, screen, accounts)
        story.introduce()
        story.history()
        story.awkward_rows()
        story.nothing_new()
        story.crash()
        story.resume()
        comparison = story.count()
        _what_next(screen, stage, folder, story.example)
    screen.say("")
    screen.say(f"{time.monotonic() - began:.0f} seconds in all.")
    return comparison


class _Story:
    """The steps, in the order in which ``tell`` calls them."""

    def __init__(self, stage: DemoStage, screen: Screen, accounts: int) -> None:
        self._stage = stage
        self._screen = screen
        self._n = accounts
        self._people = Population()
        self._watermark = stage.now()
        self.example = self._people.account(accounts // 5 + 1)
        """The account of the late row."""

    def introduce(self) -> None:
        self._screen.title("Incident processing, from the first run to the audit")
        self._screen.say(
            "Source and state are SQLite files, the receiver is a local process, every run is the real command. "
            "All data is invented."
        )

    def history(self) -> None:
        """Load customers twice and payments twice, some rows repeated, as in the field; then run."""
        self._screen.title("1. First run, over the history")
        now, n, people = self._stage.fresh(), self._n, self._people
        days = [(now - timedelta(days=back)).date() for back in (30, 10)]
        rows = self._stage.load(
            CUSTOMER_TABLE,
            chain(
                *(people.customers(range(n), day) for day in days),
                people.customers(range(0, n, 25), days[-1]),  # the same rows once more
            ),
        )
        paid = self._stage.load(
            PAYMENT_TABLE,
            chain(
                people.payments(range(0, n, 2), now - timedelta(days=20)),
                people.payments(range(0, n, 3), now - timedelta(days=5)),
                people.payments((n, n + 1), now - timedelta(days=5)),  # two accounts without a customer row
            ),
        )
        self._screen.say(
            f"The source holds {n:,} accounts: {rows:,} customer rows of two loads, some of them repeated, and "
            f"{paid:,} payments, two of which belong to accounts that no customer row is known of."
        )
        self._report(self._stage.run(), "completed")

    def awkward_rows(self) -> None:
        """Load new rows, a row on the watermark, a late row, and a skipped account's customer row; then run."""
        self._screen.title("2. Second run: new rows, a row on the boundary, a late row")
        n, people, watermark = self._n, self._people, self._watermark
        fresh = self._stage.fresh()
        late, equal = n // 5 + 1, n // 5
        new_accounts = range(n + 2, n + 2 + max(1, n // 20))
        self._stage.load(CUSTOMER_TABLE, people.customers(chain(range(n // 10), new_accounts, (n,)), fresh.date()))
        self._stage.load(PAYMENT_TABLE, people.payments(range(n // 10, n // 5), fresh))
        self._stage.load(PAYMENT_TABLE, people.payments((equal,), watermark))
        self._stage.load(PAYMENT_TABLE, people.payments((late,), watermark - timedelta(minutes=10)))
        self._screen.say(
            f"Loaded after the first run: customer rows for {n // 10:,} known and {len(new_accounts):,} new accounts "
            f"(LOAD_DATE is a day, so they lie before the watermark), payments for {n // 5 - n // 10:,} accounts, the "
            "customer row of one of the two accounts that were skipped, and"
        )
        self._screen.say(f"  - a row stamped {watermark:%H:%M:%S}, exactly the watermark: `>` alone would lose it")
        self._screen.say("  - a row stamped ten minutes before the watermark: a transaction that committed late")
        due = n // 10 + len(new_accounts) + (n // 5 - n // 10) + 3
        self._report(self._stage.run(), "completed", delivered=due)

    def nothing_new(self) -> None:
        """Run without new data: the run reads the lookback again, sends nothing, and posts {} to the receiver."""
        self._screen.title("3. Third run: no new data")
        before = self._stage.answers()
        result = self._stage.run()
        self._report(result, "no_data", delivered=0)
        after = self._stage.answers()
        if after.get(422, 0) - before.get(422, 0) != 1 or after.get(201) != before.get(201):
            raise self._stage.failure("The third run should have posted {} and nothing else.")
        self._screen.say(
            f"{result.report['unchanged']:,} accounts of the lookback were read again and are unchanged. {{}} was "
            "posted, which this receiver answers with 422, as the field's does; the watermark stayed."
        )

    def crash(self) -> None:
        """Load payments, and kill the run after the receiver's answer and before the state knows it."""
        self._screen.title("4. Fourth run: killed with SIGKILL in the middle")
        paying = range(self._n // 2, self._n // 2 + max(5, self._n // 4))
        self._stage.load(PAYMENT_TABLE, self._people.payments(paying, self._stage.fresh()))
        before = self._stage.answers().get(201, 0)
        result = self._stage.run(fault=_CRASH)
        if not result.killed:
            raise self._stage.failure(f"The fourth run should have been killed, and ended with {result.exit_status}.")
        reached = self._stage.answers().get(201, 0) - before
        self._screen.say(
            f"New payments for {len(paying):,} accounts. The run was killed after the receiver had answered and before "
            f"that was noted: the receiver has accepted {_incidents(reached)}, the ledger holds "
            f"{_incidents(self._stage.pending())} without an outcome."
        )

    def resume(self) -> None:
        """Run again: the run sends the outbox under the same ids and keys, then processes the window once more."""
        self._screen.title("5. Fifth run: resumes")
        known = self._stage.answers().get(409, 0)
        result = self._stage.run()
        self._report(result, "completed")
        repeated = self._stage.answers().get(409, 0) - known
        self._screen.say(
            "Taken from the outbox and sent once more, byte for byte, under the same ids: "
            f"{_incidents(result.report['resumed'])}. Answered 409, because the receiver had them: {repeated:,}. "
            "The rest of the window followed."
        )

    def count(self) -> Comparison:
        """Compare the source with the receiver's own log, and show the table."""
        self._screen.title("The source against the receiver's own log")
        self._screen.say("Worked out by separate code (demo/compare.py) from the two files; the ledger is not asked.")
        found = compare(self._stage.source, self._stage.receiver)
        rows = [
            ("accounts in the source", found.accounts),
            ("accounts without a customer row yet (skipped)", found.waiting),
            ("incidents accepted", found.accepted),
            ("repeated requests, answered 409 and not stored", found.known_already),
            ("missed: final content of an account not accepted", len(found.missed)),
            ("duplicated: same content accepted twice in succession", len(found.duplicated)),
            ("Incident_Ids that stand for two contents", len(found.reused_ids)),
        ]
        self._screen.say("")
        self._screen.figures(("what was found", "count"), rows)
        for line in islice(found.differences, _SHOWN_DIFFERENCES):
            self._screen.say(f"  - {line}", style="red")
        if len(found.differences) > _SHOWN_DIFFERENCES:
            self._screen.say(f"  … and {len(found.differences) - _SHOWN_DIFFERENCES:,} more", style="red")
        verdict = "NOT KEPT" if found.differences else "kept"
        self._screen.say(
            f"missed {len(found.missed)}, duplicated {len(found.duplicated)}: the promise is {verdict}.",
            style="bold red" if found.differences else "bold green",
        )
        return found

    def _report(self, result: Result, status: str, *, delivered: int | None = None) -> None:
        """Print what a run reported; raise where the outcome is not the story's."""
        report = result.report
        if result.exit_status or report["status"] != status or delivered not in (None, report["delivered"]):
            wanted = status if delivered is None else f"{status} with {delivered} delivered"
            raise self._stage.failure(
                f"The run should have been {wanted}; it was {report['status']} with {report['delivered']} delivered "
                f"(exit status {result.exit_status})."
            )
        self._watermark = datetime.fromisoformat(report["last_execution_dtm"])
        figures = ("delivered", "unchanged", "skipped", "dead", "pending")
        self._screen.say(
            f"{report['status']}: sequence {report['sequence']}, "
            + ", ".join(f"{name} {report[name]:,}" for name in figures)
            + f", in {result.seconds:.1f} s; watermark {self._watermark:%Y-%m-%dT%H:%M:%SZ}.",
            style="green",
        )


def _what_next(screen: Screen, stage: DemoStage, folder: Path | None, example: str) -> None:
    screen.title("What to look at next")
    if folder is None:
        screen.say("The temporary folder is removed now. To keep source, state, receiver's file and logs:")
        screen.paste(command_line("demo", "--folder", "demo-data"))
        return
    config = ("--config", str(stage.config))
    screen.say(f"Everything is in {stage.folder}. Where the operation stands, its runs, its deliveries:")
    screen.paste(command_line("status", *config))
    screen.paste(command_line("history", *config))
    screen.paste(command_line("deliveries", "--limit", "10", *config))
    screen.say("The deliveries and the document of the account whose payment came late:")
    screen.paste(command_line("deliveries", "--account", example, *config))
    screen.paste(command_line("preview", "--account", example, *config))
    screen.say("What the receiver has, and the receiver itself once more, for runs of your own:")
    database = ("--database", str(stage.receiver))
    screen.paste(command_line("receiver", "--summary", *database))
    screen.paste(command_line("receiver", "--port", str(urlsplit(stage.url).port), *database))


def _incidents(count: int) -> str:
    return f"{count:,} incident" if count == 1 else f"{count:,} incidents"


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demo by an exception, so that the receiver is stopped and the folder removed."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
