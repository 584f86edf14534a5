"""Values of rows and words of receivers neither steer the terminal that they are shown on nor forge a line of it."""

import unicodedata

import pytest

from tests.e2e.conftest import MakeSite, Site, day

HOSTILE = ("A\x1b[2J\x1b]0;owned\x07", "B\nCOMPLETED all 0", "C\u202e\u2066\u200f", "D\x9b31m\u2028E", "F\u200bG\ufeff")
PLAIN = "0000000001"
JOINED = "ශ්\u200dරී"


def steering(text: str) -> list[str]:
    """Characters that a terminal obeys, or that change what is seen of those around them; line ends are ours."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [c for c in text if unicodedata.category(c) in kinds and c not in "\n\u200c\u200d"]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    made = make_site()
    made.command.configure(process={"log_level": "DEBUG"})
    accounts = (*HOSTILE, PLAIN, JOINED)
    made.customers(*({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "LOAD_DATE": day(2)} for a in accounts))
    made.prepare()
    made.receiver.control(fail_accounts=dict.fromkeys(HOSTILE[:3], 422))
    return made


def test_no_account_number_steers_a_terminal(site: Site) -> None:
    ran = site.command("run")
    assert ran.status == 0, ran.stderr
    site.customers(*({"ACCOUNT_NUM": f"{a}x", "ASSET_ID": "A1", "LOAD_DATE": day(2)} for a in HOSTILE))
    told = {
        name: site.command(*name.split())
        for name in ("deliveries", "dead-letters list", "reconcile", "history", "status", "doctor", "preview")
    }
    for name, finished in {"run": ran, **told}.items():
        assert steering(finished.stdout + finished.stderr) == [], name
    assert r"A\x1b[2J\x1b]0;owned\x07" in told["deliveries"].stdout
    assert r"B\nCOMPLETED all 0" in told["dead-letters list"].stdout
    assert r"D\x9b31m\u2028Ex" in told["reconcile"].stdout
    assert JOINED in told["deliveries"].stdout
    lines = told["deliveries"].stdout.splitlines()
    assert len(lines) == 1 + len(HOSTILE) + 2


def test_json_stays_exact_and_steers_nothing_either(site: Site) -> None:
    site.run()
    finished = site.command("deliveries", "--json", "--limit", "100")
    assert steering(finished.stdout) == []
    assert {entry["account"] for entry in finished.json} == {*HOSTILE, PLAIN, JOINED}
