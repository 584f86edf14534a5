"""DocumentDB for the tests: PostgreSQL with its extension, out of a tree of Debian sid, and the tests' own gateway.

``make test-documentdb`` unpacks the tree into ``.servers``. Its programs and libraries look for their files where a
package puts them, so PostgreSQL runs in a ``chroot``, as the user ``nobody``; only root can start it.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest

from tests.support.mongo_server import START_SECONDS, MongoServer
from tests.support.ports import HOST, HeldPort
from tests.support.unpacked import require, tree_of

TREE = tree_of("documentdb")
BIN = "/usr/lib/postgresql/18/bin"
DEVICES = {"null": 3, "zero": 5, "urandom": 9}

CONFIGURATION = f"""
listen_addresses = '{HOST}'
unix_socket_directories = '/tmp'
dynamic_shared_memory_type = mmap
max_connections = 300
shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb'
cron.database_name = 'postgres'
# The file system's cache outlives a killed process: that is the crash that the tests make.
fsync = off
"""


class DocumentDBServer(MongoServer):
    """One PostgreSQL over a copy of the template, and one gateway before it, which has the port of the address."""

    product: ClassVar[str] = "DocumentDB"

    def __init__(self) -> None:
        _require_tree()
        super().__init__()
        self._postgres_held = HeldPort()
        self._postgres_port = self._postgres_held.number
        self._postgres: subprocess.Popen[bytes] | None = None
        template = _template()
        self._data = Path(tempfile.mkdtemp(prefix="data-", dir=template.parent))
        self._data.rmdir()
        subprocess.run(["cp", "-a", str(template), str(self._data)], check=True)

    @property
    def pid(self) -> None:
        """PostgreSQL has a process for each connection, beside the gateway."""

    def start(self) -> None:
        command = [f"{BIN}/postgres", "-D", _inside(self._data), "-p", str(self._postgres_port)]
        self._postgres = self._run(_chroot(*command))
        if not _answers(self._postgres, self._postgres_port):
            self._fail()
        gateway = [sys.executable, str(Path(__file__).with_name("documentdb_gateway.py"))]
        self._process = self._run([*gateway, str(self._port), str(self._postgres_port)])
        self._wait()

    def kill(self) -> None:
        super().kill()
        if self._postgres is not None:
            # As a crash: it waits for no client and cleans nothing up. SIGKILL would leave its other processes alive.
            self._postgres.send_signal(signal.SIGQUIT)
            self._postgres.wait()
            self._postgres = None

    def stop(self) -> None:
        super().stop()
        self._postgres_held.close()
        shutil.rmtree(self._data, ignore_errors=True)


def _require_tree() -> None:
    """Skip the test where DocumentDB is not available, with the reason."""
    require("documentdb", "DocumentDB", "make test-documentdb")
    if os.geteuid() != 0:
        pytest.skip("DocumentDB is not tested: only root may start it, in a chroot.")


def _inside(path: Path) -> str:
    """Return a path of the tree as its programs see it."""
    return f"/{path.relative_to(TREE)}"


def _chroot(*command: str) -> list[str]:
    """Return the command that runs another in the tree, as nobody."""
    libraries = next((TREE / "usr" / "lib").glob("*-linux-gnu")).name
    # What ldconfig and update-alternatives would have linked, had the packages been configured.
    paths = ":".join(f"/usr/lib/{libraries}{part}" for part in ("", "/blas", "/lapack"))
    nobody = pwd.getpwnam("nobody")
    environment = [f"LD_LIBRARY_PATH={paths}", "HOME=/tmp", "LC_ALL=C.UTF-8", f"PATH={os.environ['PATH']}"]
    enter = ["chroot", f"--userspec={nobody.pw_uid}:{nobody.pw_gid}", str(TREE)]
    return ["env", "-i", *environment, *enter, *command]


def _template() -> Path:
    """Return the data folder to copy, with the extension in it; made aside and renamed, to be whole or not there."""
    folder = TREE / "var" / "lib" / "incident"
    template = folder / "template"
    if not template.exists():
        _prepare_tree()
        nobody = pwd.getpwnam("nobody")
        folder.mkdir(exist_ok=True)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        aside = Path(tempfile.mkdtemp(prefix="template-", dir=folder))
        os.chown(aside, nobody.pw_uid, nobody.pw_gid)
        try:
            _fill(aside)
            aside.replace(template)
        except OSError:  # it is not empty, where another worker was faster
            if not template.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return template


def _prepare_tree() -> None:
    """Do what installing the packages would have done, as far as PostgreSQL needs it."""
    for name, minor in DEVICES.items():
        if not (TREE / "dev" / name).exists():
            os.mknod(TREE / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (TREE / "dev" / name).chmod(0o666)
    nobody = pwd.getpwnam("nobody")
    (TREE / "etc" / "passwd").write_text(f"postgres:x:{nobody.pw_uid}:{nobody.pw_gid}::/tmp:/bin/sh\n")
    (TREE / "etc" / "hosts").write_text("127.0.0.1 localhost\n")  # the extension calls itself there
    (TREE / "tmp").chmod(0o1777)
    control = TREE / "usr" / "share" / "postgresql" / "18" / "extension" / "postgis.control"
    control.unlink(missing_ok=True)
    control.symlink_to("postgis-3.control")


def _fill(data: Path) -> None:
    """Make a data folder with the extension in it."""
    made = ["-D", _inside(data), "--auth=trust", "--username=postgres", "--locale=C.UTF-8", "--no-sync"]
    _done(_chroot(f"{BIN}/initdb", *made))
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(CONFIGURATION)
    held = HeldPort()
    command = _chroot(f"{BIN}/postgres", "-D", _inside(data), "-p", str(held.number))
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not _answers(server, held.number):
            pytest.fail("DocumentDB's PostgreSQL did not start over a new data folder.", pytrace=False)
        with psycopg.connect(_address(held.number), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION documentdb CASCADE")
    finally:
        server.send_signal(signal.SIGINT)  # its clients are ended, its data put in order
        server.wait()
        held.close()


def _done(command: Sequence[str]) -> None:
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{finished.stdout}{finished.stderr}", pytrace=False)


def _answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until PostgreSQL takes a connection; return whether it does."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            psycopg.connect(_address(port), connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    return False


def _address(port: int) -> str:
    return f"host={HOST} port={port} user=postgres dbname=postgres"
