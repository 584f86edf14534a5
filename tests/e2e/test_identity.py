"""The state knows its operations and their receivers: what would be doubled or passed over is told first (SPEC 6)."""

from typing import Any

import pytest
from pymongo import MongoClient

from incident_process.delivery.idempotency import idempotency_key
from tests.e2e.conftest import OPERATION, TRACKINGS, MakeSite, Site, day
from tests.e2e.test_repair import load
from tests.support.receivers import start_receiver

ACCOUNTS = tuple(f"{number:010d}" for number in range(4))
KINDS = (
    ("run", "--json"),
    ("backfill", "--from", day(9), "--to", day(0), "--json"),
    ("dead-letters", "replay", "--json"),
    ("reconcile", "--repair", "--json"),
)


@pytest.fixture(params=TRACKINGS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """Four accounts delivered."""
    made = make_site("sqlite", request.param)
    made.prepare()
    load(made, ACCOUNTS, day(5))
    assert made.run()["delivered"] == len(ACCOUNTS)
    return made


def keys(site: Site) -> dict[str, str]:
    return {entry["account"]: entry["idempotency_key"] for entry in site.deliveries()}


# -- another operation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Incident extraktion from data lake", OPERATION.upper(), f"{OPERATION[:8]} {OPERATION[8:]}"]
)
def test_a_mistyped_operation_is_refused_by_every_kind_of_run(site: Site, name: str) -> None:
    site.command.configure(process={"operation_name": name})
    for command in KINDS:
        finished = site.command(*command)
        assert finished.status == 6, (command, finished.stderr)
        told = finished.stderr
        assert f"'{name}' is inactive" in told
        assert f"'{OPERATION}'" in told, "the operation that was meant is named"
        assert "incident-process init" in told
        assert ("capitals or blanks" in told) == (name != "Incident extraktion from data lake")
    assert site.command.run().json["status"] == "inactive"
    doctor = site.command("doctor", "--json")
    (found,) = [item for item in doctor.json if item["subject"] == "operation"]
    assert (doctor.status, found["level"]) == (6, "error")
    assert site.command("status", "--json").json["gate"] == "inactive"
    assert len(site.accepted()) == len(ACCOUNTS), "nothing was sent"
    site.command.configure(process={"operation_name": OPERATION})
    site.make_due()
    assert site.run()["status"] in {"no_data", "completed"}


def test_a_second_operation_begins_once_init_has_created_it(site: Site) -> None:
    site.command.configure(process={"operation_name": "Another operation"})
    assert site.run(expect=6)["status"] == "inactive"
    created = site.command("init")
    assert created.status == 0
    assert "'Another operation' is created" in created.stdout
    assert any(OPERATION in message for message in created.messages("WARNING"))
    assert site.run()["delivered"] == len(ACCOUNTS)
    again = site.command("init")
    assert "is created" not in again.stdout
    assert not any(OPERATION in message for message in again.messages("WARNING"))


