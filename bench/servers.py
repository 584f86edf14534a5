"""The servers of the bench, each a process of its own on a free port, ended with the block that started it."""

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from tests.support.mariadb import MariaDBServer
from tests.support.mongo_server import VARIABLE, make_mongo_server

from bench.programs import delay

HOST = "127.0.0.1"
STOP_SECONDS = 20

_MARIADB = (
    # What a database server of this size would be given. The tests' server is made to be small.
    "SET GLOBAL innodb_buffer_pool_size = 2147483648",
    "SET GLOBAL innodb_log_file_size = 536870912",
    # Each commit reaches the disk, as is the default of MySQL: nothing of the figures comes from leaving that out.
    "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
)

_NGINX = """
daemon off;
{user}
worker_processes {workers};
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    server {{
        listen {host}:{port} backlog=4096;
        location / {{ return 201 '{{"message":"Incident created successfully"}}'; }}
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A receiver that answers 201."""

    name: str
    url: str
    pid: int


@contextmanager
def fastest_receiver(folder: Path) -> Iterator[Receiver]:
    """Run nginx where it is installed, otherwise the bench's own receiver; its name says which."""
    program = find("nginx")
    if program is None:
        with delaying_receiver(0) as receiver:
            yield receiver
        return
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""  # its workers could not enter a folder of root's otherwise
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(user=user, workers=os.cpu_count(), folder=folder, host=HOST, port=port))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(config), "-e", "stderr"], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        _wait_for(port, process, folder / "log")
        yield Receiver(name="nginx", url=f"http://{HOST}:{port}/incident", pid=process.pid)
    finally:
        _end(process)


@contextmanager
def delaying_receiver(milliseconds: int, workers: int = 0) -> Iterator[Receiver]:
    """Run a receiver that waits before each answer; with ``workers``, it works on at most this many at once."""
    arguments = [sys.executable, delay.__file__, str(milliseconds), str(workers)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        out = process.stdout
        if out is None or not select.select([out], [], [], STOP_SECONDS)[0]:
            raise RuntimeError("the answering machine did not start")
        port = int(out.readline())
        yield Receiver(name="answering machine", url=f"http://{HOST}:{port}/incident", pid=process.pid)
    finally:
        _end(process)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def mariadb() -> Iterator[MariaDBServer]:
    """Run a private MariaDB with the memory and the durability of a real one."""
    server = MariaDBServer()
    try:
        server.create()
        with server.connect(None) as connection, connection.cursor() as cursor:
            for statement in _MARIADB:
                try:
                    cursor.execute(statement)
                except pymysql.MySQLError as exc:  # an older version sets it at its start only
                    sys.stderr.write(f"MariaDB refused `{statement}` ({exc.args[0]}): figures are for its default.\n")
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, kw_only=True)
class Mongo:
    """A server of MongoDB's wire protocol; ``pid`` None where it is not one process, or not the bench's own."""

    name: str
    url: str
    pid: int | None


@contextmanager
def mongo() -> Iterator[Mongo]:
    """Run the tests' server, or take the real one that the environment names."""
    if url := os.environ.get(VARIABLE):
        yield Mongo(name="MongoDB of the environment", url=url, pid=None)
        return
    server = make_mongo_server()
    try:
        server.start()
        yield Mongo(name=f"{server.product}, of the tests", url=server.url, pid=server.pid)
    finally:
        server.stop()


def find(program: str) -> str | None:
    """Return the path of a program, also where servers live that are not on a user's PATH; None without it."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server answers on the port."""
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            with socket.create_connection((HOST, port), 1.0):
                return
        except OSError:
            select.select([], [], [], 0.05)
    raise RuntimeError(f"nginx did not start: {log.read_text()[-2000:]}")


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
