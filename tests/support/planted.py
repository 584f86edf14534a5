"""A folder of Python files that must never run, each under the name of a module that the program uses."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

FURTHER = ("sitecustomize", "usercustomize", "incident_process", "numpy", "orjson", "pandas", "gevent", "h2", "brotli")
"""Names that no package here may have, but that Python or a library looks for."""
PROGRAM = str(Path(sys.executable).with_name("incident-process"))
"""The command as it is installed."""


class PlantedModules:
    """A folder in which every importable name is a file that says so when it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ran = folder / "planted-ran.txt"
        names = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions(), *FURTHER}
        says = f"with open({str(self._ran)!r}, 'a') as file: file.write(__name__ + ' ')\n"
        for name in filter(str.isidentifier, names):
            (folder / f"{name}.py").write_text(says)

    def spare(self, names: Collection[str]) -> None:
        """Take some of the files away."""
        for name in names:
            (self.folder / f"{name}.py").unlink(missing_ok=True)

    @property
    def ran(self) -> list[str]:
        """Return the files that any program ran."""
        return self._ran.read_text().split() if self._ran.exists() else []


def loaded_by_python_itself(folder: Path) -> set[str]:
    """Return the modules that ``python -m`` imports before the first line of the requested module.

    Only ``-P`` keeps them out: they are imported before the program begins.
    """
    package = folder / "bare"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print(*{name.partition('.')[0] for name in sys.modules})")
    command = [sys.executable, "-m", "bare"]
    done = subprocess.run(command, cwd=folder, env=clean({}), capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def clean(further: dict[str, str]) -> dict[str, str]:
    """Return an environment without anything that changes where Python looks for modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "INCIDENT_PROCESS"))}
    return kept | further
