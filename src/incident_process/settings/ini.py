"""Reads an INI file: values literally, keys and sections in any case, faults with their line numbers.

A fault's message never repeats the line, which may hold a password. For the same reason errors are raised after their
``except`` block: the parser's own exception, which holds the text, is then not even their hidden context.
"""

import configparser
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from incident_process.core.errors import ConfigurationError

_KEY = re.compile(r"(.*?)\s*[:=]")
_HEADER = re.compile(r"\[\s*([^\]]*[^\]\s])\s*\]")


def parse(text: str, path: Path) -> dict[str, dict[str, str]]:
    """Return the values of an INI text by section and key, both in lower case.

    Values keep ``%``, ``;`` and ``#``; only a line that starts with ``;`` or ``#`` is a comment. A line that starts
    with blanks continues the value above it, over empty lines and comments between them, as in Python's own parser.

    Args:
        text: The content of the file.
        path: The file, for messages.

    Raises:
        ConfigurationError: A line cannot be read, or a section or key comes twice.
    """
    # [DEFAULT] is an ordinary section here: its values would otherwise apply to all, those of other programs included.
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=None, strict=True, default_section="\0"
    )
    fault = None
    try:
        parser.read_file(_lines(text), source=str(path))
    except configparser.Error as exc:
        fault = _fault(exc)
    if fault:
        raise ConfigurationError(f"{path}, {fault}")
    return {section.lower().strip(): dict(parser.items(section)) for section in parser.sections()}


def read(path: Path, *, was_found: bool = False) -> str:
    """Return the content of a configuration file.

    Args:
        path: The file.
        was_found: Nobody named it, so it has to be a regular file: whoever put a pipe there would let all wait.

    Raises:
        FileNotFoundError: There is no such file; the caller decides whether that is a fault.
        ConfigurationError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        with open(path, encoding="utf-8-sig", opener=_without_waiting if was_found else None) as file:
            if not was_found or stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
        fault = "is no regular file: remove it, or name the configuration with --config"
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FileNotFoundError(exc.errno, exc.strerror) from None
    except OSError as exc:
        fault = f"cannot be read: {exc.strerror}"
    except UnicodeDecodeError:
        fault = "is not UTF-8 text: save it in that encoding"
    raise ConfigurationError(f"{path}: the configuration {fault}.")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _lines(text: str) -> Iterator[str]:
    # Only \n ends a line, as in a file that is read line by line. A header at the left margin can be nothing else, so
    # lower case is safe here, where the parser still counts lines: it then reports [API] beside [ api ] as a duplicate.
    # Text after the bracket is dropped: the parser would drop it too, but read `[API] ; as in [OLD]` to the last one.
    for line in text.replace("\r\n", "\n").split("\n"):
        found = _HEADER.match(line)
        yield f"[{found.group(1).lower()}]" if found else line


def lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line number, from 1, of each key of a text that ``parse`` reads, by section and key in lower case."""
    found: dict[tuple[str, str], int] = {}
    section, indent = "", sys.maxsize
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        written = line.strip()
        if not written or written[0] in "#;":
            continue
        depth = len(line) - len(line.lstrip())
        if depth > indent:
            continue  # the line continues the value above
        if header := _HEADER.match(written):
            section, indent = header[1].lower(), sys.maxsize
        elif key := _KEY.match(written):
            indent = depth
            found.setdefault((section, key[1].lower()), number)
    return found


def _fault(exc: configparser.Error) -> str:
    match exc:
        case configparser.DuplicateSectionError():
            return f"line {exc.lineno}: the section [{exc.section.upper()}] is there twice: merge the two."
        case configparser.DuplicateOptionError():
            return f"line {exc.lineno}: [{exc.section.upper()}] {exc.option} is there twice: keep one of them."
        case configparser.MissingSectionHeaderError():
            return f"line {exc.lineno}: a value stands before any section: start with a line such as [DATABASE]."
        case configparser.ParsingError() if exc.errors:
            places = ", ".join(str(line) for line, _ in exc.errors)
            return f"line {places}: this is neither a [SECTION], a `key = value` nor a comment (; or #)."
        case _:
            return f"line {getattr(exc, 'lineno', 'unknown')}: this cannot be read as an INI file."
