"""The commands around a run (SPEC 7): init, status, history, deliveries, preview, receiver, and their help."""

import json
import re
import stat
from typing import Any

import jsonschema
import pytest

from tests.e2e.conftest import OPERATION, SERVERS, MakeSite, Site, day
from tests.e2e.test_hostile import SCHEMA
from tests.support.command import Command, Finished, wait_until

COMMANDS = (
    *("init", "run", "schedule", "status", "history", "deliveries", "preview", "backfill"),
    *("dead-letters list", "dead-letters replay", "dead-letters export", "reconcile", "doctor", "dashboard"),
    *("receiver", "demo", "config show", "config check", "sample-data"),
)
FRESH = True
PAYMENTS_ONLY = "0000000099"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Three accounts and one that has payments only, before the first run."""
    made = make_site()
    made.prepare()
    made.customers(
        *({"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A1", "OUTSTANDING": "10.50", "LOAD_DATE": day(5)} for n in range(3))
    )
    made.payments({"AP_ACCOUNT_NUMBER": PAYMENTS_ONLY, "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": f"{day(4)} 10:00:00"})
    return made


def good(finished: Finished) -> Finished:
    assert finished.status == 0, finished.stderr
    return finished


# -- init -------------------------------------------------------------------------------------------------------------


def test_init_writes_a_commented_file_and_keeps_it(command: Command) -> None:
    path = command.folder / "new.ini"
    arguments = ("init", "--config", "new.ini")
    env = {"INCIDENT_PROCESS__DATABASE__URL": "sqlite:///source.db", "INCIDENT_PROCESS__PROCESS__TRACKING": "sql"}
    first = good(command(*arguments, env=env))
    text = path.read_text()
    assert first.stdout.startswith("Wrote new.ini.\nNext: 1. ")
    assert "config check" in first.stdout
    assert [file.name for file in command.folder.iterdir()] == ["new.ini"], "it connects on the next call only"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for word in ("[MONGODB]", "[DATABASE]", "[API]", "[PROCESS]", "[STATE]", "; ", "time_gap_seconds"):
        assert word in text

    path.write_text(text + "; a line of the user's own\n")
    assert f"'{OPERATION}' is created" in good(command(*arguments, env=env)).stdout
    again = good(command(*arguments, env=env))
    assert path.read_text() == text + "; a line of the user's own\n"
    assert "created" not in again.stdout


def test_init_embedded_creates_what_holds_without_a_file(command: Command) -> None:
    command.environment |= {"XDG_DATA_HOME": str(command.folder / "data")}
    lost = command("run")
    assert (lost.status, lost.stdout) == (3, "")
    assert "The embedded default's source: there is no file" in lost.stderr
    assert "init --embedded" in lost.stderr
    looked = command("doctor")
    assert (looked.status, looked.stderr) == (3, "")
    assert looked.stdout.count("No configuration found") == 1
    assert "Remedy: Change to the configuration's folder, or name the file with --config." in looked.stdout
    assert "incidents.db with both source tables" in good(command("init", "--embedded")).stdout
    assert "Created" not in good(command("init", "--embedded")).stdout, "it is safe to repeat"
    made = command.folder / "data" / "incident-process" / "incidents.db"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600, "it will hold personal data"
    alone = good(command.run())
    assert alone.json["status"] == "no_data"
    assert alone.json["message"].startswith("No configuration found: "), "not in silence: it may be the wrong folder"
    assert alone.json["message"] in alone.messages("WARNING")
    assert [path.name for path in command.folder.iterdir()] == ["data"], "no configuration is written"
    (command.folder / "DB_Config.ini").touch()
    refused = command("init", "--embedded")
    assert refused.status == 2
    assert "DB_Config.ini is one" in refused.stderr


def test_init_keeps_an_operation_that_is_there(site: Site) -> None:
    assert site.state is not None
    good(site.command("init"))
    site.state.sql("UPDATE Process_Operation SET execution_duration = 17, Process_Operation_Sequence = 5")
    before = site.operation()
    good(site.command("init"))
    assert site.operation() == before


@pytest.mark.parametrize("state", ["sqlite", *SERVERS])
def test_init_creates_an_index_that_doctor_misses(make_site: MakeSite, state: str) -> None:
    site = make_site("sqlite", state)
    site.prepare()
    assert site.state is not None
    on = " ON Incident_Delivery" if state in SERVERS else ""
    site.state.sql(f"DROP INDEX Delivery_By_Account{on}")

    def missed() -> list[str]:
        found = good(site.command("doctor", "--json")).json
        return [one["remedy"] for one in found if one["subject"] == "state" and one["level"] != "ok"]

    (remedy,) = missed()
    good(site.command("init"))
    assert missed() == []
    site.state.sql(f"DROP INDEX Delivery_By_Account{on}")
    site.state.sql(remedy.rstrip(";"))
    assert missed() == []


# -- what only reads --------------------------------------------------------------------------------------------------


def test_status_before_and_after_a_run(site: Site) -> None:
    before = good(site.command("status", "--json")).json
    assert (before["operation"], before["sequence"], before["may_run"], before["last_run"]) == (
        OPERATION,
        0,
        True,
        None,
    )
    site.run()
    after = good(site.command("status", "--json")).json
    assert (after["sequence"], after["may_run"], after["lease"]) == (1, False, None)
    assert after["last_run"]["status"] == "completed"
    assert after["deliveries"] == {"pending": 0, "delivered": 3, "dead": 0, "skipped": 1}
    assert before["config"] == str(site.command.config)
    shown = good(site.command("status")).stdout
    assert re.search(r"^sequence +1$", shown, re.MULTILINE)
    assert re.search(r"^deliveries in the ledger +\S", shown, re.MULTILINE)
    assert re.search(r"^last_execution_dtm +\d{4}-\d\d-\d\dT", shown, re.MULTILINE)


def test_a_run_without_data_takes_a_refused_empty_payload_for_usual(site: Site) -> None:
    site.run()
    site.make_due()
    site.receiver.control(proxy_status=400)
    quiet = good(site.command.run())
    assert quiet.json["status"] == "no_data"
    assert "The empty payload was not accepted: HTTP 400." in quiet.messages("INFO")
    assert not quiet.messages("WARNING")


def test_history(site: Site) -> None:
    assert good(site.command("history", "--json")).json == []
    assert good(site.command("history")).stdout.strip()
    site.run()
    site.make_due()
    site.run()
    runs = good(site.command("history", "--json")).json
    assert [run["status"] for run in runs] == ["no_data", "completed"]
    assert {run["kind"] for run in runs} == {"window"}
    assert (runs[1]["delivered"], runs[1]["skipped"], runs[1]["accounts"]) == (3, 1, 4)
    assert runs[1]["started"] <= runs[1]["ended"] <= runs[0]["started"]
    (only,) = good(site.command("history", "--json", "--limit", "1")).json
    assert only == runs[0]
    assert good(site.command("history", runs[1]["run_id"], "--json", "--quiet")).json == runs[1]
    assert good(site.command("history", "--since", "1h", "--json")).json == runs
    assert good(site.command("history", "--since", "2099-01-01", "--json")).json == []
    assert good(site.command("history", "--since", "2099-01-01")).stdout == "No run that fits.\n"
    assert "The configuration is" in good(site.command("history", "-v")).stderr
    unknown = site.command("history", "no-such-run")
    assert (unknown.status, "knows no run" in unknown.stderr) == (2, True)
    assert runs[1]["run_id"] in good(site.command("history")).stdout


def test_deliveries_and_their_filters(site: Site) -> None:
    run_id = site.run()["run_id"]
    everything = site.deliveries()
    ids = [entry["incident_id"] for entry in everything]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 4
    (one,) = site.deliveries("--account", "0000000001")
    assert (one["account"], one["status"], one["attempts"], one["http_status"]) == ("0000000001", "delivered", 1, 201)
    (skipped,) = site.deliveries("--status", "skipped")
    assert (skipped["account"], skipped["attempts"]) == (PAYMENTS_ONLY, 0)
    assert "no customer row" in skipped["error"]
    assert site.deliveries("--run", run_id) == everything
    assert site.deliveries("--run", "another") == []
    assert site.deliveries("--limit", "2") == everything[:2]
    table = good(site.command("deliveries", "--account", "0000000001")).stdout
    assert "0000000001" in table
    assert "0000000002" not in table
    assert good(site.command("deliveries", "--account", "none")).stdout.strip()
    short = good(site.command("deliveries", "--account", "1"))
    assert "No entry of account 1: did you mean 0000000001?" in short.messages("INFO")


def test_what_a_run_resumed_stands_under_the_run_that_wrote_it(site: Site) -> None:
    site.receiver.control(fail_rate=1.0)
    site.command.configure(api={"max_attempts": 1})
    first = site.run(expect=4)["run_id"]
    site.receiver.calm()
    second = site.run()
    assert (second["resumed"], second["delivered"]) == (3, 3)
    assert site.deliveries("--run", second["run_id"]) == []
    assert len(site.deliveries("--run", first, "--status", "delivered")) == 3
    words = " ".join(good(site.command("deliveries", "--help")).stdout.split())
    assert "what it resumed stands under the run that wrote it (`resumed` in its record)" in words


def test_preview_shows_what_would_be_sent_and_sends_nothing(site: Site) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    shown = good(site.command("preview", "--json")).json
    assert [document["Account_Num"] for document in shown] == [f"{n:010d}" for n in range(3)]
    for document in shown:
        validator.validate(document)
    (first,) = good(site.command("preview", "--json", "--limit", "1")).json
    assert first["Account_Num"] == "0000000000"
    one = good(site.command("preview", "--account", "0000000002"))
    assert '"Arrears": 10.50' in one.stdout
    document = one.json
    assert (site.requests(), site.deliveries()) == ([], [])
    assert good(site.command("history", "--json")).json == []

    site.run()
    (sent,) = [json.loads(row["body"]) for row in site.accepted() if row["account_num"] == "0000000002"]
    changing = {"Incident_Id", "Account_Cross_Details", "updatedAt"} | {n for n in sent if n.endswith(("_Dtm", "_On"))}
    assert {n: v for n, v in json.loads(one.stdout).items() if n not in changing} == {
        n: v for n, v in sent.items() if n not in changing
    }
    assert document["Last_Bss_Reading_Date"] == sent["Last_Bss_Reading_Date"]
    assert good(site.command("preview", "--json")).json == []  # nothing is left to send
    assert good(site.command("preview", "--account", "0000000002")).json["Account_Num"] == "0000000002"


def test_preview_counts_what_waits_in_the_outbox(site: Site) -> None:
    site.receiver.control(fail_rate=1.0)
    site.command.configure(api={"max_attempts": 1})
    site.run(expect=4)
    finished = good(site.command("preview"))
    assert "3 incident(s) wait in the outbox: a run sends them first, as they were written." in finished.messages()
    assert "A run would build no new document now." in finished.messages()
    assert finished.stdout == ""
    assert site.state is not None
    site.state.sql("UPDATE Process_Operation SET Next_execution_dtm = '2999-12-31 00:00:00'")
    early = site.finish()
    assert early.json["pending"] == 3
    assert early.json["message"].endswith("does not wait for it. 3 incidents wait for an outcome.")
    doctor = good(site.command("doctor", "-q")).stdout
    ((found, remedy),) = re.findall(r"^WARNING deliveries: (.*)\n {8}Remedy: (.*)", doctor, re.M)
    assert found.startswith("3 incidents are pending, 0 dead letters are open. The last run ended incomplete: ")
    assert remedy == (
        "See why with 'incident-process deliveries --status pending'. "
        "Once the cause is mended, 'incident-process run --now' goes on."
    ), "it names what the operator does then, and no list that is empty"
    assert not re.search(r"^OK", doctor, re.M)
    shown = good(site.command("status")).stdout
    assert re.search(r"^open_dead_letters +0$", shown, re.M)
    assert re.search(r"^last_run +\S+ incomplete \S+Z: .*3 incidents", shown, re.M)
    assert re.search(r"^reason +Operation .* is not due", shown, re.M)
    assert not re.search("^gate", shown, re.M)


def test_preview_of_an_account_that_makes_no_incident(site: Site) -> None:
    finished = site.command("preview", "--account", PAYMENTS_ONLY)
    assert "no customer row" in finished.stdout + finished.stderr
    assert "did you mean 0000000002?" in site.command("preview", "--account", "2").stderr
    unknown = site.command("preview", "--account", "4711")
    assert unknown.status == 2
    assert "4711" in unknown.stderr
    assert "Traceback" not in unknown.stderr


# -- receiver ---------------------------------------------------------------------------------------------------------


def test_receiver_export_and_summary(site: Site) -> None:
    site.run()
    database = str(site.receiver.database)
    accepted = site.receiver.accepted()
    lines = good(site.command("receiver", "--database", database, "--export", "-")).json_lines
    assert [line["Incident_Id"] for line in lines] == [row["incident_id"] for row in accepted]
    assert lines[-1]["body"]["Account_Num"] == lines[-1]["Account_Num"]
    target = site.command.folder / "log.jsonl"
    good(site.command("receiver", "--database", database, "--export", target.name, "--no-bodies"))
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["Incident_Id"] for line in written] == [line["Incident_Id"] for line in lines]
    assert "body" not in written[0]
    summary = good(site.command("receiver", "--database", database, "--summary"))
    assert re.search(rf"^accepted +{len(accepted)}$", summary.stdout, re.MULTILINE)
    assert good(site.command("receiver", "--database", database, "--summary", "--json")).json["accepted"] == len(
        accepted
    )


def test_receiver_runs_until_it_is_told_to_end(command: Command) -> None:
    with command.started("receiver", "--port", "0", "--database", "r.db", "--faults", '{"latency_ms": 1}') as running:
        wait_until(lambda: (command.folder / "r.db").exists() or running.has_ended)
        finished = running.terminate()
    assert finished.status in {0, -15}  # -15: the signal came before the server had begun


def test_receiver_listens_where_the_configuration_posts_to(site: Site) -> None:
    arguments = ("receiver", "--config", str(site.command.config), "--database", "other.db")
    taken = site.command(*arguments)
    assert taken.status == 2
    assert f"127.0.0.1:{site.receiver.port}" in taken.stderr, "the site's own receiver is there already"
    site.command.configure(api={"api_url": f"{site.receiver.base}/elsewhere"})
    refused = site.command(*arguments)
    assert refused.status == 2
    assert "api_url leads elsewhere" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--faults", "no json"), ("--faults", '{"nonsense": 1}'), ("--summary", "--database", "missing.db")],
)
def test_receiver_mistakes(command: Command, arguments: tuple[str, ...]) -> None:
    finished = command("receiver", *arguments)
    assert finished.status == 2
    assert finished.stderr.strip()
    assert "Traceback" not in finished.stderr


# -- usage ------------------------------------------------------------------------------------------------------------


def test_help_of_every_command_has_an_example(command: Command) -> None:
    overview = good(command("--help")).stdout
    assert "Exit status" in overview
    groups = re.findall(r"^(\S.*):$", overview, re.MULTILINE)
    assert groups == ["Options", "Set up", "Look", "Send", "Repair", "Serve", "Try out"]
    for name in COMMANDS:
        assert re.search(rf"^ +{name.partition(' ')[0]} ", overview, re.MULTILINE)
        shown = " ".join(good(command(*name.split(), "--help")).stdout.split())
        assert f"Example: incident-process {name}" in shown
        assert "--config" in shown
        assert "-q, --quiet" in shown
        assert "-v, --verbose" in shown


@pytest.mark.parametrize(
    "arguments",
    [("run", "--nonsense"), ("nonsense",), ("deliveries", "--status", "lost"), ("history", "--limit", "0"), ()],
)
def test_wrong_usage(command: Command, arguments: tuple[str, ...]) -> None:
    finished = command(*arguments)
    assert finished.status == 2
    assert (finished.stderr + finished.stdout).strip()
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("address", ["mysql://u:{}@h:3306/db", "mysql:/u:{}@h/db", "u:{}@h/db", "http://{}@h/"])
@pytest.mark.parametrize(
    "arguments", [("state", "copy"), ("run", "--now"), ("deliveries", "--status"), (), ("history", "--limit")]
)
def test_wrong_usage_repeats_no_password(command: Command, arguments: tuple[str, ...], address: str) -> None:
    for password in ("Zq7", "Zq7@Yx8/Wv9", "Zq7:Yx8"):
        finished = command(*arguments, address.format(password))
        assert finished.status == 2
        assert finished.stderr.strip()
        assert not any(part in finished.stderr + finished.stdout for part in ("Zq7", "Yx8", "Wv9"))


def test_reading_commands_need_no_run(make_site: MakeSite) -> None:
    """On a state that was never prepared, they say what there is: nothing."""
    site = make_site("sqlite", "mongo")
    answers: list[Any] = [good(site.command(name, "--json")).json for name in ("history", "deliveries", "preview")]
    assert answers == [[], [], []]
    assert good(site.command("status", "--json")).json["sequence"] == 0
