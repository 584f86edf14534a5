"""Locks that nobody else holds, temporary files that nobody else names, and no wait that has no end."""

import asyncio
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from incident_process.core.safe_files import (
    in_own_thread,
    locked,
    private_opener,
    read_plain,
    remove_leftovers,
    replace,
)


@pytest.fixture(autouse=True, params=[0o000, 0o077], ids=["open umask", "strict umask"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_lock_is_for_its_user_alone_also_one_of_before(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock):
        assert mode(lock) == 0o600
    lock.chmod(0o666)
    with locked(lock):
        assert mode(lock) == 0o600


def test_a_lock_that_is_held_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="another process has held its lock lock for"), locked(lock, 0.3):
            pass
        assert 0.3 <= time.monotonic() - began < 3
        threading.Timer(0.2, fcntl.flock, (other, fcntl.LOCK_UN)).start()
        with locked(lock, 10):
            pass


def test_a_link_or_a_pipe_is_no_lock(tmp_path: Path) -> None:
    lock, target = tmp_path / "lock", tmp_path / "target"
    lock.symlink_to(target)
    with pytest.raises(OSError), locked(lock, 1):  # noqa: PT011  # the system's own words
        pass
    assert not target.exists()
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(PermissionError, match="not a file of this user"), locked(lock, 1):
        pass


def test_a_file_is_put_in_place_with_its_mode_over_a_link(tmp_path: Path) -> None:
    path, target = tmp_path / "a.prom", tmp_path / "target"
    target.write_text("kept")
    path.symlink_to(target)
    for name in (".a.prom.new", "a.new", "a.prom.new"):
        (tmp_path / name).symlink_to(target)
    replace(path, b"new", 0o644)
    assert (path.read_text(), target.read_text(), path.is_symlink()) == ("new", "kept", False)
    assert mode(path) == 0o644


def test_what_could_not_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a.prom"
    folder.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # the system's own words
        replace(folder, b"new", 0o644)
    assert list(tmp_path.iterdir()) == [folder]


def test_what_killed_processes_left_is_swept_away_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    for name in (".a.prom.x1.new", ".b.prom.x1.new", "a.prom", ".a.prom.0.lock"):
        (tmp_path / name).touch()
    (tmp_path / ".a.prom.x2.new").symlink_to(path)
    remove_leftovers(path)
    assert {item.name for item in tmp_path.iterdir()} == {".b.prom.x1.new", "a.prom", ".a.prom.0.lock"}


def test_only_a_file_of_a_sensible_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_plain(path, 10) == b"x" * 10
    with pytest.raises(OSError, match="more than 9 bytes"):
        read_plain(path, 9)
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "none"):
        with pytest.raises(OSError):  # noqa: PT011  # the system's own words
            read_plain(tmp_path / name, 10)


def test_a_private_file_is_its_owner_s(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w", opener=private_opener) as file:
        file.write("x")
    assert mode(tmp_path / "file") == 0o600


def test_work_that_hangs_holds_up_neither_the_loop_nor_its_end() -> None:
    never, turns = threading.Event(), 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def wait() -> None:
        turning = asyncio.create_task(turn())
        with pytest.raises(TimeoutError):
            await in_own_thread(never.wait, 0.5)
        turning.cancel()

    began = time.monotonic()
    asyncio.run(wait())
    assert time.monotonic() - began < 5
    assert turns > 5
    never.set()


def test_work_hands_back_what_it_comes_to() -> None:
    async def both() -> None:
        assert await in_own_thread(lambda: 7, 5) == 7
        with pytest.raises(KeyError):
            await in_own_thread(lambda: {0: 0}[1], 5)

    asyncio.run(both())


def test_an_own_pipe_is_written_to_where_somebody_reads_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        open(pipe, "wb", opener=private_opener)  # noqa: SIM115  # it is not opened
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with open(pipe, "wb", opener=private_opener) as file:  # Path.open has no opener
        assert os.get_blocking(file.fileno())
        file.write(b"read")
    assert os.read(reader, 10) == b"read"
    os.close(reader)


def test_a_link_in_a_folder_for_all_is_followed_only_where_others_cannot_replace_it(tmp_path: Path) -> None:
    folder, target = tmp_path / "shared", tmp_path / "target"
    folder.mkdir()
    (folder / "link").symlink_to(target)
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="is a link that every user of this host can replace"):
        open(folder / "link", "wb", opener=private_opener)  # noqa: SIM115  # it is not opened
    assert not target.exists()
    folder.chmod(0o1777)
    with open(folder / "link", "wb", opener=private_opener) as file:  # Path.open has no opener
        file.write(b"one")
    assert target.read_bytes() == b"one"
