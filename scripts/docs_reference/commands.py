"""The commands, each with what its own ``--help`` says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
import typer.main

from docs_reference.table import table
from incident_process.cli.commands import app

PROGRAM = "incident-process"
_EXAMPLE = re.compile(r"\s*Example:\s*(?P<line>.+)\Z", re.DOTALL)


def pages() -> str:
    """Return a heading for each command: what it does, its example, its options.

    Raises:
        LookupError: A command's help does not end with an example (SPEC 7 asks for one).
    """
    return "\n".join(_page(path, command) for path, command in _all(typer.main.get_command(app), ()))


def _all(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, a group's members one by one."""
    members: Mapping[str, Any] = getattr(command, "commands", {})
    if not members:
        yield path, command
    for name, member in members.items():
        yield from _all(member, (*path, name))


def _page(path: tuple[str, ...], command: Any) -> str:
    name = " ".join(path)
    found = _EXAMPLE.search(command.help or "")
    if found is None:
        raise LookupError(f"The help of '{name}' does not end with an example.")
    example = " ".join(found["line"].split())
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f"## `{name}`",
        *map(_paragraph, command.help[: found.start()].strip().split("\n\n")),
        f"```sh\n{example}\n```",
        f"Usage: `{PROGRAM} {name} {usage}`",
        table(("option", "meaning"), _options(command, context)),
    ]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text; one whose lines the help keeps as they are becomes a block."""
    kept = text.removeprefix("\b\n")
    return text if kept == text else f"```text\n{kept}\n```"


def _options(command: Any, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield each option with its values, and what the help says of it."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            names, meaning = record
            yield f"`{names}`", meaning
