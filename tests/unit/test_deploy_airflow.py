"""The Airflow DAGs, without Airflow: what can be seen in its text, and its mapping of exit statuses, called.

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


@pytest.mark.parametrize("status", [1, 3, 4, 5, -9])
def test_a_night_that_met_a_run_is_tried_again_and_not_skipped(settle: Any, status: int) -> None:
    with pytest.raises(Exception, match="the next try resumes") as raised:
        settle(status, may_be_skipped=False)
    assert type(raised.value).__name__ == "AirflowException"


def test_success_is_success(settle: Any) -> None:
    assert 0 in EXIT_STATUS.values()
    assert settle(0) is None
    assert settle(0, may_be_skipped=False) is None


def dags() -> dict[str, tuple[dict[str | None, ast.expr], str]]:
    """Return the arguments of each DAG's decorator and the text of its function, by the function's name."""
    return {
        node.name: ({keyword.arg: keyword.value for keyword in decorator.keywords}, ast.unparse(node))
        for node in TREE.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
    }


def test_every_dag_is_named_as_its_function_and_made() -> None:
    made = {ast.unparse(node) for node in TREE.body if isinstance(node, ast.Expr)}
    assert set(dags()) == {"incident_process", "incident_process_reconcile"}
    for name, (given, _) in dags().items():
        assert ast.literal_eval(given["dag_id"]) == name
        assert f"{name}()" in made


def test_a_night_is_tried_for_as_long_as_the_page_says() -> None:
    given, text = dags()["incident_process_reconcile"]
    assert ast.unparse(given["default_args"]) == "{'retries': 36, 'retry_delay': timedelta(minutes=5)}"
    assert "three hours" in (FILE.parents[2] / "docs" / "how-to" / "airflow.md").read_text(encoding="utf-8")
    assert "'reconcile', '--repair'" in text
    assert "may_be_skipped=False" in text


@pytest.mark.parametrize("name", ["incident_process", "incident_process_reconcile"])
def test_the_dag_is_one_run_at_a_time_and_makes_up_for_nothing(name: str) -> None:
    given, _ = dags()[name]
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
