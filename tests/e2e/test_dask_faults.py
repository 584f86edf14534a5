"""Clusters that lose what they are made of while a run is at work: workers, coordinator, scheduler, receiver."""

import asyncio
import contextlib
import json
import os
import pickle
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from incident_process import Settings
from incident_process.app.runner import run_leased, run_window
from incident_process.cluster.settings_reference import Reference
from incident_process.core.models import RunStatus
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import backfill
from incident_process.pipeline.run import Run
from tests.e2e.conftest import MakeSite, Site
from tests.e2e.test_dask import ACCOUNTS, accepted, by_cluster, given, message_of
from tests.support.cluster import Cluster, children, cluster_in, gone
from tests.support.command import wait_until
from tests.support.proxy import TcpProxy
from tests.support.schedules import schedule

SECRETS = ("bearer-token-of-the-receiver", "value-of-a-header")


def slowly(site: Site, milliseconds: int = 400) -> None:
    """Let a run take some seconds: few connections to a receiver that thinks."""
    site.command.configure(api={"max_connections": 4})
    site.receiver.control(latency_ms=milliseconds)


def alone(site: Site) -> dict[str, Any]:
    """A run without the cluster."""
    return site.run(INCIDENT_PROCESS__ENGINE__ENGINE="local")


@pytest.mark.parametrize("tracking", ["mariadb", "mongo"])
def test_a_worker_that_is_killed(make_site: MakeSite, tracking: str) -> None:
    """Its chunks are done by others under the same ids, and the run ends as if nothing had happened."""
    site = by_cluster(make_site, tracking, workers=2)
    slowly(site)
    given(site)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.requests()) >= 12)
        os.kill(children(running.pid)[0], signal.SIGKILL)
        finished = running.wait()
    assert finished.status == 0, finished.stderr
    assert finished.json["status"] == "completed"
    assert accepted(site) == Counter(ACCOUNTS)
    assert site.deliveries("--status", "pending") == []


def test_workers_that_die_over_every_chunk(make_site: MakeSite) -> None:
    """Dask gives a chunk up after some workers; the run ends incomplete, and one without the cluster finishes it."""
    site = by_cluster(make_site, "mariadb", workers=1)
    given(site, accounts=ACCOUNTS[:10])
    patience = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    finished = site.command.run({"INCIDENT_PROCESS_FAULT": "enqueued:1", **patience})
    assert finished.status == 4, finished.stderr
    assert "died one after the other over a chunk" in message_of(finished)
    report = alone(site)
    assert (report["status"], report["resumed"] > 0) == ("completed", True)
    assert accepted(site) == Counter(ACCOUNTS[:10])


@pytest.mark.parametrize("tracking", ["sqlite", "mariadb", "mongo"])
def test_a_coordinator_that_is_killed(make_site: MakeSite, tracking: str) -> None:
    """What its workers had written down is sent first by a run without a cluster, under the same ids."""
    site = by_cluster(make_site, tracking)
    slowly(site, 1000)
    given(site)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.accepted()) >= 4)
        workers = children(running.pid)
        running.kill()
    begun = len(site.deliveries("--status", "pending"))
    assert begun > 0
    site.receiver.calm()
    given(site, back=1, amount="2.00", accounts=ACCOUNTS[:3])
    report = alone(site)
    assert (report["status"], report["pending"]) == ("completed", 0)
    assert report["resumed"] > 0
    assert all(gone(pid) for pid in workers), "workers must not outlive the cluster that they belong to"
    counted = accepted(site)
    assert set(counted) == set(ACCOUNTS)
    contents = Counter(_content(row) for row in site.accepted())
    assert max(contents.values()) == 1, "no content twice"
    site.make_due()
    assert alone(site)["delivered"] == 0


