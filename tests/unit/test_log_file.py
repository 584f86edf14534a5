"""The log file: what is in it, when a new one is begun, and what happens when it cannot be written."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from incident_process.core import logs
from incident_process.core.errors import ConfigurationError
from incident_process.core.log_file import open_log_file


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    logger = logs.get_logger()
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def configure(path: Path, rotation: Any = "size", log_format: Literal["text", "json"] = "text") -> logging.Logger:
    logs.configure("INFO", log_format, file=open_log_file(path, rotation, max_bytes=1000, backups=2))
    return logs.get_logger()


def test_a_line_begins_with_its_time_and_stays_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    configure(path).info("one\nline")
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO:incident_logger:one\\nline\n"
    assert re.fullmatch(pattern, path.read_text())
    assert capsys.readouterr().err == "INFO:incident_logger:one\\nline\n"  # as without a file


def test_json_is_the_same_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    configure(path, log_format="json").info("hello", extra={"run_id": "r1"})
    assert path.read_text() == capsys.readouterr().err


def test_by_size_a_new_file_is_begun_and_old_ones_go(tmp_path: Path) -> None:
    logger = configure(tmp_path / "a.log")
    for number in range(60):
        logger.info("line %d %s", number, "x" * 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert "line 59 " in (tmp_path / "a.log").read_text()


def test_by_day_a_new_file_is_begun_at_midnight_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = configure(tmp_path / "a.log", "day")
    logger.info("yesterday")
    (handler,) = [item for item in logger.handlers if isinstance(item, logging.handlers.TimedRotatingFileHandler)]
    assert handler.rolloverAt % 86400 == 0
    monkeypatch.setattr("logging.handlers.time.time", lambda: handler.rolloverAt + 5.0)
    logger.info("today")
    assert len(list(tmp_path.iterdir())) == 2
    assert "yesterday" not in (tmp_path / "a.log").read_text()


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    logger = configure(tmp_path / "a.log", "none")
    logger.info("before")
    (tmp_path / "a.log").rename(tmp_path / "a.log.old")
    logger.info("after")
    assert "after" in (tmp_path / "a.log").read_text()


def test_configuring_again_leaves_one_file_handler(tmp_path: Path) -> None:
    configure(tmp_path / "a.log")
    logger = configure(tmp_path / "b.log")
    logger.info("once")
    assert (tmp_path / "a.log").read_text() == ""
    assert len((tmp_path / "b.log").read_text().splitlines()) == 1
    logs.configure("INFO")
    logger.info("twice")
    assert len((tmp_path / "b.log").read_text().splitlines()) == 1


def test_a_folder_that_is_not_there_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[LOG\] file .*a\.log cannot be written \(No such file"):
        open_log_file(tmp_path / "none" / "a.log", "size", max_bytes=1000, backups=2)


def test_a_full_disk_is_said_once_without_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure(Path("/dev/full"), "none")
    for _ in range(3):
        logger.info("account 0000123")
    found = [line for line in capsys.readouterr().err.splitlines() if "account" not in line]
    assert found == ["WARNING:incident_logger:The log file cannot be written (OSError)."]


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o640), (0o022, 0o640), (0o077, 0o600)])
@pytest.mark.parametrize("rotation", ["size", "day", "none"])
def test_nobody_else_can_read_it_whatever_the_umask(tmp_path: Path, rotation: str, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        logger = configure(tmp_path / "a.log", rotation)
        for number in range(30):
            logger.info("line %d %s", number, "x" * 60)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        path.name: mode for path in tmp_path.iterdir()
    }


def test_a_file_of_before_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    path.chmod(0o666)
    configure(path)
    assert path.stat().st_mode & 0o777 == 0o640
