"""Rules that say what a receiver means by its answers, one a line: ``STATUS TEXT`` (SPEC 5).

This module reads and checks them; ``delivery.response_rules`` applies them to answers.
"""

import re
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import BeforeValidator

from incident_process.settings.field_types import Expected

_STATUS = re.compile(r"([2-5])(?:([0-9]{2})|xx)", re.IGNORECASE)
SEARCHED = 4096
"""Characters of each reading of a text in which a regular expression is searched for."""


class Pattern(Protocol):
    """What is searched for, in time that grows no faster than the text: a run does nothing else meanwhile."""

    def search(self, text: str, /) -> object:
        """Return None where it does not occur."""


class Expression:
    """An operator's regular expression. RE2 never goes back in the text, as Python's does.

    Raises:
        ValueError: RE2 cannot read it.
    """

    def __init__(self, text: str) -> None:
        import re2  # type: ignore[import-untyped]  # it says nothing of its types; here, since few need it

        options = re2.Options()
        options.case_sensitive, options.dot_nl, options.log_errors = False, True, False
        try:
            if found := re.search(r"\{,\d+\}", text):  # a plain text to RE2 alone
                raise re2.error(f"{found[0]}, write {{0{found[0][1:]}".encode())
            self._compiled = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as exc:
            said = exc.args[0].decode(errors="replace") if isinstance(exc.args[0], bytes) else "it is no UTF-8"
            raise ValueError(
                f"has a regular expression that RE2 cannot read ({said}); RE2 has no look-around and no back references"
            ) from None

    def search(self, text: str, /) -> object:
        """Look at the first characters; JSON may hold halves of characters, which have no UTF-8."""
        return self._compiled.search(text[:SEARCHED].encode(errors="replace"))


class Rule(NamedTuple):
    """One rule. It fits an answer with one of the statuses and a body in which the pattern occurs; None: any body."""

    statuses: range
    pattern: Pattern | None


def parse_rule(line: str) -> Rule:
    """Return the rule of a line.

    Raises:
        ValueError: The line is no rule. The message says what is wrong with the line, and what would be right.
    """
    status, _, text = line.strip().partition(" ")
    found = _STATUS.fullmatch(status)
    if found is None:
        raise ValueError("does not begin with a status: write 200 to 599, or a class such as 5xx, and then a text")
    first = int(found[1]) * 100 + int(found[2] or 0)
    return Rule(statuses=range(first, first + (1 if found[2] else 100)), pattern=_pattern(text.strip()))


def _pattern(text: str) -> Pattern | None:
    if not text:
        return None
    if not text.startswith("/"):
        return re.compile(re.escape(text), re.IGNORECASE)
    if len(text) < 3 or not text.endswith("/"):
        raise ValueError("begins a regular expression with / and does not end it: write /expression/")
    return Expression(text[1:-1])


def _rule_lines(value: Any) -> Any:
    """Read one rule a line, and check each."""
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list | tuple) or not all(isinstance(line, str) for line in value):
        return value
    lines = tuple(line.strip() for line in value if line.strip())
    for place, line in enumerate(lines, start=1):
        try:
            parse_rule(line)
        except ValueError as exc:
            raise ValueError(f"has a line {place} that {exc}") from None
    return lines


RuleLines = Annotated[tuple[str, ...], BeforeValidator(_rule_lines), Expected("one `STATUS TEXT` a line")]
"""Lines, each a rule."""
