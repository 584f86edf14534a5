"""prune as an operator types it: what it says, refuses and leaves in the audit trail (SPEC 6.4)."""

from tests.e2e.conftest import MakeSite, Site, day
from tests.e2e.test_repair import load

ACCOUNTS = tuple(f"{number:010d}" for number in range(3))
DAYS = 200


def grow_old(site: Site) -> None:
    """Let all that the state has be DAYS older than it is."""
    assert site.state is not None
    earlier = DAYS * 86_400_000 * 4096
    site.state.sql(
        "UPDATE Incident_Delivery SET Incident_Id = Incident_Id - ?,"
        f" Created_Dtm = datetime(Created_Dtm, '-{DAYS} days'), Updated_Dtm = datetime(Updated_Dtm, '-{DAYS} days')",
        earlier,
    )
    site.state.sql(f"UPDATE Process_Operation_Run SET Started_Dtm = datetime(Started_Dtm, '-{DAYS} days')")


def test_superseded_deliveries_go_and_nothing_is_sent_again(make_site: MakeSite) -> None:
    site = make_site("sqlite", "sqlite")
    site.command.configure(process={"lookback_seconds": 20 * 86400})
    site.prepare()
    for number, amount in enumerate(("1.00", "2.00", "3.00")):
        load(site, ACCOUNTS, day(9 - number), OUTSTANDING=amount, ASSET_ID="A1")
        site.make_due()
        assert site.run()["delivered"] == len(ACCOUNTS)
    grow_old(site)

    planned = site.command("prune", "--older-than", "90d", "--dry-run")
    assert planned.status == 0, planned.stderr
    assert "superseded deliveries (delivered)  6" in planned.stdout
    assert planned.stdout.startswith("Would delete what is older than ")
    assert len(site.deliveries()) == 9

    done = site.command("prune", "--older-than", "90d", "--json")
    assert done.status == 0, done.stderr
    assert done.json["deliveries"] == {"delivered": 6, "dead": 0, "skipped": 0}
    assert len(site.deliveries()) == 3
    record = site.history()[0]
    assert (record["kind"], record["status"], record["run_id"]) == ("prune", "completed", done.json["run_id"])
    assert record["rows"] == {"Incident_Delivery": 6, "Process_Operation_Run": 0}

    site.make_due()
    assert site.run()["delivered"] == 0
    site.source.sql("DELETE FROM debt_cust_detail WHERE ACCOUNT_NUM = ? AND OUTSTANDING > 1.5", ACCOUNTS[0])
    site.make_due()
    assert site.run()["delivered"] == 1
    keys = [request["idempotency_key"] for request in site.requests() if request["idempotency_key"]]
    assert len(set(keys)) == len(keys) == 10, "the first content is back: under a key of its own"


def test_what_it_refuses(make_site: MakeSite) -> None:
    site = make_site("sqlite", "sqlite")
    site.prepare()
    for age, says in (("12h", "at least 1 day"), ("soon", "as 90d or 36h"), ("-3d", "as 90d or 36h")):
        refused = site.command("prune", "--older-than", age)
        assert (refused.status, says in refused.stderr) == (2, True), refused.stderr
    site.command.configure(process={"operation_name": "Incident extracton"})
    refused = site.command("prune", "--older-than", "90d")
    assert refused.status == 2
    assert "The state knows no operation 'Incident extracton'" in refused.stderr
