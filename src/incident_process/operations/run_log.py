"""The log lines of one run, from the file that ``[LOG]`` names and the older ones beside it."""

import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from incident_process.core.local_places import expand_home
from incident_process.core.logs import one_line
from incident_process.core.models import RunRecord, iso
from incident_process.core.safe_files import refuse_planted
from incident_process.operations.doctor.source import SKEW_SECONDS
from incident_process.settings import Settings

MOST_LINES = 500
"""Lines that are returned at most, the newest."""
MOST_BYTES = 16_000_000
"""Bytes of the files that are searched at most, the newest."""
_TEXT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([A-Z]+):[^:]*:(.*)")
_TRACEBACK = re.compile(
    r"\\n(?:  \+ Exception Group )?(?:Traceback|Stack) \(most recent call last\)|(?<=^Traceback:)\\n"
)
"""Begins what a text line has beside its message: a library's text, which may have values of a row."""
_AROUND = timedelta(seconds=SKEW_SECONDS)
"""Lines in text form belong to a run by their time; the source's clock and this machine's may differ by so much."""


def lines_of(settings: Settings, run: RunRecord) -> dict[str, Any]:
    """Return the run's lines, oldest first, with ``why`` where there are none.

    Lines of ``log_format = json`` name their run. Lines of text are those between its start and its end (``by_time``):
    those of other processes that write to the file may be among them.
    """
    if settings.log.file is None:
        return _without("[LOG] file is not set: the log goes to stderr alone, which systemd keeps in its journal.")
    path = expand_home(settings.log.file)
    found: list[dict[str, str]] = []
    by_time = False
    try:
        for line in _newest_first(path, run.started_at):
            read = _of_json(line, run) if line.startswith("{") else _of_text(line, run)
            if read is not None:
                found.append(read)
                by_time = by_time or not line.startswith("{")
            if len(found) > MOST_LINES:
                break
    except OSError as exc:
        return _without(f"[LOG] file {path} cannot be read ({exc.strerror}).")
    if not found:
        most = f"{MOST_BYTES // 1_000_000} MB"
        why = f"{path} and the older files beside it have no line of this run in their newest {most}"
        clocks = f"lines of text are missed where this host's clock and the source's differ by over {SKEW_SECONDS:g} s"
        return _without(f"{why}; {clocks}, as doctor would say.")
    shown = found[:MOST_LINES][::-1]
    return {"lines": shown, "more": len(found) > MOST_LINES, "by_time": by_time, "why": None, "file": str(path)}


def _without(why: str) -> dict[str, Any]:
    return {"lines": [], "more": False, "by_time": False, "why": why, "file": None}


def _of_json(line: str, run: RunRecord) -> dict[str, str] | None:
    if run.run_id not in line:
        return None
    try:
        read = json.loads(line)
        if not isinstance(read, dict) or read.get("run_id") != run.run_id:
            return None
        names = {"at": "ts", "level": "level", "message": "message"}
        return {name: one_line(str(read.get(field, ""))) for name, field in names.items()}
    except (ValueError, RecursionError):  # damaged, or none of this program's
        return None


def _of_text(line: str, run: RunRecord) -> dict[str, str] | None:
    parts = _TEXT.fullmatch(line)
    if parts is None:
        return None
    try:
        at = datetime.fromisoformat(parts[1])
    except ValueError:  # such as of month 99
        return None
    if not run.started_at - _AROUND <= at <= (run.ended_at or datetime.now(UTC)) + _AROUND:
        return None
    return {"at": iso(at), "level": parts[2], "message": one_line(_TRACEBACK.split(parts[3], 1)[0])}


def _newest_first(path: Path, since: datetime) -> Iterator[str]:
    """Yield the lines of the file and of the older ones that were written to since then, the newest line first."""
    older = [other for other in path.parent.glob(f"{path.name}.*") if other.suffix not in {".gz", ".xz", ".zst"}]
    changed = {file: file.stat().st_mtime for file in (path, *older) if file.is_file()}
    left = MOST_BYTES
    for file in sorted(changed, key=lambda file: changed[file], reverse=True):
        if left <= 0 or changed[file] < since.timestamp() - SKEW_SECONDS:
            return
        content = _tail(file, left)
        left -= len(content)
        yield from reversed(content.decode("utf-8", "replace").splitlines())


def _tail(path: Path, most: int) -> bytes:
    refuse_planted(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return b""
        file.seek(max(0, status.st_size - most))
        return file.read(most)
