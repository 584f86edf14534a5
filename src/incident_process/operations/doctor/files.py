"""Looks at what is on this host: files that others can read, temporary space, the installation."""

import os
import shlex
import shutil
import tempfile

from incident_process.core.local_places import (
    closed_to_others,
    hidden_home,
    installation,
    temporary_file,
    temporary_space,
)
from incident_process.core.models import Tracking
from incident_process.core.safe_files import open_to_others
from incident_process.operations.doctor.finding import Finding, ok, warning
from incident_process.settings import Settings
from incident_process.settings.database_urls import SqliteTarget

LEAST_SPACE = 64 << 20
"""Bytes of temporary space below which the doctor warns: enough for a window of one or two million accounts."""


async def examine_files(settings: Settings) -> list[Finding]:
    """Find files with credentials or personal data that every user of this host can read."""
    files = {}
    if settings.config_path is not None and settings.file_holds_secrets:
        files["configuration"] = settings.config_path
    if settings.process.tracking == Tracking.SQL and isinstance(settings.state_target, SqliteTarget):
        files["state"] = settings.state_target.path
    return [
        warning(subject, f"Every user of this host can {what} {path}.", f"chmod o-rwx {shlex.quote(str(path))}")
        for subject, path in files.items()
        if (what := open_to_others(path)) is not None
    ]


async def examine_temporary_space() -> list[Finding]:
    """Write a temporary file and measure the free space beside it: a survey keeps its accounts there."""
    with temporary_file() as file, temporary_space():
        file.write(bytes(LEAST_SPACE // 1024))
        file.flush()
        free = shutil.disk_usage(tempfile.gettempdir()).free
    folder = tempfile.gettempdir()
    if free >= LEAST_SPACE:
        return [ok("temporary space", f"{folder} has room ({free >> 20} MiB).")]
    return [
        warning(
            "temporary space",
            f"{folder} has {free >> 20} MiB left; a run keeps the accounts of its window there.",
            "Free some, or set TMPDIR to a folder with more.",
        )
    ]


def examine_installation() -> list[Finding]:
    """Find what keeps a service's user from starting this program, though the caller can start it.

    A virtual environment links to an interpreter, which may lie in a user's home. Root hears of everything closed to
    others, because services run as other users. Other users hear of it only where the environment itself is open, as
    if meant for others.
    """
    environment, *needed = installation()
    private = closed_to_others(environment) is not None
    for path in needed:
        closed = closed_to_others(path) if os.geteuid() == 0 or not private else None
        home = hidden_home(path) if hidden_home(environment) is None else None
        if closed is None and home is None:
            continue
        why = f"{closed} is closed to them" if closed else f"ProtectHome= of the systemd units hides {home}"
        return [
            warning(
                "installation",
                f"Services and users other than you cannot reach {path}, which this program needs: {why}.",
                "Where a service is to run it, install it where all users can reach it, with an interpreter "
                "that all can reach: make PYTHON=/usr/bin/python3 setup",
            )
        ]
    return []
