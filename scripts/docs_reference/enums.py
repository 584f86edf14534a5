"""What the values of an enum mean: the line that stands on each of them in the code."""

import inspect
import re
from enum import Enum

_MEMBER = re.compile(r'^    \w+ = "(?P<value>\w+)"  # (?P<meaning>.+)$', re.MULTILINE)


def meanings(kind: type[Enum]) -> dict[str, str]:
    """Return each value with its meaning, in the order of the enum.

    Raises:
        LookupError: A value has no line that says what it means.
    """
    found = {match["value"]: match["meaning"] for match in _MEMBER.finditer(inspect.getsource(kind))}
    if set(found) != {member.value for member in kind}:
        msg = f"Not every value of {kind.__name__} has a line that says what it means."
        raise LookupError(msg)
    return found


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital and a full stop."""
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
