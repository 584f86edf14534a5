"""Where Python looks for modules: never in the folder in which the operator starts a command.

``python -m`` puts the working directory first on ``sys.path``, and so does the interpreter of every child process that
is started with ``-m`` or ``-c``. A stray file ``uvloop.py`` there would run in place of the library, as the operator,
with all that the settings hold. So the program takes the folder out before it imports anything else, and starts its
own processes with a safe path. The folders of ``PYTHONPATH`` stay: the user has asked for them.

This module may import only modules that every interpreter has loaded before ``sys.path`` is made.
"""

import os
import sys

PACKAGE = "incident_process"
_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # no pathlib yet
ROOT = os.path.dirname(_PACKAGE_FOLDER)  # noqa: PTH120  # as above
"""The folder that holds this package."""
SAFE = {"PYTHONSAFEPATH": "1"}
"""The environment of interpreters that a library (multiprocessing) starts for this program."""

_START = """\
import sys
from importlib import machinery, util
root, module = sys.argv[1:3]
del sys.argv[1:3]
spec = machinery.PathFinder.find_spec(module.partition(".")[0], [root])
package = sys.modules[spec.name] = util.module_from_spec(spec)
spec.loader.exec_module(package)
import runpy
runpy.run_module(module, run_name="__main__", alter_sys=True)"""
"""Loads this very package from its folder, without a search for anything else there."""


def leave_working_directory() -> None:
    """Take the working directory off the path where ``python -m incident_process`` has put it there.

    Another program that imports the package keeps its path. Where the package itself was found only in the working
    directory (a source folder), the folder stays, as the last one.
    """
    if sys.flags.safe_path or sys.argv[:1] != ["-m"] or not _is_ours(sys.orig_argv):
        return
    try:
        here = os.getcwd()  # noqa: PTH109  # no pathlib yet
    except OSError:  # the folder is gone: then Python has put nothing on the path
        return
    if sys.path[:1] == [here]:
        del sys.path[0]
        if here == ROOT and here not in sys.path:
            sys.path.append(here)


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that starts a module of this package in its own interpreter, on a safe path.

    The child runs this very package, wherever Python has found that.
    """
    return [sys.executable, "-P", "-c", _START, ROOT, module, *arguments]


def _is_ours(words: list[str]) -> bool:
    """Return whether the interpreter's arguments say ``-m incident_process`` or a module of it."""
    for place, word in enumerate(words[1:], start=2):
        if word.startswith("-") and not word.startswith("--") and word.endswith("m"):
            module = words[place] if place < len(words) else ""
        elif word.startswith("-m"):
            module = word[2:]
        else:
            continue
        return module.partition(".")[0] == PACKAGE
    return False
