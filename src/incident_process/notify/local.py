"""The conditions where the state cannot be reached: a file of this user on this machine, until it can.

An outage of the state's database is itself a condition; without this, every run of a cron line would tell it anew.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from incident_process.state.conditions import Condition


class LocalConditions:
    """``ConditionStore`` in a JSON file; what cannot be read counts as empty.

    Where the file cannot be written, the object keeps the conditions itself: an outage is told again by the next
    process, which is better than by none.
    """

    def __init__(self, operation: str, folder: Path | None = None) -> None:
        if folder is None:
            from platformdirs import user_state_path

            folder = user_state_path("incident-process")
        digest = hashlib.blake2b(operation.encode(), digest_size=8).hexdigest()
        self._path = folder / f"conditions-{digest}.json"
        self._kept: dict[str, Condition] | None = None

    async def __aenter__(self) -> "LocalConditions":
        """Create the folder, if that is possible."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: the file is open only while it is used."""

    async def all(self) -> dict[str, Condition]:
        """Return the conditions by name."""
        return self._read()

    async def change(self, before: Condition | None, after: Condition | None) -> bool:
        """Compare and set; see ``state.conditions``."""
        known = before or after
        if known is None:
            return True
        with self._locked():
            conditions = self._read()
            if conditions.get(known.name) != before:
                return False
            conditions.pop(known.name, None)
            if after is not None:
                conditions[after.name] = after
            self._write(conditions)
        return True

    def is_empty(self) -> bool:
        """Return True where no condition is noted, which is nearly always so."""
        return not self._read()

    def _read(self) -> dict[str, Condition]:
        if self._kept is not None:
            return dict(self._kept)
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Condition])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write(self, conditions: dict[str, Condition]) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(conditions))
            os.replace(new, self._path)  # noqa: PTH105  # Path.replace is the same call
        except OSError:
            self._kept = conditions
        else:
            self._kept = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            with suppress(OSError):  # then nothing is shared that had to be guarded
                file = stack.enter_context(self._path.with_suffix(".lock").open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
