"""What the systemd units forbid, and what they do not: the kernel forbids it here, without systemd."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

PR_SET_MDWE = 65
"""Of Linux 6.3: refuses memory that is both written to and executed, as ``MemoryDenyWriteExecute=`` does."""
CONFINED = f"""
import ctypes, mmap, os, sys
ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    os.execv(sys.executable, [sys.executable, "-P", "-m", "incident_process", "demo"])
sys.exit("it is allowed")
"""
WHO = "from incident_process.core.process_identity import Runner; print(repr(Runner.this().machine))"


@pytest.mark.skipif(
    ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0, reason="this kernel is older than Linux 6.3"
)
def test_the_demo_runs_without_memory_that_is_written_to_and_executed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "missed 0, duplicated 0: the promise is kept." in done.stdout


def in_a_namespace(options: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command where ``/proc`` is mounted with these options."""
    script = f'mount -t proc -o "{options}" proc /proc && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_proc_of_processes_alone_would_hide_what_a_runner_is_recognised_by() -> None:
    """Why the units have no ``ProcSubset=pid``."""
    whole = in_a_namespace("hidepid=2", sys.executable, "-c", WHO)
    if whole.returncode != 0:
        pytest.skip(f"this place allows no mount: {whole.stderr.strip()}")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert whole.stdout.startswith(f"'{boot}.")
    assert in_a_namespace("subset=pid", sys.executable, "-c", WHO).stdout == "''\n"
    assert in_a_namespace("subset=pid", "test", "-e", "/proc/locks").returncode == 1
