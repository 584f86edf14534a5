"""What a machine may lack (a home, temporary space, a resolver, UTF-8 in the environment) is told in one sentence."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import dns.asyncresolver
import dns.resolver
import pytest

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, LocalResourceError
from incident_process.core.local_places import expand_home, require_home, temporary_file
from incident_process.source.account_spool import Sighting, SurveySpool
from incident_process.state.mongo.connection import Connection, translating


def full(*_: object, **__: object) -> IO[bytes]:
    """Return a file on a device that is always full."""
    return open("/dev/full", "w+b")  # noqa: PTH123 - the caller closes it


def test_a_survey_without_temporary_space_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    spool = SurveySpool()

    def survey() -> None:
        spool.customers([Sighting(f"{number:010d}".encode(), 1, None) for number in range(5000)])
        spool.payments([])
        spool.finish()

    try:
        with pytest.raises(LocalResourceError, match=r"Temporary space is used up .*: free some, or set TMPDIR"):
            survey()
    finally:
        spool.close()


def test_no_folder_for_temporary_files_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(LocalResourceError, match=r"No temporary file can be written .*: set TMPDIR"):
        temporary_file()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # no such user, as in a container with a uid of its own
    with pytest.raises(ConfigurationError, match="set HOME, or name the file by its whole path"):
        require_home("the database")
    with pytest.raises(ConfigurationError, match="no home folder is known for its ~: set HOME"):
        expand_home(Path("~/incidents.ini"))


def command(*arguments: str, **environ: bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "incident_process", *arguments],
        env={**os.environb, **{name.encode(): value for name, value in environ.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_password_in_the_environment_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    config = tmp_path / "c.ini"
    config.write_text(
        "[DATABASE]\nMYSQL_HOST = localhost\nMYSQL_DATABASE = d\nMYSQL_USER = u\nMYSQL_PASSWORD = p\n"
        "[API]\napi_url = http://127.0.0.1:9/x\n[PROCESS]\ntracking = sql\n"
    )
    done = command("status", "--config", str(config), INCIDENT_PROCESS__DATABASE__MYSQL_PASSWORD=b"p\xe4ssword")
    assert done.returncode == 2, done.stderr
    assert "INCIDENT_PROCESS__DATABASE__MYSQL_PASSWORD is not UTF-8 text" in done.stderr
    assert "ssword" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_resolver_that_is_away_is_a_database_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (dns.resolver, dns.asyncresolver):
        away = module.Resolver(configure=False)
        away.nameservers = ["127.0.0.1"]
        away.port = 9
        away.lifetime = 0.5
        monkeypatch.setattr(module, "default_resolver", away)

    async def connect() -> None:
        connection = Connection("mongodb+srv://user:secret@cluster.example.com/", "d")
        with translating(connection.server):
            await connection.open()

    with pytest.raises(DatabaseConnectionError) as caught:
        asyncio.run(connect())
    assert "the resolver does not find the hosts of this mongodb+srv name" in str(caught.value)
    assert "secret" not in str(caught.value)
