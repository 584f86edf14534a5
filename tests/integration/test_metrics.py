"""The metrics: what they count, the file for node_exporter over processes, and what they cost."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from incident_process.core.events import Attempted, Events, RunRecorded, SendingStarted
from incident_process.core.models import (
    NEVER,
    Counts,
    Operation,
    RunKind,
    RunRecord,
    RunReport,
    RunStatus,
    Window,
)
from incident_process.delivery.http.transport import Answer, MaySend, always
from incident_process.delivery.sender import Sender, SendLimits
from incident_process.observability.meter import Meter
from incident_process.observability.metrics import OF_STATE
from incident_process.observability.metrics_file import TextFile

OPERATION = "Incident extraction from data lake"
T0 = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
P = "incident_process_"


def values(text: str) -> dict[tuple[str, str], float]:
    """Every sample by name and by its labels but the operation."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["operation"]
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "operation")
            assert (sample.name, labels) not in found or sample.labels["operation"] != OPERATION
            found[sample.name, labels] = sample.value
    return found


def shown(meter: Meter) -> dict[tuple[str, str], float]:
    return values(meter.instruments.text().decode())


def told(meter: Meter) -> Events:
    """Events that the metrics listen to."""
    events = Events()
    meter.listen(events)
    return events


def report(status: RunStatus, run_id: str | None = "r1", **counts: int) -> RunReport:
    return RunReport(
        status=status,
        run_id=run_id,
        sequence=1,
        window=Window(start=NEVER, end=T0),
        counts=Counts(**counts),  # type: ignore[arg-type]
        last_execution=T0,
        seconds=2.5,
    )


def progress(run_id: str, **counts: int) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        operation=OPERATION,
        kind=RunKind.WINDOW,
        status=RunStatus.RUNNING,
        host="host",
        started_at=T0,
        counts=Counts(**counts),  # type: ignore[arg-type]
    )


@pytest.fixture
def meter() -> Meter:
    return Meter(OPERATION)


def test_what_is_not_known_yet_is_absent_and_what_did_not_happen_is_nought(meter: Meter) -> None:
    names = {name for name, _ in shown(meter)}
    assert f"{P}watermark_lag_seconds" not in names
    assert f"{P}last_run_success" not in names
    assert shown(meter)[f"{P}incidents_total", "outcome=dead"] == 0
    assert shown(meter)[f"{P}breaker_state", ""] == 0


def test_what_is_under_way_is_shown_as_it_is(meter: Meter) -> None:
    async def go() -> None:
        sender = Sender(Unanswered(), SendLimits(), lambda: True)
        told(meter).emit(SendingStarted, lambda: sender.circuit, lambda: sender.sending)
        assert shown(meter)[f"{P}requests_in_flight", ""] == 0
        assert (f"{P}requests_per_second_limit", "") not in shown(meter)
        windows = [sender.gate.start() for _ in range(3)]
        assert shown(meter)[f"{P}requests_in_flight", ""] == 3
        assert shown(meter)[f"{P}requests_in_flight_limit", ""] == sender.gate.limit == 4
        sender.gate.throttled(windows[0], sender.gate.rate.epoch, None, sure=True)
        found = shown(meter)
        assert (found[f"{P}requests_in_flight", ""], found[f"{P}requests_in_flight_limit", ""]) == (2, 2)
        assert found[f"{P}requests_per_second_limit", ""] == sender.gate.rate.per_second

    asyncio.run(go())


class Unanswered:
    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        raise NotImplementedError


def test_a_run_is_counted_once_however_often_it_is_reported(meter: Meter) -> None:
    """Its record is written while it goes on, and its report says the same once more."""
    events = told(meter)
    events.emit(RunRecorded, progress("r1", delivered=3, pending=7))
    assert shown(meter)[f"{P}incidents_total", "outcome=delivered"] == 3
    assert shown(meter)[f"{P}pending_incidents", ""] == 7
    events.emit(RunRecorded, progress("r1", delivered=9))
    meter.ended(RunKind.WINDOW, report(RunStatus.COMPLETED, delivered=10, dead=1))
    meter.ended(RunKind.WINDOW, report(RunStatus.NO_DATA, "r2", unchanged=4))
    found = shown(meter)
    assert found[f"{P}incidents_total", "outcome=delivered"] == 10
    assert found[f"{P}incidents_total", "outcome=dead"] == 1
    assert found[f"{P}incidents_total", "outcome=unchanged"] == 4
    assert found[f"{P}runs_total", "kind=window,status=completed"] == 1
    assert found[f"{P}processed_until_timestamp_seconds", ""] == T0.timestamp()
    assert found[f"{P}last_run_duration_seconds", ""] == 2.5


