"""What a receiver gives back comes to the digest of what was sent, however its store has spelled it (SPEC 4, 7)."""

import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.errors import ConfigurationError, DataProcessingError
from incident_process.document import assembly
from incident_process.document.returned import PARTS, as_doubles, differing, part_digests, restore_content
from incident_process.operations import receiver_export
from tests.unit.test_assembly import NOW, UTC_ZONE, customer, payment

MONEY = ("Arrears", "Bss_Arrears_Amount", "Payment_Money", "Billed_Amount", "Outstanding_Balance")
WHOLE = ("Customer_Type_Id", "Credit_Class_Id", "Product_Seq", "Payment_Seq", "Billed_Seq", "Incident_Id", "Case_Id")


def sent(
    account: str = "0000000001", owed: Decimal = Decimal("102.00")
) -> tuple[assembly.DocumentContent, dict[str, Any]]:
    """The content of an account, and its body as exact JSON values."""
    rows = [
        customer(
            OUTSTANDING=owed,
            ASSET_ID="A1",
            BSS_PRODUCT_SEQ=3,
            TECNICAL_CONTACT_EMAIL="a@example.org",
            MOBILE_CONTACT="0770000001",
            CUSTOMER_TYPE_ID=5,
            ACCOUNT_EFFECTIVE_DTM_BSS=datetime(1965, 2, 3, 4, 5, 6, 789000),  # noqa: DTZ001  # as a driver gives it
        )
    ]
    paid = [payment(AP_ACCOUNT_PAYMENT_MNY=Decimal("7.50"), ACCOUNT_PAYMENT_SEQ=2, ACCOUNT_PAYMENT_DAT=NOW)]
    draft = assembly.build_content(account, rows, paid, UTC_ZONE)
    body: dict[str, Any] = json.loads(assembly.render_body(draft, 7, NOW, "drs_admin"), parse_float=Decimal)
    return draft, body


def spelled(value: Any, spell: Callable[[str, Any], Any], name: str = "") -> Any:
    """The value with every property that is no object or list spelled another way."""
    if isinstance(value, dict):
        return {key: spelled(item, spell, key) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item, spell, name) for item in value]
    return spell(name, value)


def is_time(value: Any) -> bool:
    return isinstance(value, str) and value.endswith("Z") and value[4:5] == "-"


def times(write: Callable[[datetime], Any]) -> Callable[[str, Any], Any]:
    return lambda _, value: write(datetime.fromisoformat(value)) if is_time(value) else value


