"""The fixtures that all tests share; each lives in a module of its own under ``support``."""

from importlib.util import find_spec

pytest_plugins = [
    name
    for name in ("tests.support.mariadb", "tests.support.stores", "tests.support.receivers")
    if find_spec(name) is not None
]
