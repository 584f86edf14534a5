"""``[DATABASE] REPLICAS``: a list of URLs that lean on the source's, with nothing of them in any message."""

from pathlib import Path
from typing import Any

import pytest

from incident_process.core.errors import ConfigurationError
from incident_process.settings import Settings
from incident_process.settings.database_urls import MySQLTarget, SqliteTarget

SECRET = "hunter2"
SOURCE = f"mysql://main:{SECRET}@primary/incident_db"


def settings(replicas: str, url: str = SOURCE, **database: Any) -> Settings:
    return Settings.model_validate(
        {
            "api": {"api_url": "http://h/x"},
            "process": {"tracking": "sql"},
            "database": {"url": url, "replicas": replicas, **database},
        }
    )


def parts(target: MySQLTarget) -> tuple[str, int, str, str, str]:
    return target.host, target.port, target.database, target.user, target.password.get_secret_value()


def test_what_a_url_leaves_out_is_the_sources() -> None:
    listed = "mysql://r1, mariadb://other:p%2Cw@r2:3307/copy,mysql://r3/copy , mysql://nobody@r4"
    assert [parts(target) for target in settings(listed).replica_targets] == [
        ("r1", 3306, "incident_db", "main", SECRET),
        ("r2", 3307, "copy", "other", "p,w"),
        ("r3", 3306, "copy", "main", SECRET),
        ("r4", 3306, "incident_db", "nobody", ""),
    ]


def test_none_are_none() -> None:
    assert settings("").replica_targets == ()


def test_their_encryption_is_the_sources() -> None:
    (target,) = settings("mysql://r1", mysql_ssl="on").replica_targets
    assert target.tls is not None


def test_secrets_show_nowhere() -> None:
    made = settings(f"mysql://u:{SECRET}@r1, mysql://r2")
    shown = (made, made.replica_targets, made.model_dump(), made.model_dump_json())
    assert all(SECRET not in repr(item) and SECRET not in str(item) for item in shown)


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        (f"mysql://u:{SECRET}@r1, sqlite:///a.db", "has no mysql:// URL in its place 2"),
        (f"mysql://u:{SECRET}@r1,", "has no mysql:// URL in its place 2"),
        (f"mysql://u:{SECRET},x@r1", "in its place 1, that has a port"),
        (f"mysql://u:{SECRET}@", "in its place 1, that lacks the host"),
        (f"mysql://u:{SECRET}@r1/d?ssl=1", "in its place 1, that has options"),
        (f"mysql://u:{SECRET}@r1/d, mysql://r1/e", "a second time in its place 2"),
    ],
)
def test_what_is_refused_is_said_without_the_secret(replicas: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(replicas)
    assert "[DATABASE] REPLICAS" in str(caught.value)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_they_do_not_take_the_place_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "INCIDENT_PROCESS__DATABASE__REPLICAS": f"mysql://u:{SECRET}@r1",
        "INCIDENT_PROCESS__DATABASE__REPLICA_WAIT_SECONDS": "1",
    }
    made = Settings.load(None, environ)
    assert isinstance(made.source_target, SqliteTarget)
    assert made.replica_targets == ()
    warning, not_found = made.warnings
    assert not_found == made.not_found
    assert "[DATABASE] REPLICAS has no effect" in warning
