"""Where values come from: the environment before the file, and the embedded default where there is no file.

Each source gives ``{section: {key: value}}`` in lower case. A value carries the name of its origin, for messages.

pydantic-settings would do the same, but took 0.1 s of every start.
"""

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from incident_process.core.arguments import is_utf8
from incident_process.core.errors import ConfigurationError
from incident_process.core.local_places import expand_home, require_home
from incident_process.settings import ini

CONFIG_VARIABLE = "INCIDENT_PROCESS_CONFIG"
PREFIX = "INCIDENT_PROCESS__"
USUAL_PLACES = (Path("config/databaseConfig.ini"), Path("DB_Config.ini"))
DEFAULT_API_URL = "http://127.0.0.1:8000/Request_Incident_External_information"


class Sourced(str):
    """A value as it was written, with its origin. Its repr is masked: it may be a password."""

    __slots__ = ("line", "origin")
    origin: str
    line: int | None
    """Line number of its key, where it comes from a file."""

    def __new__(cls, value: str, origin: str, line: int | None = None) -> "Sourced":
        """Return the value with the name of its file or variable."""
        new = super().__new__(cls, value)
        new.origin = origin
        new.line = line
        return new

    @property
    def place(self) -> str:
        """Its origin, with the line."""
        return self.origin if self.line is None else f"{self.origin}, line {self.line}"

    def __repr__(self) -> str:
        return f"<value from {self.origin}>"


Layer = dict[str, dict[str, Sourced]]
"""Values by section and key."""


def environment(environ: Mapping[str, str]) -> Layer:
    """Return the values of the variables ``INCIDENT_PROCESS__SECTION__KEY``, in any case.

    Raises:
        ConfigurationError: A variable lacks the section or the key, is not UTF-8 text, or two differ only in case.
    """
    values: Layer = {}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            continue
        section, _, name = variable[len(PREFIX) :].lower().partition("__")
        if not section or not name:
            raise ConfigurationError(f"environment variable {variable}: write {PREFIX}SECTION__KEY.")
        if not is_utf8(environ[variable]):
            raise ConfigurationError(
                f"environment variable {variable} is not UTF-8 text: give its value in that encoding, or in the file."
            )
        keys = values.setdefault(section, {})
        if name in keys:
            raise ConfigurationError(f"environment variable {variable} is there twice, in different case.")
        keys[name] = Sourced(environ[variable], f"environment variable {variable}")
    return values


def file(path: Path, text: str) -> Layer:
    """Return the values of a configuration file's text; raise ConfigurationError if it cannot be read."""
    lines = ini.lines(text)
    return {
        section: {name: Sourced(value, str(path), lines.get((section, name))) for name, value in keys.items()}
        for section, keys in ini.parse(text, path).items()
    }


def layers(config: Path | None, environ: Mapping[str, str]) -> tuple[Layer, Path | None]:
    """Return the values in force, the environment's over the file's or the embedded default's, and the file.

    Args:
        config: The file that the caller named, if any.
        environ: The environment.

    Raises:
        ConfigurationError: A named file is missing, or a source cannot be read.
    """
    found = locate(config, environ)
    named = environment(environ)
    lower = file(*found) if found else embedded(named)
    merged = {section: {**lower.get(section, {}), **named.get(section, {})} for section in {**lower, **named}}
    return merged, found[0] if found else None


def embedded(named: Layer) -> Layer:
    """Return the values without a file: source and state in one SQLite file of the user, a receiver on this machine.

    The database is left out where ``named``, the environment's values, has one.
    """
    values: Layer = {
        "api": {"api_url": Sourced(DEFAULT_API_URL, "embedded default")},
        "process": {"tracking": Sourced("sql", "embedded default")},
    }
    database = named.get("database", {})
    if not any(value for name, value in database.items() if not name.startswith(("mysql_ssl", "replica"))):
        path = str(embedded_database()).replace("%", "%25").replace("?", "%3F")
        values["database"] = {"url": Sourced(f"sqlite:///{path}", "embedded default")}
    return values


NOT_FOUND = "No configuration found"
"""Begins the warning of a process that uses the embedded default."""
EMBEDDED_SOURCE = "The embedded default applies (source "
"""In that warning where the source is the default's, and not the receiver alone."""
NOT_FOUND_REMEDY = "Change to the configuration's folder, or name the file with --config."
"""Ends it."""


def embedded_warning(raw: Layer) -> str | None:
    """Return a warning where no file was found and source or receiver are those of the embedded default."""
    used = [
        f"{what} {value}"
        for what, value in (("source", raw.get("database", {}).get("url")), ("receiver", raw["api"]["api_url"]))
        if value is not None and value.origin == "embedded default"
    ]
    if not used:
        return None
    places = " or ".join(map(str, USUAL_PLACES))
    return (
        f"{NOT_FOUND}: {Path.cwd()} has no {places}. The embedded default applies ({', '.join(used)}). "
        f"{NOT_FOUND_REMEDY}"
    )


def embedded_database() -> Path:
    """Return the user's SQLite file that is source and state where there is no configuration."""
    from platformdirs import user_data_path

    require_home("the database that holds without a configuration")
    return user_data_path("incident-process") / "incidents.db"


def named_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that the argument, or else INCIDENT_PROCESS_CONFIG, names, whether it exists or not."""
    named = {name.upper(): value for name, value in environ.items()}.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else None)
    return expand_home(path) if path else None


def locate(config: Path | None, environ: Mapping[str, str]) -> tuple[Path, str] | None:
    """Find and read the configuration file (SPEC 8).

    Args:
        config: The file that the caller named, if any; it must exist.
        environ: The environment, where INCIDENT_PROCESS_CONFIG may name a file, which must exist too.

    Returns:
        Path and content of the first file found; None when there is none.

    Raises:
        ConfigurationError: A named file is missing, or one that exists cannot be read.
    """
    path = named_path(config, environ)
    if path:
        try:
            return path, ini.read(path)
        except FileNotFoundError:
            origin, option = (
                ("--config", f" --config {shlex.quote(str(config))}")
                if config
                else (f"environment variable {CONFIG_VARIABLE}", "")
            )
            raise ConfigurationError(
                f"{path}: there is no such file, though {origin} names it: "
                f"correct the path, or write the file with 'incident-process init{option}'."
            ) from None
    for path in USUAL_PLACES:
        try:
            return path, ini.read(path, was_found=True)
        except FileNotFoundError:
            continue
    return None


def planted_file_warning(path: Path) -> str | None:
    """Return a warning where another user than this one and root may have written a file found in a usual place.

    Such a file decides where the rows go and which receiver gets the credentials of the environment.
    """
    try:
        found, link = path.stat(), path.lstat()
    except OSError:  # the file is gone again
        return None
    if link.st_uid not in {os.geteuid(), 0} and stat.S_ISLNK(link.st_mode):
        why = f"is a link that belongs to another user (uid {link.st_uid})"
    elif found.st_uid not in {os.geteuid(), 0}:
        why = f"belongs to another user (uid {found.st_uid})"
    elif found.st_mode & stat.S_IWOTH:
        why = "can be written by every user"
    else:
        return None
    return (
        f"{path} was found in the current folder and {why}, who decides by it where rows and credentials go: "
        "if it is meant, name it with --config; if not, remove it."
    )
