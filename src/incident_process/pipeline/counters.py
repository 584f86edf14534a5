"""The figures of a run while it goes on."""

from collections import Counter
from collections.abc import Iterable, Mapping

from incident_process.core.models import Counts, DeliveryStatus, Outcome, counted, no_rows
from incident_process.delivery.failure_text import common_form, reasons_text
from incident_process.pipeline.transform import BuildResult
from incident_process.source.base import Survey


class RunCounters:
    """Adds up what becomes of accounts and incidents; ``counts`` is how it stands."""

    def __init__(self) -> None:
        self.by_status: Counter[DeliveryStatus] = Counter()
        self.unchanged = 0
        self.resumed = 0
        self.blocked = 0
        self.no_longer_in_source = 0
        self.waiting: dict[int, str] = {}
        """Why incidents that were tried have no outcome yet, by Incident_Id, as ``failure_text.common_form`` has it."""
        self._rows: Mapping[str, int] = no_rows()
        self._accounts = 0
        self._reread = 0
        self._unprocessable = 0

    def selected(self, accounts: int) -> None:
        """Note accounts that somebody named."""
        self._accounts += accounts

    def surveyed(self, survey: Survey, unprocessable: int) -> None:
        """Note what the window holds."""
        self._rows = dict(survey.rows)
        self._accounts = survey.accounts
        self._reread = survey.reread
        self._unprocessable = unprocessable

    def built(self, built: BuildResult) -> None:
        """Note the accounts of a list that need nothing now."""
        self.unchanged += built.unchanged
        self.blocked += built.blocked
        self.no_longer_in_source += built.no_longer_in_source

    def recorded(self, outcomes: Iterable[Outcome]) -> None:
        """Note why those that were tried have no outcome yet, and that others have theirs; figures are not changed.

        Of what was put aside before its second try, the reason of the first stays.
        """
        for outcome in outcomes:
            if outcome.status is not DeliveryStatus.PENDING:
                self.waiting.pop(outcome.incident_id, None)
            elif outcome.error is not None:
                self.waiting[outcome.incident_id] = common_form(outcome.error)

    @property
    def reasons(self) -> Counter[str]:
        """How many incidents have no outcome yet for which reason."""
        return Counter(self.waiting.values())

    def add(self, other: "RunCounters") -> None:
        """Add what became of accounts and incidents elsewhere."""
        self.by_status.update(other.by_status)
        self.waiting.update(other.waiting)
        self.unchanged += other.unchanged
        self.resumed += other.resumed
        self.blocked += other.blocked
        self.no_longer_in_source += other.no_longer_in_source

    @property
    def has_new_data(self) -> bool:
        """True unless no row lies in the window and nothing else was due either (SPEC 5, no new data)."""
        return any(self._rows.values()) or any(self.by_status.values())

    @property
    def left(self) -> str:
        """Why incidents have no outcome, with the most frequent reasons and their counts; empty where all have one."""
        reasons = self.reasons
        untried = self.by_status[DeliveryStatus.PENDING] - reasons.total()
        told = [reasons_text(reasons)] if reasons else []
        return "; ".join([*told, f"{untried} not tried in this run"] if untried > 0 else told)

    @property
    def unfinished(self) -> str | None:
        """Why the watermark has to stay, None when every row that was looked at has its outcome."""
        pending = self.by_status[DeliveryStatus.PENDING]
        if pending:
            have = counted(pending, "incident has", "incidents have")
            return f"{have} no outcome yet ({self.left})"
        if self.blocked:
            return f"new content of {counted(self.blocked, 'account', 'accounts')} waited behind an earlier incident"
        return None

    @property
    def counts(self) -> Counts:
        """The figures as a record."""
        return Counts(
            rows=self._rows,
            accounts=self._accounts,
            reread=self._reread,
            resumed=self.resumed,
            delivered=self.by_status[DeliveryStatus.DELIVERED],
            unchanged=self.unchanged,
            skipped=self.by_status[DeliveryStatus.SKIPPED],
            dead=self.by_status[DeliveryStatus.DEAD],
            pending=self.by_status[DeliveryStatus.PENDING],
            unprocessable=self._unprocessable,
        )
