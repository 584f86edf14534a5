"""``[ENGINE]``: what it takes, what it refuses, and that a run of one process pays nothing for it."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from incident_process import Settings
from incident_process.cluster.protocol import ChunkResult, ChunkTask
from incident_process.cluster.settings_reference import Reference
from incident_process.core.errors import (
    ConfigurationError,
    DatabaseConnectionError,
    IncidentProcessError,
    LeaseHeldError,
    LeaseLostError,
)
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.source.base import SelectedAccount

MYSQL = "mysql://user:hunter2@host/incidents"
BASE: dict[str, Any] = {"api": {"api_url": "http://host/x"}, "process": {"tracking": "sql"}, "database": {"url": MYSQL}}
REMOTE = {"engine": "dask", "scheduler": "tls://host:8786"}


def made(**sections: dict[str, str]) -> Settings:
    return Settings.model_validate(BASE | sections)


def refused(**sections: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        made(**sections)
    return str(caught.value)


def test_one_process_unless_it_is_asked_for() -> None:
    engine = made().engine
    assert (engine.engine, engine.scheduler, engine.workers, engine.is_remote) == ("local", None, 2, False)
    assert made(engine={"engine": "Dask"}).engine.engine == "dask"
    assert made(engine=REMOTE).engine.is_remote


@pytest.mark.parametrize(
    "address",
    [
        "http://host:8786",
        "host:8786",
        "tcp://host",
        "tcp://host:99999",
        "tcp://user:hunter2@host:1",
        "tcp://host:1/x",
        "tcp://",
    ],
)
def test_an_address_that_no_scheduler_has(address: str) -> None:
    message = refused(engine={"engine": "dask", "scheduler": address})
    assert "[ENGINE] scheduler is no address of a Dask scheduler: write tcp://host:8786" in message
    assert "user:hunter2" not in message, "people put credentials into addresses"


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [("engine", "spark", "local or dask"), ("workers", "0", "from 1 to 256"), ("workers", "two", "a whole number")],
)
def test_values_out_of_range(key: str, value: str, right: str) -> None:
    message = refused(engine={key: value})
    assert f"[ENGINE] {key} has a wrong value" in message
    assert right in message


def test_what_workers_elsewhere_cannot_share_is_refused() -> None:
    source = refused(database={"url": "sqlite:///a.db"}, engine=REMOTE)
    assert "[DATABASE] URL is a SQLite file, which workers on other machines cannot share" in source
    state = refused(state={"url": "sqlite:///a.db"}, engine=REMOTE)
    assert "[STATE] url is a SQLite file, which workers on other machines cannot share" in state
    assert "tracking = mongo" in state


def test_sqlite_is_right_for_a_cluster_of_this_machine_and_for_none() -> None:
    assert made(database={"url": "sqlite:///a.db"}, engine={"engine": "dask"}).engine.scheduler is None
    unused = made(database={"url": "sqlite:///a.db"}, engine={"scheduler": "tls://host:8786"})
    assert any("scheduler has no effect with engine = local" in text for text in unused.warnings)


def test_a_scheduler_that_anybody_can_use_is_warned_of() -> None:
    warned = made(engine={"engine": "dask", "scheduler": "tcp://scheduler.example.org:8786"}).warnings
    assert any("use a tls:// address" in text for text in warned)
    for address in ("tls://scheduler.example.org:8786", "tcp://127.0.0.1:8786"):
        assert made(engine={"engine": "dask", "scheduler": address}).warnings == ()


def test_without_the_extra_a_sentence_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from incident_process import Settings\n"
        "from incident_process.app.cluster_engine import make_processor\n"
        f"settings = Settings.model_validate({BASE | {'engine': {'engine': 'dask'}}!r})\n"
        "try:\n    make_processor(settings)\n"
        "except Exception as exc:\n    print(type(exc).__name__, exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigurationError [ENGINE] engine = dask")
    assert 'pip install "incident-process[dask]"' in done.stdout


@pytest.mark.parametrize("module", ["cli.commands", "app.runner", "pipeline.run", "settings", "schedule.service"])
def test_nothing_of_dask_is_loaded_where_it_is_not_used(module: str) -> None:
    program = f"import incident_process.{module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"dask", "distributed", "tornado"} == set()


# -- what travels -----------------------------------------------------------------------------------------------------


def tree(error: type[IncidentProcessError]) -> Iterator[type[IncidentProcessError]]:
    yield error
    for below in error.__subclasses__():
        if below.__module__.startswith("incident_process"):
            yield from tree(below)


@pytest.mark.parametrize("error", list(dict.fromkeys(tree(IncidentProcessError))))
def test_every_error_travels_between_processes(error: type[IncidentProcessError]) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    raised = error("holder", 7, at) if error is LeaseHeldError else error("what is wrong")
    back = pickle.loads(pickle.dumps(raised))
    assert (type(back), str(back), back.exit_status) == (error, str(raised), error.exit_status)


class OwnError(DatabaseConnectionError):
    """As drivers' modules have them, which the coordinator need not have loaded."""


@pytest.mark.parametrize(
    ("raised", "known"),
    [
        (DatabaseConnectionError, DatabaseConnectionError),
        (LeaseLostError, LeaseLostError),
        (ConfigurationError, ConfigurationError),
        (IncidentProcessError, IncidentProcessError),
        (OwnError, DatabaseConnectionError),
    ],
)
def test_the_error_of_a_worker_is_raised_as_what_callers_know_it_by(
    raised: type[IncidentProcessError], known: type[IncidentProcessError]
) -> None:
    fault = pickle.loads(pickle.dumps(ChunkResult.failed(raised("what is wrong")))).fault()
    assert (type(fault), str(fault)) == (known, "what is wrong")
    assert ChunkResult().fault() is None


def test_neither_task_nor_reference_shows_what_it_must_not(tmp_path: Path) -> None:
    task = ChunkTask(
        run_id="run",
        scope=3,
        epoch=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        resend=ResendPolicy.CHANGED,
        accounts=(SelectedAccount(account="0000003746", in_window=True),),
    )
    assert repr(task) == "ChunkTask(run, scope 3, 1 accounts)"
    assert pickle.loads(pickle.dumps(task)) == task
    file = tmp_path / "site.ini"
    file.write_text(f"[DATABASE]\nURL = {MYSQL}\n[API]\napi_url = http://host/x\nbearer_token = hunter2\n")
    with file.open("a") as text:
        text.write("[PROCESS]\ntracking = sql\n[ENGINE]\nengine = dask\n")
    reference = Reference.to(Settings.load(file, {}), "a salt")
    assert b"hunter2" not in pickle.dumps(reference)
    assert reference.load().api.api_url == "http://host/x"


def test_a_worker_of_another_version_or_with_another_receiver_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.ini"
    file.write_text(f"[DATABASE]\nURL = {MYSQL}\n[API]\napi_url = http://host/x\n[PROCESS]\ntracking = sql\n")
    reference = Reference.to(Settings.load(file, {}), "a salt")
    monkeypatch.setenv("INCIDENT_PROCESS__API__API_URL", "http://other/x")
    with pytest.raises(ConfigurationError, match=r"other settings than the run \(\[API\] api_url\)"):
        reference.load()
    monkeypatch.setattr("incident_process.cluster.settings_reference.__version__", "0.0.9")
    with pytest.raises(ConfigurationError, match=r"a worker has 0\.0\.9: install the same on all"):
        reference.load()
