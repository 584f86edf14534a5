"""Rules that say what a receiver means by its answers, one a line: ``STATUS TEXT`` (SPEC 5).

This module reads and checks them; ``delivery.response_rules`` applies them to answers.
"""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from incident_process.settings.field_types import Expected

_STATUS = re.compile(r"([2-5])(?:([0-9]{2})|xx)", re.IGNORECASE)


class Rule(NamedTuple):
    """One rule. It fits an answer with one of the statuses and a body in which the pattern occurs; None: any body.

    ``is_expression``: the operator has written a regular expression, and the pattern is no plain text.
    """

    statuses: range
    pattern: re.Pattern[str] | None
    is_expression: bool


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
    text = text.strip()
    return Rule(
        statuses=range(first, first + (1 if found[2] else 100)),
        pattern=_pattern(text),
        is_expression=text.startswith("/"),
    )


def _pattern(text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    if not text.startswith("/"):
        return re.compile(re.escape(text), re.IGNORECASE)
    if len(text) < 3 or not text.endswith("/"):
        raise ValueError("begins a regular expression with / and does not end it: write /expression/")
    try:
        return re.compile(text[1:-1], re.IGNORECASE | re.DOTALL)
    except re.error as exc:
        place = "" if exc.pos is None else f" at its character {exc.pos + 1}"
        raise ValueError(f"has a regular expression that cannot be read ({exc.msg}{place})") from None


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