def test_the_first_operation_of_an_empty_mongodb_needs_no_init(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    load(site, ACCOUNTS, day(5))
    assert site.run()["delivered"] == len(ACCOUNTS)


def test_a_document_whose_name_differs_in_capitals_or_blanks_is_not_passed_over(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    load(site, ACCOUNTS, day(5))
    assert site.mongo is not None
    client: MongoClient[dict[str, Any]]
    with MongoClient(site.mongo[0]) as client:
        operations: Any = client[site.mongo[1]]["Process_Operation"]
        operations.insert_one({"Operation_name": "Quite another program's", "Process_Operation_Sequence": 3})
        operations.insert_one({"Operation_name": f" {OPERATION.lower()}", "Process_Operation_Sequence": 7})
        refused = site.finish(expect=6)
        assert f"' {OPERATION.lower()}'" in refused.stderr
        assert "capitals or blanks" in refused.stderr
        operations.update_one(
            {"Process_Operation_Sequence": 7}, {"$set": {"Operation_name": OPERATION.replace("data", "date")}}
        )
        assert "from date lake" in site.finish(expect=6).stderr
        operations.delete_one({"Process_Operation_Sequence": 7})
    assert site.run()["delivered"] == len(ACCOUNTS), "other programs' documents are no reason to stop"


# -- another name -----------------------------------------------------------------------------------------------------


def test_a_renamed_operation_keeps_watermark_ledger_and_keys(site: Site) -> None:
    site.receiver.control(fail_accounts={ACCOUNTS[0]: 503})
    site.command.configure(api={"max_attempts": 1})
    load(site, ACCOUNTS[:1], day(1), OUTSTANDING="7.00")
    site.make_due()
    assert site.run(expect=4)["pending"] == 1
    site.receiver.calm()
    before, status = keys(site), site.command("status", "--json").json
    new = "Incident extraction, Colombo"
    renamed = site.command("state", "rename", OPERATION, new)
    assert renamed.status == 0, renamed.stderr
    assert f"operation_name = {new}" in renamed.stdout
    site.command.configure(process={"operation_name": new})
    after = site.command("status", "--json").json
    for name in ("sequence", "last_execution_dtm", "deliveries", "last_run"):
        assert after[name] == status[name], name
    assert after["operation"] == new
    assert keys(site) == before
    site.make_due()
    report = site.run()
    assert (report["delivered"], report["sequence"]) == (1, status["sequence"] + 1), "what was pending, and no more"
    assert keys(site) == before
    assert len(site.history()) == 3

    # The same content of an account that the ledger has lost goes out under the key that it always had.
    site.command.configure(process={"operation_name": OPERATION})
    old = site.finish(expect=6)
    assert f"'{new}'" in old.stderr
    back = site.command("state", "rename", new, OPERATION)
    assert back.status == 0
    site.make_due()
    assert site.run()["delivered"] == 0


def test_new_content_of_a_renamed_operation_has_a_key_of_the_name_before(site: Site) -> None:
    new = "Renamed"
    assert site.command("state", "rename", OPERATION, new).status == 0
    site.command.configure(process={"operation_name": new})
    load(site, ACCOUNTS[:1], day(1), OUTSTANDING="8.00")
    site.make_due()
    assert site.run()["delivered"] == 1
    entry = site.deliveries("--account", ACCOUNTS[0])[0]
    assert entry["idempotency_key"] == idempotency_key(OPERATION, ACCOUNTS[0], entry["digest"])


def test_a_rename_refuses_what_would_mix_operations(site: Site) -> None:
    unknown = site.command("state", "rename", "No such operation", "X")
    assert unknown.status == 2
    assert f"'{OPERATION}'" in unknown.stderr
    site.command.configure(process={"operation_name": "Another operation"})
    assert site.command("init").status == 0
    fresh = site.command("state", "rename", OPERATION, "Another operation")
    assert fresh.status == 0, "one that init has created and nobody has used gives way"
    site.make_due()
    assert site.run()["delivered"] == 0
    site.command.configure(process={"operation_name": OPERATION})
    assert site.command("init").status == 0
    assert site.run()["delivered"] == len(ACCOUNTS)
    used = site.command("state", "rename", OPERATION, "Another operation")
    assert used.status == 2
    assert "'Another operation' has runs" in used.stderr
    for wrong in ("", " blank", "x" * 256, OPERATION):
        assert site.command("state", "rename", OPERATION, wrong).status == 2


# -- another receiver -------------------------------------------------------------------------------------------------


def test_another_receiver_is_told_before_anything_is_taken_for_sent(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = site.command("state", "receiver", "--json").json
    assert shown["same"] is True
    with start_receiver(tmp_path_factory.mktemp("other")) as other:
        site.command.configure(api={"api_url": f"{other.url}?token=synthetic-secret"})
        load(site, ACCOUNTS[:1], day(1), OUTSTANDING="3.00")
        site.make_due()
        for command in (*KINDS, ("reconcile",)):
            refused = site.command(*command)
            assert refused.status == 2, (command, refused.stderr)
            assert shown["delivered_to"] in refused.stderr
            assert str(other.port) in refused.stderr
            assert "state receiver --accept" in refused.stderr
            assert "backfill" in refused.stderr
            assert "synthetic-secret" not in refused.stderr + refused.stdout
        preview = site.command("preview", "--json")
        assert preview.status == 0
        assert any("state receiver --accept" in message for message in preview.messages("WARNING"))
        doctor = site.command("doctor", "--json")
        assert doctor.status == 2
        (found,) = [item for item in doctor.json if item["level"] == "error"]
        assert "state receiver --accept" in found["remedy"]
        assert other.accepted() == []
        told = site.command("state", "receiver", "--json")
        assert (told.status, told.json["same"]) == (2, False)

        part = site.command("backfill", "--from", day(1), "--to", day(0), "--force", "--json")
        assert (part.status, part.json["delivered"]) == (0, 1)
        assert any("3 account(s)" in message for message in part.messages("WARNING"))
        assert site.command("run", "--json").status == 2, "the others are not there yet"
        whole = site.command("backfill", "--from", day(9), "--to", day(0), "--force", "--json")
        assert (whole.status, whole.json["delivered"]) == (0, len(ACCOUNTS))
        site.make_due()
        assert site.run()["delivered"] == 0
        assert {row["account_num"] for row in other.accepted()} == set(ACCOUNTS)


def test_the_same_receiver_under_another_address_is_one_command(site: Site) -> None:
    other = site.receiver.url.replace("127.0.0.1", "localhost")
    assert other != site.receiver.url
    site.command.configure(api={"api_url": other})
    site.make_due()
    assert site.run(expect=2)["status"] == "failed"
    accepted = site.command("state", "receiver", "--accept")
    assert accepted.status == 0
    assert "localhost" in accepted.stdout
    assert site.run()["delivered"] == 0
    assert len(site.accepted()) == len(ACCOUNTS)


def test_an_address_that_never_took_anything_may_be_corrected(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    load(site, ACCOUNTS, day(5))
    site.command.configure(api={"api_url": "http://127.0.0.1:9/wrong", "max_attempts": 1, "breaker_failures": 1})
    assert site.run(expect=4)["pending"] > 0
    site.command.configure(api={"api_url": site.receiver.url})
    assert site.run()["delivered"] == len(ACCOUNTS)


# -- two operations, two receivers, one state -------------------------------------------------------------------------


def test_two_operations_deliver_to_two_receivers_from_one_state(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = {"operation_name": "Second extraction"}
    with start_receiver(tmp_path_factory.mktemp("second")) as other:
        site.command.configure(process=second, api={"api_url": other.url})
        assert site.command("init").status == 0
        assert site.run()["delivered"] == len(ACCOUNTS)
        load(site, ACCOUNTS[:2], day(1), OUTSTANDING="4.00")
        site.make_due()
        assert site.run()["delivered"] == 2
        assert len(other.accepted()) == len(ACCOUNTS) + 2

        site.command.configure(process={"operation_name": OPERATION}, api={"api_url": site.receiver.url})
        assert len(site.accepted()) == len(ACCOUNTS), "what the one delivers is not the other's"
        site.make_due()
        assert site.run()["delivered"] == 2
        for name, url in ((OPERATION, site.receiver.url), (second["operation_name"], other.url)):
            site.command.configure(process={"operation_name": name}, api={"api_url": url})
            assert site.command("reconcile").status == 0
            assert site.command("state", "receiver", "--json").json == {
                "delivered_to": url,
                "configured": url,
                "same": True,
            }
            assert len(site.deliveries()) == len(ACCOUNTS) + 2
        site.command.configure(api={"api_url": site.receiver.url})
        assert site.run(expect=2)["status"] == "failed", "the second operation's receiver is not the first one's"
        taken = [row["incident_id"] for row in (*site.accepted(), *other.accepted())]
        assert len(set(taken)) == len(taken), "an Incident_Id stands for one incident over both"
