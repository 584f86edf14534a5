"""The tutorial works: every command of the page is run, in its order, and gives the answers that the page shows."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import incident_process

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-incident.md"
BLOCK = re.compile(r"^```(?P<language>sh|text)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = "/bin/bash"
SECONDS = 120
ANY = "…"


class Step(NamedTuple):
    """One block of commands, and the lines that the page shows as their answer."""

    commands: str
    answer: list[str]


def steps() -> list[Step]:
    found: list[Step] = []
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["language"] == "sh":
            found.append(Step(block["text"], []))
        else:
            found[-1].answer.extend(block["text"].splitlines())
    return found


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with ``incident-process`` and ``python``, as an activated environment puts them on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name, command in (("incident-process", f"{python} -m incident_process"), ("python", python)):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    return folder


@pytest.fixture
def port() -> int:
    """A free port in place of the page's, which may be taken where tests run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pattern(line: str) -> re.Pattern[str]:
    """Return what a shown line stands for: `…` is anything, and the width of a gap between columns does not count."""
    words = [".*".join(re.escape(part) for part in word.split(ANY)) for word in line.split()]
    return re.compile(r"^\s*" + r"\s+".join(words).replace(r"\s+.*\s+", r"\s.*"), re.MULTILINE)


def test_every_command_of_the_page_gives_its_answer(tmp_path: Path, programs: Path, port: int) -> None:
    """One shell for the whole page: a later block uses what an earlier one has set."""
    page = steps()
    assert sum(bool(step.answer) for step in page) >= 7
    mark = "=== end of a block ==="
    # The receiver answers a moment after it was started; a person is slower than that, a script is not.
    wait = f"until (echo >/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"
    lines = ["set -e", 'trap "kill \\$(jobs -p) 2>/dev/null || true" EXIT']
    for step in page:
        lines += [step.commands.replace("8000", str(port)), *([wait] if "receiver=$!" in step.commands else [])]
        lines.append(f"echo '{mark}'")
    done = subprocess.run(
        [SHELL, "-c", "\n".join(lines)],
        cwd=tmp_path,
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHONPATH": str(Path(incident_process.__file__).parents[1]),
            "HOME": str(tmp_path),
            "COLUMNS": "200",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    answers = done.stdout.split(f"{mark}\n")
    assert len(answers) == len(page) + 1
    missing = [
        f"{line!r} after {step.commands!r}, which said:\n{answer}"
        for step, answer in zip(page, answers, strict=False)
        for line in step.answer
        if not pattern(line.replace("8000", str(port))).search(answer)
    ]
    assert not missing, "\n".join(missing)
    assert not (tmp_path / "first-incident").exists(), "the page tidies up behind itself"