def amounts(write: Callable[[Decimal], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: write(Decimal(value)) if name in MONEY else value


def millis(when: datetime) -> int:
    return round((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


SPELLINGS: dict[str, Callable[[str, Any], Any]] = {
    "as sent": lambda _, value: value,
    "doubles": amounts(float),
    "whole amounts as integers": amounts(lambda amount: int(amount) if amount == int(amount) else float(amount)),
    "exponents": amounts(lambda amount: Decimal(f"{amount:E}")),
    "more digits": amounts(lambda amount: Decimal(f"{amount}000")),
    "text": amounts(str),
    "$numberDouble": amounts(lambda amount: {"$numberDouble": repr(float(amount))}),
    "$numberDecimal": amounts(lambda amount: {"$numberDecimal": str(amount)}),
    "$numberInt": lambda name, value: {"$numberInt": str(value)} if name in WHOLE else value,
    "whole numbers as doubles": lambda name, value: float(value) if name in WHOLE else value,
    "offset": times(lambda when: when.isoformat()),
    "other zone": times(lambda when: when.astimezone(ZoneInfo("Asia/Colombo")).isoformat()),
    "seven digits": times(lambda when: f"{when:%Y-%m-%dT%H:%M:%S.%f}0Z"),
    "no zone": times(lambda when: when.replace(tzinfo=None).isoformat(" ")),
    "$date text": times(lambda when: {"$date": when.isoformat().replace("+00:00", "Z")}),
    "$date number": times(lambda when: {"$date": {"$numberLong": str(millis(when))}}),
    "$date plain number": times(lambda when: {"$date": millis(when)}),
    ".NET": times(lambda when: f"/Date({millis(when)})/"),
    "milliseconds": lambda name, value: millis(datetime.fromisoformat(value)) if is_time(value) else value,
    "seconds": lambda name, value: millis(datetime.fromisoformat(value)) / 1000 if is_time(value) else value,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_same_values_are_the_same_content(spelling: str) -> None:
    draft, body = sent()
    document = json.loads(json.dumps(spelled(body, SPELLINGS[spelling]), default=_number), parse_float=Decimal)
    assert restore_content(document).digest == assembly.digest(draft)


def _number(value: Any) -> Any:
    return float(value)


def test_dates_as_http_writes_them() -> None:
    draft, body = sent()
    document = spelled(body, times(lambda when: format_datetime(when.replace(microsecond=0), usegmt=True)))
    document["Product_Details"][0]["Effective_Dtm"] = body["Product_Details"][0]["Effective_Dtm"]  # it has a fraction
    document["Account_Details"]["Acc_Effective_Dtm"] = body["Account_Details"]["Acc_Effective_Dtm"]
    assert restore_content(document).digest == assembly.digest(draft)


def test_what_a_receiver_adds_and_leaves_out_is_named_and_changes_nothing() -> None:
    draft, body = sent()
    body |= {"_id": {"$oid": "0" * 24}, "__v": 0, "createdAt": {"$date": "2026-01-01T00:00:00Z"}}
    body["Product_Details"][0]["_id"] = "x"
    del body["Customer_Details"]["Nic"]
    body["Customer_Ref"] = None
    body["Customer_Details"]["Company_Registry_Number"] = "filled in by the receiver"
    found = restore_content(dict(sorted(body.items())))
    assert found.digest == assembly.digest(draft)
    assert set(found.foreign) == {"_id", "__v", "createdAt", "Product_Details._id"}
    assert set(found.absent) == {"Customer_Ref", "Customer_Details.Nic"}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda body: body.update(Arrears=Decimal("102.01")), "Arrears"),
        (lambda body: body.update(Customer_Ref=" "), "Customer_Ref"),
        (lambda body: body["Last_Actions"][0].update(Payment_Created="2026-03-01T12:00:00.001Z"), "Last_Actions"),
        (lambda body: body["Contact_Details"].pop(), "Contact_Details"),
        (lambda body: body["Product_Details"].clear(), "Product_Details"),
        (lambda body: body.pop("Last_Actions"), "Last_Actions"),
    ],
)
def test_other_values_are_other_content_and_say_where(change: Callable[[dict[str, Any]], Any], part: str) -> None:
    draft, body = sent()
    change(body)
    found = restore_content(body)
    assert found.digest != assembly.digest(draft)
    assert differing(part_digests(draft), found.parts) == [part]
    assert part in PARTS


@pytest.mark.parametrize(
    "value", ["one hundred", {"$date": "2026"}, True, Decimal("NaN"), Decimal("1E+999999"), [], {}]
)
def test_what_cannot_be_read_is_other_content(value: Any) -> None:
    _, body = sent()
    body["Arrears"] = value
    found = restore_content(body)
    assert (found.digest, found.unreadable) == ("", ("Arrears",))


def test_an_account_that_became_a_number_is_refused() -> None:
    _, body = sent()
    body["Account_Num"] = 1
    with pytest.raises(DataProcessingError, match="leading zeros"):
        restore_content(body)


@given(st.decimals(min_value=0, max_value=Decimal(10) ** 16, places=2))
def test_an_amount_that_was_a_double_is_the_same_amount(amount: Decimal) -> None:
    draft, body = sent(owed=amount)
    found = restore_content(json.loads(json.dumps(spelled(body, amounts(float)), default=_number), parse_float=Decimal))
    assert found.digest == assembly.digest(draft) or found.as_doubles == as_doubles(draft)
    exact = restore_content(body)
    assert exact.digest == assembly.digest(draft)


# -- the file ---------------------------------------------------------------------------------------------------------


def body_of(account: str, incident_id: int = 7, arrears: str = "1.50") -> dict[str, Any]:
    _, body = sent(account)
    return body | {"Incident_Id": incident_id, "Arrears": float(arrears)}


def text(value: Any, **how: Any) -> str:
    return json.dumps(value, default=float, **how)


TWO = [body_of("0000000001"), body_of("0000000002")]
FORMS = {
    "lines": "\n".join(map(text, TWO)) + "\n",
    "lines of Windows": "\r\n".join(map(text, TWO)),
    "list": text(TWO),
    "pretty list": text(TWO, indent=2),
    "pretty documents": "\n".join(text(body, indent=4, sort_keys=True) for body in TWO),
    "list of one a line": "[" + ",\n".join(map(text, TWO)) + "]\n",
    "objects about them": "\n".join(text({"seq": 1, "Account_Num": b["Account_Num"], "body": b}) for b in TWO),
    "bodies as text": "\n".join(text({"id": 1, "payload": text(body)}) for body in TWO),
    "within one object": text({"total": 2, "items": TWO}),
    "with an empty run": text({}) + "\n" + "\n".join(map(text, TWO)),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_an_export_may_have_any_form(tmp_path: Path, form: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_export, "READ_CHARACTERS", 37)
    file = tmp_path / "export.json"
    file.write_text(FORMS[form], encoding=encoding, newline="")
    with receiver_export.opened(file) as received:
        assert received is not None
        assert received.documents == 2
        for body in TWO:
            last = received.last(body["Account_Num"])
            assert last is not None
            assert last.digest == restore_content(json.loads(text(body), parse_float=Decimal)).digest
        assert received.last("0000000003") is None


def test_the_document_with_the_highest_id_counts_whatever_the_order(tmp_path: Path) -> None:
    newer, older = body_of("1", 9, "2.00"), body_of("1", {"$numberLong": "8"}, "1.00")  # type: ignore[arg-type]
    file = tmp_path / "export.json"
    for order in ([newer, older], [older, newer]):
        file.write_text(text(order))
        with receiver_export.opened(file) as received:
            assert received is not None
            last = received.last("1")
            assert last is not None
            assert last.digest == restore_content(json.loads(text(newer), parse_float=Decimal)).digest


@pytest.mark.parametrize("number", [1 << 63, 99999999999999999999999, -(10**30), {"$numberDecimal": "1E+40"}])
def test_an_id_that_no_database_has_room_for_is_unreadable_and_ends_nothing(
    tmp_path: Path, number: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = body_of("0000000001", number)
    read = restore_content(json.loads(text(hostile), parse_float=Decimal))
    assert (read.incident_id, read.digest, read.unreadable) == (0, "", ("Incident_Id",))
    file = tmp_path / "export.json"
    file.write_text("\n".join(map(text, [hostile, *TWO])))
    with receiver_export.opened(file) as received:
        assert received is not None
        assert received.documents == 3
        last = received.last("0000000001")  # that of the receiver's own document, and not of the hostile one
        assert last is not None
        assert last.digest == restore_content(json.loads(text(TWO[0]), parse_float=Decimal)).digest
    assert "Incident_Id (1)" in caplog.text


@pytest.mark.parametrize("name", ["Arrears", "Last_Bss_Reading_Date"])
@pytest.mark.parametrize("number", ["1e999999", "-1e999999", "1e99999999999999999999"])
def test_a_number_of_any_exponent_is_unreadable_at_once(tmp_path: Path, number: str, name: str) -> None:
    """The first two have a million digits, which take seconds to write out; Decimal has no room for the last."""
    file = tmp_path / "export.json"
    document = text(body_of("0000000001") | {name: "?"}).replace('"?"', number)
    file.write_text("\n".join([document, text({"stored as text": document}), text(TWO[1])]))
    began = time.process_time()
    with receiver_export.opened(file) as received:
        assert received is not None
        assert received.documents == 3
        last = received.last("0000000001")
        assert last is not None
        assert last.digest == ""
    assert time.process_time() - began < 1


def test_names_that_a_receiver_makes_up_fill_neither_log_nor_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "export.json"
    foreign = {f"{number}{'x' * 500}": 1 for number in range(2000)}
    file.write_text(text([body | foreign for body in TWO]))
    caplog.set_level("INFO", "incident_logger")
    with receiver_export.opened(file) as received:
        assert received is not None
        assert received.documents == 2
    assert "(2) and 992 more" in caplog.text
    assert len(caplog.text) < 2000


def test_the_largest_id_is_read() -> None:
    largest = (1 << 63) - 1
    assert restore_content(body_of("1", largest)).incident_id == largest


def test_a_value_that_no_document_is_as_long_as_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    with file.open("w") as out:
        out.write(text(TWO[0]) + '\n{"Account_Num": "1", "Arrears": 1, "x": [')
        for _ in range(20):
            out.write("[]," * 1_000_000)
        out.write("[]]}")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError) as caught, receiver_export.opened(file):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "has more than 4,194,304 characters in what begins at line 2" in str(caught.value)
    assert peak < 400 << 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(TWO)[:-1], "cut off"),
        (text(TWO)[:-9], "ends in the middle"),
        (FORMS["lines"][:-9], "in the middle of the document that begins at line 2"),
        ("no log\n", "is no JSON at line 1"),
        (FORMS["lines"] + "Account_Num,Arrears\n1,2\n", "is no JSON at line 3"),
        (FORMS["lines"] + "7\n", "no incident document in what begins at line 3"),
        (text({"seq": 1, "Account_Num": "1", "sha256": "0"}), "no incident document in what begins at line 1"),
        (text([body_of(1)]), "line 1): Account_Num is no text"),  # type: ignore[arg-type]
        ("{" * 20_000, "is no JSON at line 1"),
    ],
)
def test_what_is_no_export_is_refused_with_the_place(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught, receiver_export.opened(file):
        pass
    assert said in str(caught.value)
    assert "0770000001" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(b'{"Account_Num": "\xff"}')
    with pytest.raises(ConfigurationError, match="no text in utf-8"), receiver_export.opened(file):
        pass
