"""Runs on Dask clusters: the same deliveries as by one process, whoever of the cluster is at work."""

import asyncio
import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

import incident_process
from incident_process import Settings
from incident_process.cluster.dask import SILENT
from incident_process.operations.doctor.cluster import examine_workers
from tests.e2e.conftest import MakeSite, Site, day
from tests.support.cluster import cluster_in
from tests.support.command import Finished

ACCOUNTS = tuple(f"{number:010d}" for number in range(60))
DASK = {"engine": "dask"}


def given(site: Site, back: int = 3, amount: str = "1.00", accounts: tuple[str, ...] = ACCOUNTS) -> None:
    site.customers(
        *({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "OUTSTANDING": amount, "LOAD_DATE": day(back)} for a in accounts)
    )


def accepted(site: Site) -> Counter[str]:
    return Counter(row["account_num"] for row in site.accepted())


def by_cluster(make_site: MakeSite, tracking: str, source: str = "mariadb", **engine: object) -> Site:
    site = make_site(source, tracking)
    site.command.configure(process={"chunk_accounts": 5, "lookback_seconds": 864_000}, engine={**DASK, **engine})
    site.prepare()
    return site


def message_of(finished: Finished) -> str:
    text: str = finished.json["message"]
    return text


@pytest.mark.parametrize("tracking", ["sqlite", "mariadb", "mongo"])
def test_each_account_once_and_a_second_run_sends_nothing(make_site: MakeSite, tracking: str) -> None:
    site = by_cluster(make_site, tracking)
    given(site)
    finished = site.finish()
    report = finished.json
    assert (report["status"], report["accounts"], report["delivered"], report["pending"]) == ("completed", 60, 60, 0)
    assert accepted(site) == Counter(ACCOUNTS)
    assert finished.messages().count("Successfully sent data to API.") == 1
    assert len([one for one in finished.messages() if one.startswith("Sending data to API")]) == 1
    (recorded,) = site.history()
    assert (recorded["status"], recorded["delivered"]) == ("completed", 60)
    site.make_due()
    again = site.run()
    assert (again["delivered"], again["unchanged"]) == (0, 60)
    assert len(site.requests()) == 60 + (again["status"] == "no_data")


def test_a_cluster_that_was_there_before_the_run(make_site: MakeSite, tmp_path: Path) -> None:
    with cluster_in(tmp_path / "dask") as cluster:
        for _ in range(2):
            cluster.worker()
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        given(site)
        assert site.run()["delivered"] == 60
        given(site, back=1, amount="2.00", accounts=ACCOUNTS[:20])
        site.make_due()
        again = site.run()
        assert (again["delivered"], again["unchanged"]) == (20, 40)
        assert accepted(site) == Counter(ACCOUNTS) + Counter(ACCOUNTS[:20])
        forced = site.command("backfill", "--from", day(9), "--to", day(0), "--force", "--json")
        assert forced.json["delivered"] == 60, forced.stderr
        repaired = site.command("reconcile", "--repair", "--json")
        assert (repaired.status, len(site.accepted())) == (0, 140)


def workers_in(doctor: Finished) -> list[tuple[str, str]]:
    """Level and finding of what doctor says about workers."""
    return [(one["level"], one["finding"]) for one in doctor.json if one["subject"] == "workers"]


