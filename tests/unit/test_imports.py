"""What a cold start loads: heavy packages only where a command uses them (SPEC 7; ``docs/performance.md``)."""

import subprocess
import sys

import pytest

HEAVY = {
    "asyncmy",
    "bson",
    "cryptography",
    "pydantic_settings",
    "pymongo",
    "pymysql",
    "rich",
}
PARTS = HEAVY | {"asyncio", "pydantic", "httptools", "stamina", "uvicorn"}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import incident_process", PARTS | {"typer", "msgspec"}),
        ("import incident_process.cli.commands", PARTS),
        ("from incident_process import Settings", HEAVY | {"asyncio", "httptools", "stamina", "typer", "uvicorn"}),
        ("import incident_process.app.runner", HEAVY | {"typer", "uvicorn"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, unwanted: set[str]) -> None:
    assert loaded_by(statement) & unwanted == set()


def test_the_measure_sees_what_is_loaded() -> None:
    assert "asyncmy" in loaded_by("import incident_process.state.sql.mysql")


@pytest.mark.parametrize("module", ["source.sqlite", "state.sql", "state.sql.sqlite", "state.sql.conditions"])
def test_what_is_in_sqlite_loads_no_driver_of_another_database(module: str) -> None:
    assert loaded_by(f"import incident_process.{module}") & {"asyncmy", "pymysql", "pymongo"} == set()
