"""The keys for operating the program: what is wrong is said before any work, and no secret with it."""

import re
from typing import Any

import pytest

from incident_process.core.errors import ConfigurationError
from incident_process.settings import Settings

BASE = {"database": {"url": "sqlite:////srv/a.db"}, "api": {"api_url": "http://host/x"}}
SECRET = "hunter2"


def load(tracking: str = "sql", /, **sections: Any) -> Settings:
    mongo = {"mongodb": {"mongo_url": "mongodb://host/", "database_name": "a"}} if tracking == "mongo" else {}
    return Settings.model_validate({**BASE, **mongo, "process": {"tracking": tracking}, **sections})


@pytest.mark.parametrize(
    "line", ["* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "@hourly", "often", "0 0 * * mon-", "x" * 400]
)
def test_a_line_that_cron_would_not_take(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[SCHEDULE\] cron is no line that ever comes due: write minute"):
        load(schedule={"cron": line})


@pytest.mark.parametrize("line", ["*/10 6-20 * * 1-5", "0 0 29 2 *", "0 6 * * sun", "5,35 * * * *"])
def test_a_line_that_it_takes(line: str) -> None:
    assert load("mongo", schedule={"cron": line}).schedule.cron == line


def test_a_cron_line_that_has_no_effect_is_a_warning() -> None:
    assert any(
        "[SCHEDULE] cron has no effect with tracking = sql" in w for w in load(schedule={"cron": "* * * * *"}).warnings
    )
    assert load("mongo", schedule={"cron": "* * * * *"}).warnings == ()


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("schedule", "http_port", "70000", "must be a whole number from 0 to 65535"),
        ("schedule", "poll_seconds", "0", "must be a number from 0.1 to 3600"),
        ("log", "rotation", "weekly", "must be size, day or none"),
        ("metrics", "textfile", "/srv/metrics.txt", "let it end in .prom"),
        ("tracing", "endpoint", "localhost:4318", "write http://host:4318/v1/traces"),
        ("tracing", "endpoint", f"http://user:{SECRET}@host/", "credentials go into headers"),
        ("notify", "urls", f"json://host/{SECRET} {SECRET}", "has no address in place 2"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_right(section: str, key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**{section: {key: value}})
    message = str(caught.value)
    assert message.startswith(f"configuration: [{section.upper()}] {key} ")
    assert said in message
    assert SECRET not in message


def test_addresses_on_one_line_or_several_are_secret_in_every_form() -> None:
    settings = load(notify={"urls": f"json://host/{SECRET}\n mailto://user:{SECRET}@example.org   ntfy://{SECRET}"})
    assert [url.get_secret_value().partition(":")[0] for url in settings.notify.urls] == ["json", "mailto", "ntfy"]
    assert SECRET not in repr(settings) + str(settings.notify) + settings.model_dump_json()


def test_nothing_of_it_is_on_unless_it_is_asked_for() -> None:
    settings = load()
    assert (settings.schedule.http_port, settings.metrics.textfile, settings.notify.urls) == (0, None, ())
    assert (settings.tracing.endpoint, settings.log.file) == (None, None)
    assert re.fullmatch(r"127\.0\.0\.1", settings.schedule.http_host)