def test_a_run_that_was_refused_changes_nothing_of_the_last_one(meter: Meter) -> None:
    meter.ended(RunKind.WINDOW, report(RunStatus.INCOMPLETE, delivered=1))
    before = shown(meter)
    meter.ended(RunKind.WINDOW, report(RunStatus.LOCKED, None))
    after = shown(meter)
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed <= {(f"{P}runs_total", "kind=window,status=locked"), (f"{P}pending_incidents", "")}
    assert after[f"{P}last_run_success", ""] == 0


def test_the_lag_goes_on_between_two_looks(meter: Meter) -> None:
    operation = Operation(name=OPERATION, last_execution=T0)
    meter.seen(T0 + timedelta(seconds=100), operation)
    first = shown(meter)[f"{P}watermark_lag_seconds", ""]
    time.sleep(0.05)
    assert 100 <= first < shown(meter)[f"{P}watermark_lag_seconds", ""] < 110
    meter.seen(T0, Operation(name=OPERATION))  # never ran: what was known stays
    assert (f"{P}watermark_lag_seconds", "") in shown(meter)


def over(run_id: str, status: RunStatus, minutes: int, **counts: int) -> RunRecord:
    began = T0 + timedelta(minutes=minutes)
    return msgspec.structs.replace(
        progress(run_id, **counts),
        status=status,
        started_at=began,
        ended_at=began + timedelta(seconds=9),
        window=Window(start=NEVER, end=began),
    )


def last_run(meter: Meter) -> dict[str, float]:
    found = {name.removeprefix(P): value for (name, _), value in shown(meter).items()}
    names = ("last_run_success", "pending_incidents", "processed_until_timestamp_seconds", "last_run_duration_seconds")
    return {name: found[name] for name in names if name in found}


def test_a_run_of_another_process_is_the_last_run_too(meter: Meter) -> None:
    """Its record is looked at; runs and incidents are counted where they were done."""
    incomplete, completed = over("r1", RunStatus.INCOMPLETE, 0, pending=157), over("r2", RunStatus.COMPLETED, 1)
    meter.ended(RunKind.WINDOW, report(RunStatus.INCOMPLETE, pending=157))
    meter.seen(T0, None, [incomplete])
    mine = last_run(meter)
    assert mine == {"last_run_success": 0, "pending_incidents": 157, "last_run_duration_seconds": 2.5}
    counted = shown(meter)[f"{P}runs_total", "kind=window,status=completed"]
    meter.seen(T0 + timedelta(seconds=100), None, [completed, incomplete])
    until = completed.started_at.timestamp()
    assert last_run(meter) == {
        "last_run_success": 1,
        "pending_incidents": 0,
        "processed_until_timestamp_seconds": until,
        "last_run_duration_seconds": 9,
    }
    ago = time.time() - shown(meter)[f"{P}last_run_end_timestamp_seconds", ""]
    assert 31 <= ago < 41, "by this machine's clock, whatever the source's says"
    assert shown(meter)[f"{P}runs_total", "kind=window,status=completed"] == counted
    failed = over("r3", RunStatus.FAILED, 2, pending=3)
    meter.seen(T0 + timedelta(seconds=200), None, [failed, completed, incomplete])
    found = last_run(meter)
    assert (found["last_run_success"], found["pending_incidents"]) == (0, 3)
    assert found["processed_until_timestamp_seconds"] == until


def test_an_older_run_of_another_process_says_nothing_about_a_fault_of_this_one(meter: Meter) -> None:
    """A run that could not reach the state leaves no record, or one that is not closed."""
    completed = over("r1", RunStatus.COMPLETED, 0)
    meter.seen(T0, None, [completed])
    assert last_run(meter)["last_run_success"] == 1, "also right after a start"
    for run_id in ("r2", None):
        meter.ended(RunKind.WINDOW, report(RunStatus.FAILED, run_id))
        meter.seen(T0 + timedelta(seconds=100), None, [completed])
        assert last_run(meter)["last_run_success"] == 0


UNREADABLE = f"""# TYPE {P}attempt_seconds histogram
{P}attempt_seconds_bucket{{answer="2xx",le="a word",operation="{OPERATION}"}} 1
"""


class TestTextFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "incident_process.prom"

    @staticmethod
    def process(path: Path, operation: str = OPERATION, runs: int = 1) -> TextFile:
        """What one process of cron does."""
        meter = Meter(operation)
        file = TextFile(path, meter.instruments)
        for number in range(runs):
            meter.instruments.attempts.labels("2xx").observe(0.02)
            meter.ended(RunKind.WINDOW, report(RunStatus.COMPLETED, f"r{number}", delivered=5))
            file.write()
        return file

    def test_counters_go_on_over_processes_and_gauges_are_the_last(self, path: Path) -> None:
        for _ in range(3):
            self.process(path, runs=2)
        found = values(path.read_text())
        assert found[f"{P}incidents_total", "outcome=delivered"] == 30
        assert found[f"{P}attempt_seconds_count", "answer=2xx"] == 6
        assert found[f"{P}attempt_seconds_bucket", "answer=2xx,le=0.025"] == 6
        assert found[f"{P}attempt_seconds_bucket", "answer=2xx,le=0.01"] == 0
        assert found[f"{P}last_run_duration_seconds", ""] == 2.5

    def test_a_process_that_stays_up_adds_only_what_is_new(self, path: Path) -> None:
        staying = self.process(path)
        self.process(path)
        staying.write()
        staying.write()
        assert values(path.read_text())[f"{P}incidents_total", "outcome=delivered"] == 10

    def test_two_operations_share_a_file(self, path: Path) -> None:
        self.process(path)
        self.process(path, "other")
        self.process(path)
        text = path.read_text()
        assert f'{P}incidents_total{{operation="{OPERATION}",outcome="delivered"}} 10.0' in text
        assert f'{P}incidents_total{{operation="other",outcome="delivered"}} 5.0' in text
        assert f'{P}last_run_success{{operation="other"}} 1.0' in text
        assert text.count("# TYPE") == len({line for line in text.splitlines() if line.startswith("# TYPE")})

    def test_where_the_state_is_away_its_old_figures_go_and_those_of_others_stay(self, path: Path) -> None:
        for operation in (OPERATION, "other"):
            instruments = Meter(operation).instruments
            instruments.ledger.labels("dead").set(2)
            for gauge in (instruments.pending, instruments.dead_letters, instruments.state_bytes):
                gauge.set(2)
            TextFile(path, instruments).write()
        assert {family for family in OF_STATE if f'{family}{{operation="{OPERATION}"' in path.read_text()} == OF_STATE
        (meter := Meter(OPERATION)).ended(RunKind.WINDOW, report(RunStatus.FAILED, pending=2))
        asyncio.run(meter.state.refresh(None))
        TextFile(path, meter.instruments).write()
        left = [line for line in path.read_text().splitlines() if line.partition("{")[0] in OF_STATE]
        assert len(left) == 4
        assert all('operation="other"' in line for line in left)

    def test_an_upgrade_leaves_no_second_version(self, path: Path) -> None:
        self.process(path)
        self.process(path, "other")
        path.write_text(re.sub(r'version="[^"]*"', 'version="0.0.9"', path.read_text()))
        self.process(path)
        text = path.read_text()
        assert re.findall(r'build_info{operation="(.*)",version="0.0.9"}', text) == ["other"]
        assert text.count("build_info{") == 2

    @pytest.mark.parametrize("content", ["", "no metrics { at all", "\x00\xff" * 10, UNREADABLE])
    def test_a_file_that_is_not_ours_is_begun_anew(self, path: Path, content: str) -> None:
        path.write_bytes(content.encode("latin-1"))
        self.process(path)
        assert values(path.read_text())[f"{P}incidents_total", "outcome=delivered"] == 5

    def test_a_reader_never_sees_half_of_it(self, path: Path) -> None:
        """It is put in place in one step, readable for another user's node_exporter."""
        self.process(path)
        inode = path.stat().st_ino
        with path.open() as reader:
            self.process(path)
            assert values(reader.read())[f"{P}incidents_total", "outcome=delivered"] == 5
        assert path.stat().st_ino != inode
        assert path.stat().st_mode & 0o777 == 0o644
        assert [item.name for item in path.parent.glob("*.prom")] == [path.name]

    def test_many_at_once_lose_nothing(self, path: Path) -> None:
        async def together() -> None:
            await asyncio.gather(*(asyncio.to_thread(self.process, path) for _ in range(8)))

        asyncio.run(together())
        assert values(path.read_text())[f"{P}incidents_total", "outcome=delivered"] == 40


def test_answers_are_counted_by_class(meter: Meter) -> None:
    events = told(meter)
    for status in (200, 201, 302, 409, 422, 503, 600, None):
        events.emit(Attempted, 1, status, None, 0.02, "")
    found = shown(meter)
    counts = {name: found[f"{P}attempt_seconds_count", f"answer={name}"] for name in meter_answers()}
    assert counts == {"2xx": 2, "3xx": 1, "4xx": 2, "5xx": 1, "other": 1, "none": 1}


def meter_answers() -> tuple[str, ...]:
    from incident_process.observability.metrics import ANSWERS

    return ANSWERS
