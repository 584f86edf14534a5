"""The standard streams as shells, pipes, disks and terminals have them: none of them stops a command (SPEC 7)."""

import json
import os
import pty
import re
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from tempfile import TemporaryFile

import pytest

from tests.e2e.conftest import MakeSite, Site, day


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Three accounts before the first run."""
    made = make_site()
    made.prepare()
    made.customers(*({"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A1", "LOAD_DATE": day(5)} for n in range(3)))
    return made


# -- closed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_nothing(site: Site, closed: str) -> None:
    finished = site.command("run", "--json", by=("sh", "-c", f'exec "$@" {closed}', "sh"))
    assert finished.status == 0, finished.stderr
    assert len(site.accepted()) == 3
    if " >&-" not in f" {closed}":
        assert finished.json["delivered"] == 3
    if "2>&-" not in closed:
        assert "Successfully sent data to API." in finished.messages("INFO")


# -- broken or full ---------------------------------------------------------------------------------------------------

FRESH = True
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
"""As containers have it: a fault shows at once, not at the command's end."""


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """The end for writing of a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def full_disk() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("env", [{}, UNBUFFERED, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("status", "--json"), 0),
        (("history",), 0),
        (("preview",), 0),
        (("run", "--json"), 0),
        (("reconcile",), 4),
        (("--help",), 0),
        (("run", "--help"), 0),
        (("run", "--json", "--config", "nowhere.ini"), 2),
    ],
)
def test_a_reader_that_has_gone_changes_no_exit_status(
    site: Site, broken_pipe: int, env: dict[str, str], arguments: tuple[str, ...], status: int
) -> None:
    finished = site.command(*arguments, env=env, stdout=broken_pipe)
    assert finished.status == status
    assert "BrokenPipe" not in finished.stderr
    assert len(site.accepted()) == (3 if arguments == ("run", "--json") else 0)


def test_a_repair_goes_on_when_its_reader_has_gone(site: Site, broken_pipe: int) -> None:
    finished = site.command("reconcile", "--repair", env=UNBUFFERED, stdout=broken_pipe)
    assert finished.status == 0, finished.stderr
    assert len(site.accepted()) == 3


def test_a_preview_ends_when_its_reader_has_gone(site: Site) -> None:
    site.customers(*({"ACCOUNT_NUM": f"{n:05d}", "ASSET_ID": "A1", "LOAD_DATE": day(5)} for n in range(2000)))
    site.payments({"AP_ACCOUNT_NUMBER": "99999", "LOAD_DATE": f"{day(5)} 10:00:00"})  # the last: named on stderr
    line = '"$@" | head -1; exit "${PIPESTATUS[0]}"'
    finished = site.command("preview", "--json", by=("bash", "-c", line, "bash"))
    assert (finished.status, finished.stderr) == (0, "")
    assert finished.stdout.count("\n") == 1


@pytest.mark.parametrize("env", [{}, UNBUFFERED, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize("arguments", [("status", "--json"), ("preview",), ("run", "--json"), ("run",), ("--help",)])
def test_a_full_disk_is_said_in_one_sentence(
    site: Site, full_disk: int, env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    finished = site.command(*arguments, env=env, stdout=full_disk)
    assert finished.status == 1
    (said,) = finished.messages("ERROR")
    assert "No space left on device" in said
    assert all(line.startswith(("INFO:", "ERROR:")) for line in finished.stderr.splitlines())
    assert len(site.accepted()) == (3 if arguments[0] == "run" else 0)


@pytest.mark.parametrize("arguments", [("run", "--nonsense"), ("run", "--config", "nowhere.ini"), ("run", "--json")])
def test_errors_that_nobody_can_read_change_no_exit_status(
    site: Site, full_disk: int, broken_pipe: int, arguments: tuple[str, ...]
) -> None:
    for stderr in (full_disk, broken_pipe):
        assert site.command(*arguments, stderr=stderr).status == (0 if "--json" in arguments else 2)


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(site: Site) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    waiting = 0
    with suppress(BlockingIOError):
        while True:
            waiting += os.write(writer, b"x" * 4096)
    with os.fdopen(reader, "rb") as pipe, site.command.started("status", "--json", stdout=writer) as running:
        os.close(writer)
        time.sleep(1.0)
        assert not running.has_ended
        printed = pipe.read()
        assert running.wait().status == 0
    assert json.loads(printed[waiting:])["sequence"] == 0


# -- a terminal -------------------------------------------------------------------------------------------------------

LINE_END = re.compile(r"\r\n|\r\x1b\[2K")
"""Where the next line begins, or the one that is there is taken away to be written anew."""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Screen:
    """A terminal of some width, and all that a command wrote to it."""

    def __init__(self, columns: int) -> None:
        self._ours, self.stream = pty.openpty()
        termios.tcsetwinsize(self.stream, (24, columns))
        self._written = bytearray()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with suppress(OSError):  # the terminal's end, as Linux has it
            while read := os.read(self._ours, 65536):
                self._written += read

    def close(self) -> str:
        """Return what was written; no command may be left that writes to it."""
        os.close(self.stream)
        self._reading.join()
        os.close(self._ours)
        return self._written.decode()


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("form", ["text", "json"])
def test_log_lines_are_whole_beside_the_bar(site: Site, columns: int, form: str) -> None:
    site.command.configure(process={"log_format": form, "log_level": "DEBUG"})
    site.receiver.control(latency_ms=400)  # long enough for the bar to be drawn more than once
    screen = Screen(columns)
    finished = site.command("run", "--json", env={"TERM": "xterm"}, stderr=screen.stream)
    written = screen.close()
    assert finished.status == 0, written
    assert finished.json["delivered"] == 3
    lines = [CONTROL.sub("", line) for line in LINE_END.split(written)]
    messages = (
        [json.loads(line)["message"] for line in lines if line.startswith("{")]
        if form == "json"
        else [line.partition(":incident_logger:")[2] for line in lines]
    )
    assert f"Sending data to API: {site.receiver.url}" in messages
    assert f"Updated Process_Operation with Last_execution_dtm: {finished.json['window']['end']}" in messages
    payloads = [message for message in messages if message.startswith("Generated JSON payload: ")]
    assert [json.loads(payload.partition(": ")[2])["Doc_Version"] for payload in payloads] == [1.0] * 3
    bars = [line for line in lines if line.startswith("accounts ")]
    assert len(bars) > 1
    assert max(map(len, bars)) <= columns
    assert lines[-1] == ""  # and it is gone at the end


def test_what_a_command_prints_beside_the_bar_goes_to_stdout(site: Site) -> None:
    screen = Screen(20)
    finished = site.command("reconcile", "--repair", "--json", env={"TERM": "xterm"}, stderr=screen.stream)
    written = screen.close()
    assert finished.status == 0, written
    assert [item["account"] for item in finished.json["differences"]] == [f"{n:010d}" for n in range(3)]


# -- an encoding that is not UTF-8 ------------------------------------------------------------------------------------

NO_UTF8 = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
NAME = "Bäß 東"
NARROW = ({"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}, {"LC_ALL": "POSIX", **NO_UTF8})


@pytest.fixture
def named(site: Site) -> Site:
    """A site with an operation whose name only UTF-8 has."""
    site.command.configure(process={"operation_name": NAME})
    site.prepare()
    return site


@pytest.mark.parametrize("env", NARROW, ids=str)
@pytest.mark.parametrize("arguments", [("status", "--json"), ("run", "--json"), ("doctor", "--json")])
def test_json_is_utf8_whatever_the_locale_is(named: Site, env: dict[str, str], arguments: tuple[str, ...]) -> None:
    finished = named.command(*arguments, env=env)
    assert finished.status == 0, finished.stderr
    assert finished.json
    if arguments[0] == "status":
        assert finished.json["operation"] == NAME


@pytest.mark.parametrize("env", NARROW, ids=str)
def test_documents_are_utf8_whatever_the_locale_is(site: Site, env: dict[str, str]) -> None:
    row = {"ACCOUNT_NUM": "0000000009", "ASSET_ID": "A1", "LOAD_DATE": day(5), "CONTACT_PERSON": NAME}
    site.customers(row)
    for options in (("--json",), ("--json", "--account", "0000000009"), ("--account", "0000000009")):
        finished = site.command("preview", *options, env=env)
        assert finished.status == 0, finished.stderr
        shown = finished.json[-1] if len(options) == 1 else finished.json
        assert shown["Customer_Details"]["Customer_Name"] == NAME
    site.run()
    exported = site.command("receiver", "--database", str(site.receiver.database), "--export", "-", env=env)
    assert exported.status == 0, exported.stderr
    # The receiver lists them as it accepted them, and several are under way at once.
    ours = [line for line in exported.json_lines if line["Account_Num"] == row["ACCOUNT_NUM"]]
    assert ours[-1]["body"]["Customer_Details"]["Customer_Name"] == NAME


@pytest.mark.parametrize("env", NARROW, ids=str)
def test_text_shows_what_it_can_in_any_encoding(named: Site, env: dict[str, str]) -> None:
    encoding = "latin-1" if "latin-1" in str(env) else "ascii"
    shown = NAME.encode(encoding, "backslashreplace").decode(encoding)
    named.command.configure(process={"operation_name": f"{NAME} 2"})
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        for command, status in (("status", 0), ("run", 6)):
            finished = named.command(command, env=env, stdout=stdout.fileno(), stderr=stderr.fileno())
            assert finished.status == status
        stdout.seek(0)
        stderr.seek(0)
        assert f"{shown} 2\n" in stdout.read().decode(encoding)
        assert f"Operation '{shown} 2'" in stderr.read().decode(encoding)


FRACTION = re.compile(r":\d\d\.\d+Z")
ENTRY = re.compile(r"^(?:\d|(?:missing|dead) +\d{10})", re.MULTILINE)
"""How a line of a list begins."""


def test_a_long_list_is_cut_with_a_count_on_a_terminal_only(site: Site) -> None:
    def add(first: int, last: int, **columns: str) -> None:
        rows = (
            {"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A1", "LOAD_DATE": day(5)} | columns for n in range(first, last)
        )
        site.customers(*rows)

    add(100, 220, OUTSTANDING="not an amount")  # dead letters without a request
    assert site.run()["dead"] == 120
    add(300, 310)
    for arguments, whole, cut, left in (
        ("deliveries", 100, 100, "23"),
        ("deliveries --limit 7 --status dead", 7, 7, "113"),
        ("dead-letters list", 120, 100, "20"),
        ("dead-letters list --limit 120", 120, 120, None),
        ("reconcile", 130, 100, "30"),
        ("history --limit 1", 1, 1, None),
    ):
        screen = Screen(200)
        site.command(*arguments.split(), stdout=screen.stream)
        shown = screen.close().split("\r\n")
        piped = site.command(*arguments.split()).stdout.splitlines()
        assert [len(ENTRY.findall("\n".join(lines))) for lines in (piped, shown)] == [whole, cut], arguments
        told = [line for line in shown if line.startswith("...")]
        assert told == ([f"... and {left} more: --limit N"] if left else []), arguments
        assert [line for line in piped if line.startswith("...")] == [], arguments
    for name in ("history", "deliveries", "dead-letters list"):
        screen = Screen(80)
        site.command(*name.split(), stdout=screen.stream, env={"TERM": "xterm"})
        shown = screen.close().split("\r\n")
        assert max(len(CONTROL.sub("", line)) for line in shown) <= 80, name
        assert not any(FRACTION.search(line) for line in shown), name
        assert ("\x1b[31mdead" in "".join(shown)) == (name == "deliveries")
    assert "completed" in site.command("history", env={"COLUMNS": "80"}).stdout
    assert len(site.command("dead-letters", "list", "--json").json) == 120
    assert len(site.command("reconcile", "--json").json["differences"]) == 130
