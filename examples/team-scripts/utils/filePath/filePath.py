"""Where the files of ``config/`` are."""

from pathlib import Path

from incident_process import ConfigurationError

CONFIG = Path(__file__).resolve().parents[2] / "config"


def get_filePath(key: str) -> str:  # noqa: N802  # the name in the team's scripts
    """Return the path of ``config/KEY.ini``; raise ConfigurationError where there is no such file."""
    path = CONFIG / f"{key}.ini"
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}: correct the key, or put the file there.")
    return str(path)
