"""The README's first run works: its blocks are run as they stand, in order, against a real server and receiver."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.markdown import section
from tests.support.ports import HOST, HeldPort
from tests.support.sql_server import SqlServer

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = 120
USER, DATABASE = "incident@'127.0.0.1'", "incident_db"


def blocks() -> list[tuple[str, str]]:
    """Return language and text of each block of the first run."""
    text = section((ROOT / "README.md").read_text(encoding="utf-8"), "## The first run of your own")
    return [(block["language"], block["text"]) for block in BLOCK.finditer(text)]


@pytest.fixture
def administered(sql_server: SqlServer) -> Iterator[SqlServer]:
    """A server on which an administrator has run the README's statements."""
    (statements,) = [text for language, text in blocks() if language == "sql"]
    with sql_server.connect(None) as connection, connection.cursor() as cursor:
        for statement in filter(None, map(str.strip, statements.split(";"))):
            cursor.execute(statement)
        yield sql_server
        cursor.execute(f"DROP USER {USER}")
        cursor.execute(f"DROP DATABASE {DATABASE}")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that is like the clone after ``make setup``: ``make`` in it is make in the clone."""
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / ".venv").symlink_to(ROOT / ".venv")
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} --no-print-directory -C {shlex.quote(str(ROOT))} "$@"\n')
    make.chmod(0o755)
    return folder


def test_the_blocks_lead_to_a_delivered_incident(administered: SqlServer, clone: Path) -> None:
    port = HeldPort()
    listening = f"until (echo >/dev/tcp/{HOST}/{port.number}) 2>/dev/null; do sleep 0.1; done"
    lines = ["set -e", 'trap "kill \\$(jobs -p) 2>/dev/null || true" EXIT']
    for language, text in blocks():
        if language == "ini":  # the ports are those of the test, everything else is as it stands
            (clone / "yours.ini").write_text(
                text.replace("3306", str(administered.port)).replace(":8000", f":{port.number}"), encoding="utf-8"
            )
            lines.append("cat yours.ini >config/databaseConfig.ini")
        elif language == "sh":
            lines += [text, *([listening] if text.rstrip().endswith("&") else [])]
    lines += ["echo === the end of the blocks", "incident-process deliveries"]
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=clone,
        env={"PATH": f"{clone.parent / 'bin'}:/usr/bin:/bin", "HOME": str(clone.parent), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    port.close()
    assert done.returncode == 0, done.stdout
    shown, _, deliveries = done.stdout.partition("=== the end of the blocks\n")
    assert re.search(r"^status +completed$", shown, re.MULTILINE), shown
    assert re.search(r"^delivered +20$", shown, re.MULTILINE), shown
    assert re.search(r"^pending +0$", shown, re.MULTILINE), shown
    # Of this machine, where the tests' interpreter may lie in root's home, and not of the blocks.
    shown = re.sub(r"^WARNING +installation: .*\n +Remedy: .*\n", "", shown, flags=re.MULTILINE)
    assert not re.search("ERROR|WARNING", shown), shown
    assert deliveries.count("delivered") == 20, deliveries
    assert (clone / "config" / "databaseConfig.ini").stat().st_mode & 0o777 == 0o600
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    left = {file.name for file in clone.iterdir()} - {"yours.ini"}
    assert left >= {".venv", "config", "receiver.db"}
    assert {name for name in left if not any(fnmatch(name, pattern) for pattern in ignored)} == set()


def test_there_are_five_commands_to_the_first_delivered_incident() -> None:
    """What the README promises in words: five commands, once the configuration is written."""
    shell = [text for language, text in blocks() if language == "sh"]
    assert [line.split()[:2] for line in shell[-1].splitlines()] == [
        ["incident-process", name] for name in ("init", "doctor", "preview", "run", "status")
    ]
