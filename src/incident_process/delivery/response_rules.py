"""The configuration's rules for answers, those of ``[API]``, in the order in which they apply (SPEC 5)."""

import json
from collections.abc import Iterator, Sequence

from incident_process.core.models import Record
from incident_process.delivery.policy import ResponseClass
from incident_process.settings import Api
from incident_process.settings.answer_rules import Rule, parse_rule

VERDICTS = {
    "delivered_when": ResponseClass.DELIVERED,
    "refused_when": ResponseClass.DEAD,
    "retry_when": ResponseClass.RETRY,
}
"""The keys in the order in which equally exact rules apply, and the verdict of each."""
FIRST_ERROR = 400  # the lowest status whose text may be a reason


class NamedRule(Record, frozen=True, kw_only=True):
    """A rule with its place: ``line`` of ``key``, written as ``text``."""

    key: str
    line: int
    text: str
    rule: Rule

    @property
    def verdict(self) -> ResponseClass:
        """The verdict on an answer that the rule fits."""
        return VERDICTS[self.key]

    def __str__(self) -> str:
        """Return the rule and its place, for people."""
        return f"{self.key}, line {self.line}: {self.text}"


class ResponseRules:
    """The rules of one configuration.

    The first rule that fits an answer decides. Rules with a text apply before rules without one, then those with a
    status before those with a class, then those of ``delivered_when`` before ``refused_when`` before ``retry_when``,
    and those of one key from top to bottom.
    """

    def __init__(self, named: Sequence[NamedRule] = ()) -> None:
        self._named = sorted(named, key=lambda one: (one.rule.pattern is None, len(one.rule.statuses) > 1))

    @classmethod
    def of(cls, api: Api) -> "ResponseRules":
        """Return the rules of a configuration."""
        return cls(
            [
                NamedRule(key=key, line=line, text=text, rule=parse_rule(text))
                for key in VERDICTS
                for line, text in enumerate(getattr(api, key), start=1)
            ]
        )

    @property
    def read_from(self) -> int:
        """The lowest status whose text is read: a rule's, or 400, from which on the text is a reason."""
        return min([one.rule.statuses.start for one in self._named if one.rule.pattern], default=FIRST_ERROR)

    def fitting(self, status: int | None, body: bytes) -> NamedRule | None:
        """Return the rule that decides on an answer, None where none fits; ``body`` is the beginning of its text."""
        fit = [one for one in self._named if status is not None and status in one.rule.statuses]
        if not fit:
            return None
        texts: list[str] | None = None
        for one in fit:
            if one.rule.pattern is None:
                return one
            texts = list(_readings(body)) if texts is None else texts
            if any(one.rule.pattern.search(text) for text in texts):
                return one
        return None


def _readings(body: bytes) -> Iterator[str]:
    """Yield a text as it is; of JSON also without escapes, with and without blanks after commas and colons."""
    text = body.decode(errors="replace")
    yield text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for separators in (None, (",", ":")):
        yield json.dumps(value, ensure_ascii=False, separators=separators)