@pytest.mark.parametrize("cut", ["refuse", "stall"])
def test_a_worker_that_is_cut_off_from_the_state(make_site: MakeSite, tmp_path: Path, cut: str) -> None:
    """Another one does its chunk; when it is connected again it can change nothing."""
    with cluster_in(tmp_path / "dask") as cluster, contextlib.ExitStack() as stack:
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        site.command.configure(process={"lease_seconds": 5})
        slowly(site)
        given(site)
        server = site.source.server  # type: ignore[attr-defined]  # of MariaDB
        proxy = stack.enter_context(TcpProxy(server.port))
        cluster.worker()
        cluster.worker({"INCIDENT_PROCESS__STATE__URL": site.source.url.replace(f":{server.port}/", f":{proxy.port}/")})
        with site.command.started("run", "--json") as running:
            wait_until(lambda: proxy.connections and len(site.accepted()) >= 8)
            getattr(proxy, cut)()
            finished = running.wait()
        assert finished.status == 0, finished.stderr
        assert any("another one is asked" in text for text in finished.messages("WARNING"))
        assert accepted(site) == Counter(ACCOUNTS)
        before = (site.deliveries(), site.operation(), site.history())
        (proxy.admit if cut == "refuse" else proxy.resume)()
        time.sleep(3)
        assert (site.deliveries(), site.operation(), site.history()) == before
        assert accepted(site) == Counter(ACCOUNTS)
        assert site.deliveries("--status", "pending") == []


def test_a_receiver_that_fails_stops_the_whole_cluster(make_site: MakeSite) -> None:
    site = by_cluster(make_site, "mariadb")
    site.command.configure(api={"max_attempts": 2, "retry_seconds": 3, "breaker_failures": 2})
    given(site)
    site.receiver.control(fail_rate=1.0)
    finished = site.finish(expect=4)
    report = finished.json
    assert "circuit breaker" in report["message"]
    assert (report["delivered"], report["dead"]) == (0, 0)
    asked = len({row["account_num"] for row in site.requests()})
    assert asked < 60, "no further chunk was begun"
    site.receiver.calm()
    assert site.run()["status"] == "completed"
    assert accepted(site) == Counter(ACCOUNTS)


def test_a_run_that_is_told_to_stop(make_site: MakeSite) -> None:
    site = by_cluster(make_site, "mariadb")
    slowly(site)
    given(site)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.accepted()) >= 6)
        finished = running.terminate()
    assert finished.status == 4, finished.stderr
    counts = finished.json
    untried = f"; without an outcome: {counts['pending']} not tried in this run" if counts["pending"] else ""
    assert message_of(finished) == f"interrupted by SIGTERM{untried}"
    assert counts["delivered"] == len(site.accepted()) < 60, "what was under way is recorded"
    site.receiver.calm()
    report = site.run()
    assert (report["status"], report["pending"]) == ("completed", 0)
    assert accepted(site) == Counter(ACCOUNTS)


def test_a_schedule_that_is_told_to_end_lets_the_workers_begin_no_further_chunk(make_site: MakeSite) -> None:
    """Those under way go on to their end; the workers had as many again in hand."""
    site = by_cluster(make_site, "mariadb")
    site.command.configure(process={"chunk_accounts": 6}, engine={"workers": 1})
    slowly(site, 200)
    given(site)
    with schedule(site.command, stop_seconds=60) as running:
        wait_until(lambda: len(site.accepted()) >= 2)
        running.stop()
    sent = len(site.accepted())
    assert sent % 6 == 0
    assert sent <= 3 * 6  # two threads, one of which may just have begun its next chunk
    (run,) = site.history()
    assert (run["status"], run["error"], run["delivered"]) == ("incomplete", "interrupted by SIGTERM", sent)
    site.receiver.calm()
    site.make_due()
    assert site.run()["status"] == "completed"
    assert accepted(site) == Counter(ACCOUNTS)


def test_a_scheduler_that_is_killed(make_site: MakeSite, tmp_path: Path) -> None:
    with cluster_in(tmp_path / "dask") as cluster:
        cluster.worker()
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        site.command.configure(process={"log_format": "json"})
        slowly(site)
        given(site)
        with site.command.started("run", "--json") as running:
            wait_until(lambda: len(site.accepted()) >= 4)
            cluster.scheduler.kill()
            finished = running.wait()
        assert finished.status == 4, finished.stderr
        assert {line["logger"] for line in finished.log_lines} == {"incident_logger"}
        assert "was lost" in message_of(finished)
    site.receiver.calm()
    assert alone(site)["status"] == "completed"
    assert accepted(site) == Counter(ACCOUNTS)


