"""The layout of the team's scripts runs as it is (SPEC 9): ``examples/team-scripts`` against real servers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSite, ServerDatabase, Site, day

EXAMPLE = Path(__file__).parents[2] / "examples" / "team-scripts"

IMPORTS = """
from utils.database.connectMongo import get_mongo_collection
from utils.database.connectSQL import get_mysql_connection
from utils.custom_exceptions.customize_exceptions import (
    APIConfigError, IncidentCreationError, DatabaseConnectionError, DataProcessingError)
from utils.logger.logger import get_logger
from utils.filePath.filePath import get_filePath
from utils.api.connectAPI import read_api_config
from incident_create_copy import create_incident
"""
USE = """
logger = get_logger("incident_logger")
connection = get_mysql_connection()
with connection, connection.cursor() as cursor:
    cursor.execute("SELECT COUNT(*) FROM debt_cust_detail")
    logger.info("%d rows", cursor.fetchone()[0])
collection = get_mongo_collection("Process_Operation")
print(collection.count_documents({}), read_api_config(), get_filePath("databaseConfig"))
incident = create_incident("0000000002", 77)
incident.read_customer_details()
incident.get_payment_data()
print(len(incident.format_json_object()) > 100)
"""


@pytest.fixture
def folder(make_site: MakeSite, tmp_path: Path) -> tuple[Site, Path]:
    """The example beside a site on MariaDB and a MongoDB-wire server, with the site's own configuration."""
    site = make_site("mariadb", "mongo")
    site.prepare()
    site.customers(*({"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A1", "LOAD_DATE": day(3)} for n in (1, 2, 3)))
    source = site.source
    assert isinstance(source, ServerDatabase)
    server = source.server
    site.command.configure(
        database={
            "URL": None,  # as the team has it: the keys, and no address
            "MYSQL_HOST": server.host,
            "MYSQL_PORT": server.port,
            "MYSQL_DATABASE": source.name,
            "MYSQL_USER": server.user,
            "MYSQL_PASSWORD": server.password,
        }
    )
    copy = tmp_path / "team-scripts"
    shutil.copytree(EXAMPLE, copy)
    configured(site, copy)
    return site, copy


def configured(site: Site, folder: Path) -> None:
    shutil.copy(site.command.config, folder / "config" / "databaseConfig.ini")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INCIDENT_PROCESS")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


def test_the_script_does_a_run_and_every_old_import_works(folder: tuple[Site, Path]) -> None:
    site, scripts = folder
    done = python(scripts, "incident_create_copy.py", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["delivered"] == 3
    assert "INFO:incident_logger:Successfully sent data to API." in done.stderr
    # From another folder it finds the configuration beside itself.
    again = python(scripts.parent, str(scripts / "incident_create_copy.py"), "--json")
    assert (again.returncode, json.loads(again.stdout)["status"]) == (0, "no_data"), again.stderr
    used = python(scripts, "-c", IMPORTS + USE)
    assert used.returncode == 0, used.stderr
    counted, url, path, whole = used.stdout.split()
    assert (counted, whole) == ("1", "True")
    assert url == site.receiver.url
    assert Path(path).samefile(scripts / "config" / "databaseConfig.ini")
    assert "INFO:incident_logger:3 rows" in used.stderr
    assert "is connected." in used.stderr


def test_a_database_that_lets_nobody_in_is_named_with_its_cause(folder: tuple[Site, Path]) -> None:
    site, scripts = folder
    site.command.configure(database={"MYSQL_PASSWORD": "wrong"})
    configured(site, scripts)
    refused = python(scripts, "-c", IMPORTS + "get_mysql_connection()")
    assert refused.returncode == 1
    assert "no running event loop" not in refused.stderr
    (said,) = [line for line in refused.stderr.splitlines() if line.startswith("ERROR:incident_logger:")]
    assert "access denied (error 1045). Check user and password" in said


def test_get_file_path_names_a_file_that_is_missing(folder: tuple[Site, Path]) -> None:
    _, scripts = folder
    missing = python(scripts, "-c", IMPORTS + "get_filePath('filterRuleConfig')")
    assert "There is no file" in missing.stderr.splitlines()[-1]
