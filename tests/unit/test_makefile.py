"""``make help`` lists what can be called, from the targets' own comments."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

TARGET = re.compile(r"^([a-z-]+):(?!=)(.*)$", re.MULTILINE)
SETTING_UP = {"setup-checks", "setup-docs", "setup-bench", "unpack-documentdb"}
"""Steps of other targets: nobody calls them by name."""


def test_make_help_has_a_line_for_each_target() -> None:
    command = ["make", "--no-print-directory", "help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = {line.split()[1]: line.split(maxsplit=2)[2:] for line in done.stdout.splitlines()}
    assert set(lines) == {name for name, _ in TARGET.findall(MAKEFILE)} - SETTING_UP
    assert all(lines.values())


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(phony[1].replace("\\\n", " ").split()) == {name for name, _ in TARGET.findall(MAKEFILE)}
