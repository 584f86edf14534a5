"""The conditions while the state cannot be reached: a file of this user on this machine.

An outage of the state's database is itself a condition; without this file every run by cron would send it anew.
"""

import hashlib
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from incident_process.core.safe_files import LOCK_SECONDS, in_own_thread, locked, read_plain, replace
from incident_process.state.alert_store import AlertCondition

MOST_BYTES = 1024 * 1024
"""Bytes of the file that are read, at most."""


class LocalAlerts:
    """``AlertStore`` in a JSON file; an unreadable file counts as empty.

    Where the file cannot be written, the object keeps the conditions itself: the next process then sends an outage
    again, which is better than no alert.
    """

    def __init__(self, operation: str, folder: Path | None = None) -> None:
        if folder is None:
            from platformdirs import user_state_path

            folder = user_state_path("incident-process")
        digest = hashlib.blake2b(operation.encode(), digest_size=8).hexdigest()
        self._path = folder / f"conditions-{digest}.json"
        self._kept: dict[str, AlertCondition] | None = None

    async def __aenter__(self) -> "LocalAlerts":
        """Create the folder, if that is possible."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: the file is open only while it is used."""

    async def all(self) -> dict[str, AlertCondition]:
        """Return the conditions by name."""
        return self._read()

    async def change(self, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        """Compare and set; see ``state.alert_store``."""
        known = before or after
        return known is None or await in_own_thread(lambda: self._change(known.name, before, after), 2 * LOCK_SECONDS)

    def is_empty(self) -> bool:
        """Return True where no condition is noted, which is nearly always so."""
        return not self._read()

    def _change(self, name: str, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        with ExitStack() as stack:
            # Without a lock file there is nothing shared to guard; and where another process keeps the lock for long,
            # an alert that is sent twice is better than one that is never sent.
            with suppress(OSError):
                stack.enter_context(locked(self._path.with_suffix(".lock")))
            conditions = self._read()
            if conditions.get(name) != before:
                return False
            conditions.pop(name, None)
            if after is not None:
                conditions[after.name] = after
            self._write(conditions)
        return True

    def _read(self) -> dict[str, AlertCondition]:
        if self._kept is not None:
            return dict(self._kept)
        try:
            return msgspec.json.decode(read_plain(self._path, MOST_BYTES), type=dict[str, AlertCondition])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write(self, conditions: dict[str, AlertCondition]) -> None:
        try:
            replace(self._path, msgspec.json.encode(conditions), 0o600)
        except OSError:
            self._kept = conditions
        else:
            self._kept = None
