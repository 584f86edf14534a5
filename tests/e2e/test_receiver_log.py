"""reconcile --receiver-log against exports as stores and JSON libraries write them (SPEC 7)."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.e2e.test_repair import load

ACCOUNTS = tuple(f"{number:010d}" for number in range(12))


@pytest.fixture(params=TRACKINGS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """Twelve accounts delivered, among them whole amounts and such with cents."""
    made = make_site("sqlite", request.param)
    made.prepare()
    load(made, ACCOUNTS[:6], day(5), OUTSTANDING="102.00", MOBILE_CONTACT="0770000001")
    load(made, ACCOUNTS[6:], day(5), OUTSTANDING="7.10", ACCOUNT_EFFECTIVE_DTM_BSS="1965-02-03 04:05:06")
    made.payments({"AP_ACCOUNT_NUMBER": ACCOUNTS[0], "LOAD_DATE": f"{day(5)} 10:00:00", "AP_ACCOUNT_PAYMENT_MNY": "5"})
    assert made.run()["delivered"] == len(ACCOUNTS)
    return made


def bodies(site: Site) -> list[dict[str, Any]]:
    """What the site's receiver has accepted, as a JSON library reads it."""
    return [json.loads(row["body"]) for row in site.accepted()]


def as_mongo(value: Any) -> Any:
    """The value as mongoexport writes what a receiver keeps as doubles and dates."""
    if isinstance(value, dict):
        return {name: as_mongo(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [as_mongo(item) for item in value]
    if isinstance(value, str) and value.endswith("Z") and value[4:5] == "-":
        when = datetime.fromisoformat(value)
        millis = {"$numberLong": str(round(when.timestamp() * 1000))}
        return {"$date": value if when.year >= 1970 else millis}
    return value


EXPORTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "a JSON library, one a line": lambda all_: "\n".join(json.dumps(body, sort_keys=True) for body in all_),
    "a JSON library, a list": lambda all_: json.dumps(all_, indent=2),
    "mongoexport": lambda all_: "\n".join(
        json.dumps({"_id": {"$oid": "0" * 24}, **as_mongo(body), "__v": 0}) for body in all_
    ),
}


@pytest.mark.parametrize("form", EXPORTS)
def test_no_account_is_stale_for_the_spelling_of_its_values(site: Site, form: str) -> None:
    export = write(site, EXPORTS[form](bodies(site)))
    compared = site.command("reconcile", "--receiver-log", str(export), "--json")
    assert (compared.status, compared.json["in_order"], compared.json["differences"]) == (0, len(ACCOUNTS), [])
    repaired = site.command("reconcile", "--receiver-log", str(export), "--repair", "--json")
    assert (repaired.status, repaired.json["run"]["delivered"]) == (0, 0), repaired.stderr
    if form == "mongoexport":
        assert any("_id (12)" in message for message in compared.messages("INFO"))

    changed = bodies(site)
    changed[0]["Arrears"] += 0.01
    export = write(site, EXPORTS[form](changed))
    stale = site.command("reconcile", "--receiver-log", str(export), "--json")
    (found,) = stale.json["differences"]
    assert (stale.status, found["difference"], found["properties"]) == (4, "stale", ["Arrears"])
    assert "Arrears" in site.command("reconcile", "--receiver-log", str(export)).stdout


def test_a_repair_asks_where_nearly_all_differ(site: Site) -> None:
    foreign = [body | {"Customer_Ref": "of another receiver"} for body in bodies(site)]
    export = write(site, json.dumps(foreign))
    before = len(site.requests())
    for how in (["--json"], []):
        refused = site.command("reconcile", "--receiver-log", str(export), "--repair", *how)
        assert refused.status == 2
        assert "12 of 12 account(s) differ" in refused.stderr
        assert "12 stale in Customer_Ref (12)" in refused.stderr
        assert "--yes" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(site.requests()) == before, "nothing is sent before somebody has said so"
    assert len(site.history()) == 1, "nor is there a run"
    compared = site.command("reconcile", "--receiver-log", str(export))
    assert compared.status == 4
    assert any("differ from what" in message for message in compared.messages("WARNING"))
    sent = site.command("reconcile", "--receiver-log", str(export), "--repair", "--yes", "--json")
    assert (sent.status, sent.json["run"]["delivered"]) == (0, len(ACCOUNTS))


def test_an_empty_export_is_asked_about_and_a_part_of_one_is_refused(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    load(site, ACCOUNTS[:2], day(5))
    assert site.run()["delivered"] == 2
    export = write(site, "")
    assert site.command("reconcile", "--receiver-log", str(export), "--repair").status == 2
    export = write(site, json.dumps(bodies(site))[:-1])
    cut = site.command("reconcile", "--receiver-log", str(export), "--repair")
    assert cut.status == 2
    assert "cut off" in cut.stderr
    assert len(site.accepted()) == 2


def write(site: Site, text: str) -> Path:
    file = site.command.folder / "export.json"
    file.write_text(text)
    return file
