"""Rules of the configuration for answers: how they are read, which decides, and what is said of a wrong one."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from incident_process.core.errors import ConfigurationError
from incident_process.delivery.policy import ResponseClass
from incident_process.delivery.response_rules import ResponseRules
from incident_process.operations.recorded_answers import judged
from incident_process.settings import Api, Settings
from incident_process.settings.answer_rules import SEARCHED
from tests.support.command import Command

OPEN = b'{"detail": "Account 0000003746 already exists in open cases"}'


def api(**keys: Any) -> Api:
    return Api(api_url="http://localhost/", **keys)


def verdict(given: Api, status: int, body: bytes = b"") -> ResponseClass | None:
    rule = ResponseRules.of(given).fitting(status, body)
    return None if rule is None else rule.verdict


@pytest.mark.parametrize(
    ("rule", "status", "body", "fits"),
    [
        ("500 already exists in open cases", 500, OPEN, True),
        ("500 ALREADY Exists", 500, OPEN, True),
        ("500 already exists in open cases", 502, OPEN, False),
        ("500 already exists in open cases", 500, b"Internal Server Error", False),
        ("5xx already", 502, OPEN, True),
        ("5XX", 599, b"", True),
        ("5xx", 499, b"", False),
        ("200 /account \\d{10} already/", 200, OPEN, True),
        ("200 /(?-i:account) \\d+/", 200, OPEN, False),
        ("200 /exists.*cases/", 200, b"exists\nin open cases", True),
        ('200 "success": false', 200, b'{"success":false}', True),
        ('200 "success":false', 200, b'{ "success" : false }', True),
        ('200 "success": false', 200, b'{"success": true}', False),
        ("400 n\u00e3o", 400, b'{"detail": "n\\u00e3o"}', True),
        ("400 a.b", 400, b"a-b", False),
        ("400 /", 400, b"", None),
        ("400 //", 400, b"", None),
        ("400 /(/", 400, b"", None),
        ("400 /(?=a)b/", 400, b"b", None),
        ("400 /(a)\\1/", 400, b"aa", None),
        ("400 /a{,3}/", 400, b"a", None),
        ("400 /a{2000}/", 400, b"a", None),
        ("400 /\udc80/", 400, b"a", None),
        ("400 /b$/", 400, b'"\\ud800 b', True),
        ("400 /half .b/", 400, b'{"half": "half \\ud800b"}', True),
        ("600", 400, b"", None),
        ("199", 400, b"", None),
        ("1xx", 400, b"", None),
        ("50x", 400, b"", None),
        ("already exists", 400, b"", None),
    ],
)
def test_a_rule_fits_by_status_and_text(rule: str, status: int, body: bytes, fits: bool | None) -> None:
    if fits is None:
        with pytest.raises(ValueError, match="line 1"):
            api(refused_when=rule)
    else:
        assert (verdict(api(refused_when=rule), status, body) is ResponseClass.DEAD) is fits


@pytest.mark.parametrize("expression", ["x.*x.*x.*x.*y", "(x+)+y", "(x|x)*y", "(?:x?){900}y"])
def test_no_expression_makes_the_search_slow(expression: str) -> None:
    rules = ResponseRules.of(api(refused_when=f"409 /{expression}/"))
    begun = time.process_time()
    assert rules.fitting(409, b"x" * SEARCHED) is None
    assert time.process_time() - begun < 0.3


def test_a_long_answer_is_searched_in_no_time() -> None:
    """An expression is searched for in the first characters of each reading, a plain text in all of it."""
    rules = ResponseRules.of(api(delivered_when="409 /same .*content.* stored/"))
    begun = time.process_time()
    assert rules.fitting(409, b'{"x": "' + b"same " * 13_000 + b'"}') is None
    assert time.process_time() - begun < 0.3
    text = b"same content is stored"
    assert rules.fitting(409, b" " * (SEARCHED - len(text)) + text) is not None
    assert rules.fitting(409, b" " * (SEARCHED - len(text) + 1) + text) is None
    assert ResponseRules.of(api(delivered_when="409 content is")).fitting(409, b" " * 60_000 + text) is not None


def test_the_more_exact_rule_is_asked_first_and_then_the_keys_in_turn() -> None:
    given = api(
        delivered_when=["200", "400 same"],
        refused_when=["500 already exists", '200 "success": false', "4xx", "400 twice"],
        retry_when=["500", "400 deadlock", "404", "5xx", "400 twice"],
    )
    assert verdict(given, 500, OPEN) is ResponseClass.DEAD
    assert verdict(given, 500) is ResponseClass.RETRY
    assert verdict(given, 200, b'{"success": false}') is ResponseClass.DEAD
    assert verdict(given, 200, b'{"success": true}') is ResponseClass.DELIVERED
    assert verdict(given, 400, b"a deadlock") is ResponseClass.RETRY
    assert verdict(given, 400, b"the same") is ResponseClass.DELIVERED
    assert verdict(given, 404) is ResponseClass.RETRY
    assert verdict(given, 403) is ResponseClass.DEAD
    assert verdict(given, 400, b"twice") is ResponseClass.DEAD
    assert verdict(given, 201) is None
    assert verdict(api(), 500, OPEN) is None


def test_texts_of_answers_are_read_where_a_rule_asks_for_them() -> None:
    assert ResponseRules.of(api()).read_from == 400
    assert ResponseRules.of(api(refused_when="200")).read_from == 400
    assert ResponseRules.of(api(refused_when='2xx "success": false')).read_from == 200


def test_rules_stand_one_a_line_and_a_wrong_one_is_said_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.ini"
    rules = "500 already exists\n\n  ; of the old release\n  5xx closed"
    file.write_text(f"[API]\napi_url = http://localhost/\nrefused_when =\n  {rules}\n")
    given = Settings.load_section(Api, file, {})
    assert given.refused_when == ("500 already exists", "5xx closed")
    file.write_text("[API]\napi_url = http://localhost/\nretry_when = 500 a\n  500 /(a/\n")
    with pytest.raises(ConfigurationError) as said:
        Settings.load_section(Api, file, {})
    assert str(said.value) == (
        f"{file}: [API] retry_when has a line 2 that has a regular expression that RE2 cannot read "
        "(missing ): (a); RE2 has no look-around and no back references."
    )


RECORDED = b"""HTTP/1.1 100 Continue\r
\r
HTTP/1.1 500 Internal Server Error\r
content-type: application/json\r
\r
{"detail": "Account 0000003746 already exists in open cases"}
HTTP/2 429 \r
retry-after: 3\r
\r
"""


def test_recorded_answers_are_judged(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    given = api(refused_when="500 already exists in open cases")
    file.write_bytes(RECORDED)
    refused, limited = judged(file, given)
    assert (refused.status, refused.verdict) == (500, ResponseClass.DEAD)
    assert refused.rule == "refused_when, line 1: 500 already exists in open cases"
    assert (limited.status, limited.rule, limited.verdict) == (429, None, ResponseClass.THROTTLED)
    file.write_text('{"status": 500, "body": {"detail": "it already exists in open cases"}}\n\n{"status": 422}\n')
    assert [answer.verdict for answer in judged(file, given)] == [ResponseClass.DEAD, ResponseClass.REFUSED]


@pytest.mark.parametrize(
    "content", [b"", b"no answer", b'{"status": "500"}', b'{"status": 99}', b"[]", b"HTTP/x", b"\xff"]
)
def test_what_is_no_recorded_answer_is_said_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "answers"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"answer|status line"):
        judged(file, api())
    with pytest.raises(ConfigurationError, match="cannot be read"):
        judged(tmp_path / "none", api())


def test_doctor_says_which_rule_takes_an_answer_without_a_database(tmp_path: Path) -> None:
    command = Command(tmp_path)
    file = tmp_path / "answers"
    file.write_bytes(RECORDED)
    command.configure(
        database={"URL": "mysql://nobody:none@127.0.0.1:9/none"},
        api={"api_url": "http://127.0.0.1:9/", "refused_when": "500 already exists in open cases"},
    )
    finished = command("doctor", "--answers", str(file))
    assert finished.status == 0, finished.stderr
    assert "refused_when, line 1: 500 already exists in open cases -> a dead letter at once" in finished.stdout
    found = json.loads(command("doctor", "--answers", str(file), "--json").stdout)
    assert [answer["verdict"] for answer in found] == ["dead", "throttled"]
    wrong = command("doctor", "--answers", str(tmp_path / "none"))
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "cannot be read" in wrong.stderr
