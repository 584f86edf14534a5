"""What the sections share: servers, databases and bodies, each made at its first use."""

import sqlite3
import sys
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from types import TracebackType

import msgspec
from tests.support.mariadb import MariaDBServer
from tests.support.receivers import start_receiver

from bench import data, product, servers
from bench.measure import Sample
from bench.plan import Plan

SAMPLE_BODIES = 5_000
"""Real bodies that the raw measurements post in turn."""


class Workspace:
    """The workspace of one run of the bench: ``folder`` is removed afterwards, ``cache`` stays."""

    def __init__(self, plan: Plan, folder: Path, cache: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.cache = cache
        self._stack = ExitStack()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the servers."""
        self._stack.close()

    @cached_property
    def mariadb(self) -> MariaDBServer:
        """The database server of the source, and of the state where that is on it."""
        return self._stack.enter_context(servers.mariadb())

    @cached_property
    def mongo(self) -> servers.Mongo:
        """The server of the state where that is in MongoDB."""
        return self._stack.enter_context(servers.mongo())

    @cached_property
    def receiver(self) -> servers.Receiver:
        """The receiver of everything that is compared."""
        return self._stack.enter_context(servers.fastest_receiver(self.folder / "nginx"))

    @cached_property
    def main(self) -> str:
        """The database with all accounts."""
        return self._load(self.plan.accounts, self.plan.lookback)

    @cached_property
    def small(self) -> str:
        """The database with a tenth of them."""
        return self._load(self.plan.small, self.plan.small)

    @property
    def watched(self) -> dict[str, int]:
        """The servers that every run of the product uses."""
        return {"database": self.mariadb.pid, "receiver": self.receiver.pid}

    @property
    def bodies(self) -> Path:
        """A file with real bodies and keys, what the project's own receiver got."""
        return self._received[0]

    @property
    def to_own_receiver(self) -> Sample:
        """The run that posted them: the first load of the small database."""
        return self._received[1]

    @cached_property
    def _received(self) -> tuple[Path, Sample]:
        say("A run to the project's own receiver, which keeps the bodies ...")
        place = self.folder / "bodies"
        place.mkdir()
        with start_receiver(place) as receiver:
            servers = {"database": self.mariadb.pid, "receiver": receiver.pid}
            made = product.on_sqlite(self.folder, self.source(self.small), receiver.url, servers)
            sample = made.deliver(delivered=self.plan.small)
            with closing(sqlite3.connect(receiver.database)) as connection:
                query = "SELECT idempotency_key, body FROM accepted LIMIT ?"
                found = connection.execute(query, (SAMPLE_BODIES,)).fetchall()
        file = place / "bodies.msgpack"
        file.write_bytes(msgspec.msgpack.encode(found))
        return file, sample

    def source(self, database: str) -> str:
        """Return the address of a source database."""
        return self.mariadb.url(database)

    def address(self, database: str) -> list[str]:
        """Return host, port, user and database, as the bench's own programs take them."""
        return [self.mariadb.host, str(self.mariadb.port), self.mariadb.user, database]

    @property
    def environment(self) -> dict[str, str]:
        """A clean environment with the password that goes with ``address``."""
        return product.clean() | {"BENCH_PASSWORD": self.mariadb.password}

    def _load(self, accounts: int, recent: int) -> str:
        say(f"Loading {accounts:,} synthetic accounts ...")
        return data.load(self.mariadb, accounts, recent)


def say(text: str) -> None:
    """Print a line on stderr at once, apart from the results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
