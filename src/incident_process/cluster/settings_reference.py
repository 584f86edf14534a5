"""How a worker gets the settings of a run: by reference to its own configuration, never by their values.

So a scheduler sees no credentials. Settings that must be equal on both sides, so that a worker reads the same source,
writes the same state and posts to the same receiver, are compared by digests that apply to one run. So are the files of
the program: two builds of one version may differ.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Record, Tracking
from incident_process.core.version import __version__
from incident_process.settings import Settings
from incident_process.settings.database_urls import SqliteTarget, Target
from incident_process.settings.load import CONFIG_VARIABLE

DIGEST_BYTES = 8
"""Bytes of a setting's digest."""


class Reference(Record, frozen=True, kw_only=True):
    """Where a worker finds the settings, and the digests by which it checks them.

    ``config``: the coordinator's configuration file, None where there is none. ``is_local``: the worker is a child of
    the coordinator; any other worker uses its own INCIDENT_PROCESS_CONFIG first.
    """

    config: str | None
    is_local: bool
    version: str
    program: str
    salt: str
    digests: dict[str, str]

    @classmethod
    def to(cls, settings: Settings, salt: str) -> "Reference":
        """Return the reference to these settings; ``salt`` is new for each run."""
        return cls(
            config=str(settings.config_path.absolute()) if settings.config_path else None,
            is_local=not settings.engine.is_remote,
            version=__version__,
            program=_program(),
            salt=salt,
            digests=_digests(settings, salt),
        )

    def load(self) -> Settings:
        """Return the settings as this process reads them.

        Raises:
            ConfigurationError: They cannot be read, or differ from the run's, or the program is another.
        """
        if self.version != __version__:
            raise ConfigurationError(
                f"the run is of incident-process {self.version}, a worker has {__version__}: install the same on all."
            )
        if self.program != _program():
            raise ConfigurationError(
                f"a worker has another build of incident-process {__version__} than the run: install the same on all."
            )
        own = not self.is_local and any(name.upper() == CONFIG_VARIABLE for name in os.environ)
        settings = Settings.load(None if own or self.config is None else Path(self.config))
        digests = _digests(settings, self.salt)
        other = sorted(name for name, digest in self.digests.items() if digests.get(name) != digest)
        if other:
            raise ConfigurationError(
                f"a worker has other settings than the run ({', '.join(other)}): give it the same configuration file "
                f"({settings.config_path or 'none was found there'}) and the same environment."
            )
        return settings


def _digests(settings: Settings, salt: str) -> dict[str, str]:
    return {
        name: hashlib.blake2b(value.encode(), key=salt.encode()[:64], digest_size=DIGEST_BYTES).hexdigest()
        for name, value in _essentials(settings)
    }


@functools.cache
def _program() -> str:
    """Return a digest of the program's files, as they are when this process first looks."""
    folder = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for file in sorted(path for path in folder.rglob("*.*") if path.suffix in (".py", ".json", ".csv")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def _essentials(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the settings that decide where a chunk's rows come from and its incidents go to; none is a credential.

    Databases by name: their servers may have other addresses for a worker. A scope's lease shows that the state is the
    same one.
    """
    process, api = settings.process, settings.api
    yield "[API] api_url", api.api_url
    yield "the database of [DATABASE]", _name(settings.source_target)
    if process.tracking is Tracking.MONGO:
        yield "[MONGODB] DATABASE_NAME", settings.mongo_target.database
    else:
        yield "the database of the state", _name(settings.state_target)
    for name in ("operation_name", "tracking", "source_timezone", "created_by", "in_doubt", "max_runs", "keep_bodies"):
        yield f"[PROCESS] {name}", str(getattr(process, name))


def _name(target: Target) -> str:
    return str(target.path) if isinstance(target, SqliteTarget) else target.database
