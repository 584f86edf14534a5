"""The first stage of the Dockerfile, without a container engine: its commands are run, in folders of the test's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGE = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS build\n")[2].partition("\nFROM ")[0]
UNREACHABLE = re.compile(
    "Name or service not known|name resolution|Network is unreachable|timed out|Connection refused"
)


def built(folder: Path, extras: str, change: tuple[str, str] = ("", "")) -> "subprocess.CompletedProcess[str]":
    """Copy what the stage copies, with one change in the hashes, and run its command; skip without an index."""
    build = folder / "build"
    build.mkdir()
    for line in re.findall(r"^COPY (.+)$", STAGE, re.MULTILINE):
        for name in line.split()[:-1]:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, build / name)
    for file in (build / "hashes").iterdir():
        file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    (command,) = re.findall(r"^RUN ((?:.*\\\n)*.*)$", STAGE, re.MULTILINE)
    command = command.replace("/opt/incident-process", f"{folder}/opt").replace("/build/", f"{build}/")
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=build,
        env={**os.environ, "EXTRAS": extras, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if done.returncode != 0 and UNREACHABLE.search(done.stderr):
        pytest.skip("pip reaches no package index here")
    return done


@pytest.mark.skipif(sys.version_info[:2] > (3, 13), reason="the hashes are those for the supported versions of Python")
def test_the_environment_is_whole_and_holds_what_was_asked_for(tmp_path: Path) -> None:
    done = built(tmp_path, "dask,otel")
    assert done.returncode == 0, done.stderr
    programs = tmp_path / "opt" / "bin"
    version = subprocess.run([programs / "incident-process", "--version"], capture_output=True, text=True, check=True)
    assert re.search(r"\d+\.\d+\.\d+", version.stdout)
    assert (programs / "dask").exists(), "workers of a cluster are started by it"
    subprocess.run([programs / "python", "-P", "-c", "import distributed, opentelemetry.sdk"], check=True)
    assert not list((tmp_path / "opt").glob("lib/python*/site-packages/pip")), "nothing that installs more"


@pytest.mark.skipif(sys.version_info[:2] > (3, 13), reason="the hashes are those for the supported versions of Python")
def test_a_package_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    (digest, *_) = re.findall(r"sha256:(\w+)", (ROOT / "hashes" / "build.txt").read_text(encoding="utf-8"))
    done = built(tmp_path, "", (digest, digest[::-1]))
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE" in done.stderr
    assert not (tmp_path / "opt").exists()
