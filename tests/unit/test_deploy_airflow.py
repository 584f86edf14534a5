"""The Airflow DAG, without Airflow: what can be seen in its text, and its mapping of exit statuses, called.

That Airflow takes it was seen by hand, as its page says: it brings more dependencies than this whole project.
"""

import ast
from pathlib import Path
from typing import Any

import pytest

from incident_process.cli.running import EXIT_STATUS

FILE = Path(__file__).parents[2] / "deploy" / "airflow" / "incident_process_dag.py"
TREE = ast.parse(FILE.read_text(encoding="utf-8"))
ERRORS = ("AirflowException", "AirflowFailException", "AirflowSkipException")


@pytest.fixture
def settle() -> Any:
    """The file's own function, with errors of the same names, because Airflow's cannot be imported here."""
    wanted: list[ast.stmt] = [
        node
        for node in TREE.body
        if isinstance(node, ast.Assign) or (isinstance(node, ast.FunctionDef) and node.name == "settle")
    ]
    names: dict[str, Any] = {name: type(name, (Exception,), {}) for name in ERRORS}
    exec(compile(ast.Module(wanted, []), str(FILE), "exec"), names)
    return names["settle"]


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 130, -9])
def test_every_exit_status_becomes_a_state(settle: Any, status: int) -> None:
    expected = {2: "AirflowFailException", 5: "AirflowSkipException", 6: "AirflowFailException"}
    with pytest.raises(Exception) as raised:  # noqa: PT011  # the class is looked at below, by its name
        settle(status)
    assert type(raised.value).__name__ == expected.get(status, "AirflowException")


def test_success_is_success(settle: Any) -> None:
    assert 0 in EXIT_STATUS.values()
    assert settle(0) is None


def test_the_dag_is_one_run_at_a_time_and_makes_up_for_nothing() -> None:
    (call,) = [
        decorator
        for node in TREE.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
    ]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    assert ast.literal_eval(given["catchup"]) is False
    assert ast.literal_eval(given["max_active_runs"]) == 1
    arguments = given["default_args"]
    assert isinstance(arguments, ast.Dict)
    named = {ast.literal_eval(key): value for key, value in zip(arguments.keys, arguments.values, strict=True) if key}
    assert ast.literal_eval(named["retries"]) >= 1


def test_it_asks_airflow_for_public_names_only() -> None:
    imported = {
        (node.module, name.name) for node in TREE.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    airflow = {(module, name) for module, name in imported if module and module.startswith("airflow")}
    assert airflow == {("airflow.sdk", "dag"), ("airflow.sdk", "task")} | {
        ("airflow.sdk.exceptions", name) for name in ERRORS
    }
