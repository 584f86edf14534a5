"""The commands, each as its own ``--help`` shows it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer.main
from typer.testing import CliRunner

from incident_process.cli.app import app

PROGRAM = "incident-process"
_WIDTH = "100"
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
        msg = f"The help of '{name}' does not end with an example."
        raise LookupError(msg)
    text = command.help[: found.start()].strip()
    example = " ".join(found["line"].split())
    return (
        f"## `{name}`\n\n{text}\n\n```sh\n{example}\n```\n\n"
        f'??? note "incident-process {name} --help"\n\n    ```text\n{_indented(_help(path))}\n    ```\n'
    )


def _help(path: tuple[str, ...]) -> str:
    """Return what the command prints for ``--help``, in a fixed width and without colour."""
    plain = {"COLUMNS": _WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    answer = CliRunner().invoke(app, [*path, "--help"], prog_name=PROGRAM, env=plain)
    if answer.exit_code:
        msg = f"'{PROGRAM} {' '.join(path)} --help' ends with {answer.exit_code}."
        raise LookupError(msg)
    return answer.output.strip()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
