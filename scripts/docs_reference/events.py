"""The events that the program logs, read from the calls that log them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import incident_process
from docs_reference.table import table as made

PACKAGE = Path(incident_process.__file__).parent
LEVELS = frozenset({"debug", "info", "warning", "error", "log"})


def calls() -> Iterator[tuple[Path, str, ast.Call]]:
    """Yield each call that logs a line, with its file and method; the sandbox has logs of its own."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.relative_to(PACKAGE).parts[0] == "sandbox":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = ast.unparse(node.func.value)
                if logger == "log" or logger.endswith("get_logger()"):
                    yield file, node.func.attr, node


def event_of(call: ast.Call) -> ast.Call | None:
    """Return the call of ``logs.event`` that is the line's ``extra``, None where there is none."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Call):
            return keyword.value
    return None


def table() -> str:
    """Return a table of the events: name, level, message, figures."""
    rows = set()
    for _, method, call in calls():
        event = event_of(call)
        if event is None or not isinstance(event.args[0], ast.Constant):
            continue
        figures = ", ".join(f"`{keyword.arg}`" for keyword in event.keywords if keyword.arg is not None)
        level, text = ("", call.args[1]) if method == "log" else (method.upper(), call.args[0])
        rows.add((f"`{event.args[0].value!s}`", level, _message(text), figures))
    return made(("event", "level", "message", "figures"), sorted(rows))


def _message(text: ast.expr) -> str:
    """Return the text of a message; of one that is made elsewhere, nothing."""
    return str(text.value) if isinstance(text, ast.Constant) and str(text.value) != "%s" else ""