class Seen:
    """What a progress bar is told."""

    found = done = 0

    def start(self, accounts: int) -> None:
        self.found += accounts

    def advance(self, accounts: int) -> None:
        self.done += accounts


class Recorder:
    """Keeps what a client hands to the scheduler, and hands it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []
        submit = Client.submit

        def recording(client: Any, function: Any, *arguments: Any, **keywords: Any) -> Any:
            self.calls.append((function, arguments))
            return submit(client, function, *arguments, **keywords)

        monkeypatch.setattr(Client, "submit", recording)


def again(cluster: Cluster, calls: list[tuple[Any, tuple[Any, ...]]]) -> list[Any]:
    """Hand the same tasks out once more, as a network would that had held them back."""

    async def ask() -> list[Any]:
        async with Client(cluster.address, asynchronous=True, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            futures = [client.submit(function, *arguments, pure=False) for function, arguments in list(calls)]
            return [await future for future in futures]

    return asyncio.run(ask())


def test_no_secret_is_handed_out_and_a_late_task_does_nothing(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_in(tmp_path / "dask") as cluster:
        cluster.worker()
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        site.command.configure(api={"bearer_token": SECRETS[0], "headers": f"X-Client: {SECRETS[1]}"})
        given(site, accounts=ACCOUNTS[:12])
        settings = Settings.load(site.command.config, {})
        recorder = Recorder(monkeypatch)
        seen = Seen()
        assert run_window(settings, progress=seen).status is RunStatus.COMPLETED
        assert (seen.found, seen.done) == (12, 12)
        assert len(recorder.calls) == 3
        handed = pickle.dumps(recorder.calls)
        assert ACCOUNTS[0].encode() in handed, "the tasks themselves are looked into"
        password = site.source.url.partition("://")[2].partition("@")[0].partition(":")[2]
        for secret in (*SECRETS, password):
            assert secret
            assert secret.encode() not in handed
        assert not any(account in repr(recorder.calls) for account in ACCOUNTS)

        before = (len(site.requests()), site.deliveries())
        given(site, back=1, amount="2.00", accounts=ACCOUNTS[:12])
        late = again(cluster, recorder.calls[:3])
        assert [done.error[0] for done in late] == ["LeaseLostError"] * 3
        assert (len(site.requests()), site.deliveries()) == before
        assert run_window(_due(site, settings)).counts.delivered == 12
        late = again(cluster, recorder.calls[:3])
        assert [done.error[0] for done in late] == ["LeaseLostError"] * 3
        assert accepted(site) == Counter(ACCOUNTS[:12] * 2)
        assert all(secret not in cluster.logs() for secret in (*SECRETS, password))


def test_a_forced_backfill_that_goes_over_a_chunk_twice_sends_it_once(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run is at work its first task is handed out again, as when a worker dies after its last delivery."""
    with cluster_in(tmp_path / "dask") as cluster:
        cluster.worker()
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        site.command.configure(process={"chunk_accounts": 30})
        given(site, accounts=ACCOUNTS[:30])
        settings = Settings.load(site.command.config, {})
        assert run_window(settings).counts.delivered == 30
        submit = Client.submit

        def twice(client: Any, function: Any, reference: Reference, *rest: Any, **keywords: Any) -> Any:
            first = submit(client, function, reference, *rest, pure=False)
            keywords["pure"] = False

            async def then() -> Any:
                assert (await first).delivered == 30
                return await submit(client, function, reference, *rest, pure=False)

            task = asyncio.ensure_future(then())
            task.release = lambda: None  # type: ignore[attr-defined]  # as Dask's future has it
            return task

        monkeypatch.setattr(Client, "submit", twice)

        async def made(parts: Parts) -> Run:
            from datetime import UTC, datetime

            begin, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
            return Run(parts, backfill(parts, begin, end, force=True))

        report = run_leased(settings, made)
        assert report.counts.unchanged == 30
        assert accepted(site) == Counter(ACCOUNTS[:30] * 2)


def _due(site: Site, settings: Settings) -> Settings:
    site.make_due()
    return settings


def _content(row: dict[str, Any]) -> tuple[str, Any]:
    body = json.loads(row["body"])
    return body["Account_Num"], body["Arrears"]
