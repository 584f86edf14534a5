"""The product as a user has it: the installed command with a configuration file, a state of its own for each use."""

import itertools
import json
import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDBServer

import incident_process
from bench.measure import Sample, command
from bench.plan import CONNECTIONS
from bench.servers import Mongo

_NUMBERS = itertools.count(1)
_PREFIX = "INCIDENT_PROCESS"
_DUE = "UPDATE Process_Operation SET Next_execution_dtm = '2000-01-01 00:00:00'"

Sections = dict[str, dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Product:
    """One configuration, its state made by ``init``. ``servers`` are those whose processor time is of interest."""

    config: Path
    servers: Mapping[str, int]
    state: Path | None = None
    """The SQLite file of the state, where it is one."""

    def init(self) -> "Product":
        """Create the state."""
        self.run("init")
        return self

    def run(self, *arguments: str) -> Sample:
        """Run one command, measured."""
        return command(
            [*program(), *arguments, "--config", self.config],
            servers=self.servers,
            environment=clean(),
            folder=self.config.parent,
        )

    def deliver(self, **expected: int) -> Sample:
        """Run one window, measured.

        Raises:
            RuntimeError: Its report does not have the counts that were expected, so it has not done the work.
        """
        sample = self.run("run", "--json")
        report: dict[str, Any] = json.loads(sample.output)
        if any(report[name] != count for name, count in expected.items()):
            raise RuntimeError(f"expected {expected}, but the run reports {report}")
        return sample

    def make_due(self) -> None:
        """Let the next run begin at once: tracking in SQL requires a minute between two runs."""
        self._write(_DUE)

    def set_watermark(self, moment: str) -> None:
        """Change Last_execution_dtm by hand, as an operator would: ``YYYY-MM-DD HH:MM:SS``, UTC."""
        self._write(f"UPDATE Process_Operation SET Last_execution_dtm = '{moment}'")  # noqa: S608 - the bench's own

    def _write(self, statement: str) -> None:
        if self.state is None:
            raise ValueError("this product's state is in no SQLite file")
        with closing(sqlite3.connect(self.state, timeout=30)) as connection, connection:
            connection.execute(statement)


def program() -> list[str | Path]:
    """Return the installed command, or the same as a module where it is not installed."""
    script = Path(sys.executable).with_name("incident-process")
    return [script] if script.exists() else [sys.executable, "-m", "incident_process"]


def clean() -> dict[str, str]:
    """Return this environment without settings of the product, and with the package that is imported here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    package = str(Path(incident_process.__file__).parent.parent)
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, (package, kept.get("PYTHONPATH"))))}


def on_sqlite(folder: Path, source: str, url: str, servers: Mapping[str, int], **api: object) -> Product:
    """Return the product with its state in a new SQLite file."""
    place = _place(folder)
    state = place / "state.db"
    config = _write_config(place, source, url, {"STATE": {"url": f"sqlite:///{state}"}}, api)
    return Product(config=config, servers=servers, state=state).init()


def on_mariadb(
    folder: Path,
    source: str,
    url: str,
    servers: Mapping[str, int],
    state: MariaDBServer,
    more: Sections | None = None,
    **api: object,
) -> Product:
    """Return the product with its state in a new database of MariaDB, and ``more`` sections."""
    place = _place(folder)
    sections: Sections = {"STATE": {"url": state.url(state.create_database())}, **(more or {})}
    return Product(config=_write_config(place, source, url, sections, api), servers=servers).init()


def on_mongo(
    folder: Path, source: str, url: str, servers: Mapping[str, int], state: Mongo, database: str, **api: object
) -> Product:
    """Return the product with its state in a database of a MongoDB-wire server."""
    place = _place(folder)
    sections: Sections = {
        "MONGODB": {"MONGO_URL": state.url, "DATABASE_NAME": database},
        "PROCESS": {"tracking": "mongo"},
    }
    return Product(config=_write_config(place, source, url, sections, api), servers=servers).init()


def _place(folder: Path) -> Path:
    place = folder / f"product-{next(_NUMBERS)}"
    place.mkdir(parents=True)
    return place


def _write_config(place: Path, source: str, url: str, state: Sections, api: Mapping[str, object]) -> Path:
    """Write the configuration: all defaults, except the keys that let two runs follow each other within seconds."""
    process = {"tracking": "sql", "time_gap_seconds": 0, "execution_duration": 1}
    sections: Sections = {
        "DATABASE": {"URL": source},
        "API": {"api_url": url, "max_connections": CONNECTIONS} | dict(api),
        **state,
        "PROCESS": process | state.get("PROCESS", {}),
    }
    lines = [
        line
        for section, keys in sections.items()
        for line in (f"[{section}]", *(f"{key} = {value}" for key, value in keys.items()))
    ]
    config = place / "bench.ini"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines), encoding="utf-8")
    return config
