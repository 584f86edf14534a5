"""Reading an INI file: values literally as they stand, keys and sections in any case, faults by line number.

A fault's message never repeats the line, which may hold a password. For the same reason errors are raised after their
``except`` block: the parser's own exception, which holds the text, is then not even their hidden context.
"""

import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from incident_process.core.errors import ConfigurationError

_KEY = re.compile(r"(.*?)\s*[:=]")
_HEADER = re.compile(r"\[\s*([^\]]*[^\]\s])\s*\]")


def parse(text: str, path: Path) -> dict[str, dict[str, str]]:
    """Return the values of an INI text by section and key, both in lower case.

    Values keep ``%``, ``;`` and ``#``; only a line that starts with ``;`` or ``#`` is a comment. A line that starts
    with blanks continues the value above it, over empty lines and comments between them, as Python's own parser has it.

    Args:
        text: The content of the file.
        path: Where it came from, for messages.

    Raises:
        ConfigurationError: A line cannot be read, or a section or key comes twice.
    """
    # [DEFAULT] is a section like any other here: its values would leak into all others, other programs' included.
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


def read(path: Path) -> str:
    """Return the content of a configuration file.

    Raises:
        FileNotFoundError: There is no such file; whether that is a fault is for the caller to say.
        ConfigurationError: The file is there but cannot be read, or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FileNotFoundError(exc.errno, exc.strerror) from None
    except OSError as exc:
        fault = f"cannot be read: {exc.strerror}"
    except UnicodeDecodeError:
        fault = "is not UTF-8 text: save it in that encoding"
    raise ConfigurationError(f"{path}: the configuration {fault}.")


def _lines(text: str) -> Iterator[str]:
    # Only \n ends a line, as in a file that is read line by line. A header at the left margin can be nothing else, so
    # it is safe to fold here, where the parser still counts lines: then [API] beside [ api ] is a duplicate to it. What
    # follows is left out: the parser does so too, but takes `[API] ; as in [OLD]` for a name up to the last bracket.
    for line in text.replace("\r\n", "\n").split("\n"):
        found = _HEADER.match(line)
        yield f"[{found.group(1).lower()}]" if found else line


def lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each key of a text that ``parse`` reads, by section and key in lower case; the first is 1."""
    found: dict[tuple[str, str], int] = {}
    section, indent = "", sys.maxsize
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        written = line.strip()
        if not written or written[0] in "#;":
            continue
        depth = len(line) - len(line.lstrip())
        if depth > indent:
            continue  # the value above goes on
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
