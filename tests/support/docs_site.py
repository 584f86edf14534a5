"""The documentation site, as `make docs` builds it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""How long a build may take at most: it takes about five seconds, and the test machine is shared."""


def build(folder: Path) -> Path:
    """Build the site into a folder with CI's command, without network; return the folder."""
    nowhere = "http://127.0.0.1:9"  # the discard port: whatever would be fetched fails at once
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=dict(os.environ) | {"http_proxy": nowhere, "https_proxy": nowhere, "NO_MKDOCS_2_WARNING": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