def test_a_worker_with_other_settings_does_nothing(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one with another build; doctor names each, and a run goes on with those that fit."""
    with cluster_in(tmp_path / "dask") as cluster:
        site = by_cluster(make_site, "mariadb", scheduler=cluster.address)
        site.command.configure(process={"log_format": "json"})
        given(site)
        empty = site.command("doctor", "--json")
        assert empty.status == 4
        assert workers_in(empty)[0][1].startswith(f"{cluster.address} has no worker")

        cluster.worker({"INCIDENT_PROCESS__PROCESS__CREATED_BY": "somebody else"})
        other = "a worker has other settings than the run ([PROCESS] created_by)"
        finished = site.finish(expect=2)
        assert other in finished.stderr
        assert site.requests() == []
        wrong = site.command("doctor", "--json")
        ((level, finding),) = workers_in(wrong)
        assert "a run ends with this error" in next(one["remedy"] for one in wrong.json if one["level"] == "error")
        assert (wrong.status, level) == (2, "error")
        assert finding.startswith("tcp://127.0.0.1:")
        assert other in finding

        package = shutil.copytree(Path(incident_process.__file__).parent, tmp_path / "other" / "incident_process")
        (package / "core" / "clock.py").write_text((package / "core" / "clock.py").read_text() + "\n")
        cluster.worker({"PYTHONPATH": str(package.parent)})
        fit = cluster.worker()
        some = site.command("doctor", "--json")
        assert some.status == 0, some.stderr
        warnings = [finding for level, finding in workers_in(some) if level == "warning"]
        assert "leave this worker out" in next(one["remedy"] for one in some.json if one["subject"] == "workers")
        build = "a worker has another build of incident-process"
        assert sorted((other in finding, build in finding) for finding in warnings) == [(False, True), (True, False)]
        assert any("has 1 worker(s) that fit, with 2 thread(s)" in finding for _, finding in workers_in(some))
        finished = site.finish()
        assert finished.json["delivered"] == 60
        left_out = [line for line in finished.log_lines if line["event"] == "worker_left_out"]
        assert {line["worker"] for line in left_out} == {finding.partition(": ")[0] for finding in warnings}

        os.kill(fit.pid, signal.SIGSTOP)
        monkeypatch.setattr("incident_process.cluster.dask.CONNECT_SECONDS", 1.0)
        found = asyncio.run(examine_workers(Settings.load(site.command.config)))
        assert any(SILENT in one.finding for one in found)
        assert {one.exit_status for one in found} == {4}


def test_a_scheduler_without_workers_and_none_at_all(make_site: MakeSite) -> None:
    site = by_cluster(make_site, "mariadb", scheduler="tcp://127.0.0.1:9")
    site.command.configure(process={"log_format": "json"})
    given(site)
    finished = site.finish(expect=4)
    assert "tcp://127.0.0.1:9 cannot be reached" in message_of(finished)
    assert {line["logger"] for line in finished.log_lines} == {"incident_logger"}
    assert site.run(INCIDENT_PROCESS__ENGINE__ENGINE="local")["delivered"] == 60


def test_tls_without_certificates_is_a_fault_of_the_configuration(make_site: MakeSite) -> None:
    """Of a run and in doctor, before a database is asked."""
    site = make_site()
    nowhere = "mysql://u:p@127.0.0.1:9/d"
    site.command.configure(
        engine={**DASK, "scheduler": "tls://127.0.0.1:9"}, database={"URL": nowhere}, state={"URL": nowhere}
    )
    named = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": "/none" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")}
    for env, said in (
        ({}, " has no certificates for it"),
        (named, "'s certificates cannot be used (FileNotFoundError)"),
    ):
        for finished in (site.command("run", env=env), site.command("doctor", env=env)):
            assert finished.status == 2
            assert f"tls://127.0.0.1:9, but Dask{said}: name the PEM" in finished.stderr + finished.stdout


def test_the_share_of_each_adds_up_to_the_rate(make_site: MakeSite) -> None:
    site = by_cluster(make_site, "mariadb", workers=2)
    site.command.configure(api={"requests_per_second": 12}, process={"chunk_accounts": 3})
    given(site)
    assert site.run()["delivered"] == 60
    times = sorted(_seconds(row["received_at"]) for row in site.requests())
    most = max(sum(begin <= other < begin + 2 for other in times) for begin in times)
    # 24 in two seconds; each of the four that send at once may be one request early by what the network jitters.
    assert most <= 24 + 4, most
    assert times[-1] - times[0] >= 60 / 12 - 1


@pytest.mark.parametrize("adaptive", ["on", "off"])
def test_no_more_requests_are_under_way_than_one_process_may_have(make_site: MakeSite, adaptive: str) -> None:
    """Two workers with two chunks each; the receiver turns away every request beyond four at once."""
    site = by_cluster(make_site, "mariadb", workers=2)
    site.command.configure(api={"max_connections": 4, "adaptive": adaptive})
    given(site)
    site.receiver.control(workers=4, work_ms=50, queue=0)
    report = site.run()
    site.receiver.calm()
    assert report["delivered"] == 60
    assert Counter(row["answer"] for row in site.requests()) == {201: 60}


def test_a_cluster_gets_the_rate_that_the_receiver_takes(make_site: MakeSite) -> None:
    site = by_cluster(make_site, "mariadb", workers=2)
    given(site)
    site.receiver.control(rate_limit=10, rate_kind="second", rate_status=429)
    report = site.run()
    site.receiver.calm()
    assert (report["status"], report["delivered"], report["dead"]) == ("completed", 60, 0)
    assert accepted(site) == Counter(ACCOUNTS)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_what_one_account_suffers_is_settled_by_the_run(make_site: MakeSite) -> None:
    """A record that always fails among others that do not: its runs are counted, and it ends as a dead letter."""
    site = by_cluster(make_site, "mariadb", workers=1)
    site.command.configure(process={"max_runs": 2}, api={"max_attempts": 2, "retry_seconds": 5})
    given(site, accounts=ACCOUNTS[:15])
    site.receiver.control(fail_accounts={ACCOUNTS[7]: 500})
    first = site.finish(expect=4).json
    assert (first["delivered"], first["pending"], first["dead"]) == (14, 1, 0)
    second = site.run()
    assert (second["resumed"], second["dead"], second["pending"]) == (1, 1, 0)
    (dead,) = site.deliveries("--status", "dead")
    assert (dead["account"], dead["attempts"]) == (ACCOUNTS[7], 4)
    assert json.dumps(dead).count("gave up after 4 attempts in 2 runs") == 1
