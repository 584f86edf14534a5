"""SecantusDB, a server of MongoDB's wire protocol that a package brings, as a process of its own."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.mongo_server import MongoServer
from tests.support.ports import HOST


class SecantusServer(MongoServer):
    """One secantusd-py process over a fresh folder."""

    product: ClassVar[str] = "SecantusDB"

    def __init__(self) -> None:
        self._program = Path(sys.executable).with_name("secantusd-py")
        if not self._program.exists() and sys.version_info >= (3, 14):
            pytest.skip("SecantusDB has no build for Python 3.14 yet: name a server of MongoDB's protocol")
        if not self._program.exists():
            pytest.fail("The tests need SecantusDB beside this Python: run `make setup-tests`.", pytrace=False)
        super().__init__()

    def start(self) -> None:
        self._process = self._run(
            [
                str(self._program),
                f"--host={HOST}",
                f"--port={self._port}",
                f"--storage-path={self._folder / 'data'}",
                "--cache-size=256M",
                "--log-level=WARNING",
                # Without this, acknowledged writes do not outlive a SIGKILL, even with j=true.
                "--sync-on-commit",
            ]
        )
        self._wait()
