"""The document: SPEC 4, each rule by name. The independent computation over hostile rows is in tests/e2e."""

import gc
import json
import random
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from incident_process.core.errors import DataProcessingError
from incident_process.document import assembly, convert, incident_model
from incident_process.document.contract import incident_schema
from incident_process.document.rows import current_rows, newest_payment
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

UTC_ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMA = json.loads(incident_schema())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
ENVELOPE = {
    "Incident_Id",
    "Created_Dtm",
    "Incident_Status_Dtm",
    "Batch_Id_Tag_Dtm",
    "External_Data_Update_On",
    "Export_On",
    "Incident_Forwarded_On",
    "Rejected_Dtm",
    "updatedAt",
}


def customer(loaded: datetime = NOW, **values: Any) -> tuple[Any, ...]:
    return tuple(loaded if name == "LOAD_DATE" else values.get(name) for name in CUSTOMER_COLUMNS)


def payment(loaded: datetime = NOW, **values: Any) -> tuple[Any, ...]:
    return tuple(loaded if name == "LOAD_DATE" else values.get(name) for name in PAYMENT_COLUMNS)


def sealed(rows: list[Any], payments: list[Any] | None = None, zone: ZoneInfo = UTC_ZONE) -> dict[str, Any]:
    draft = assembly.build_content("0000000001", rows, payments or [], zone)
    body = json.loads(assembly.render_body(draft, 7, NOW, "drs_admin"), parse_float=Decimal)
    VALIDATOR.validate(json.loads(json.dumps(body, default=float)))
    assert isinstance(body, dict)
    return body


def test_every_property_of_the_schema_is_there_in_its_order() -> None:
    assert list(sealed([customer()])) == list(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ("Contact_Details", incident_model.Contact),
        ("Product_Details", incident_model.Product),
        ("Last_Actions", incident_model.LastAction),
        ("Marketing_Details", incident_model.Marketing),
        ("Account_Cross_Details", incident_model.AccountCross),
    ],
)
def test_the_parts_have_the_properties_of_the_schema(part: str, made: type) -> None:
    assert {f.name for f in msgspec.structs.fields(made)} == set(SCHEMA["properties"][part]["items"]["properties"])


def test_a_row_of_nulls_makes_a_valid_document() -> None:
    body = sealed([customer()])
    assert body["Customer_Ref"] == ""
    assert body["Arrears"] == 0
    assert body["Customer_Details"]["Nic"] == ""
    assert body["Last_Actions"][0]["Payment_Created"] == convert.NO_DATE
    assert body["Product_Details"] == []
    assert "None" not in json.dumps(body, default=str)


def test_money_keeps_sixteen_digits_and_two_decimals_exactly() -> None:
    draft = assembly.build_content("1", [customer(OUTSTANDING=Decimal("-9999999999999999.99"))], [], UTC_ZONE)
    assert b'"Arrears":-9999999999999999.99,' in assembly.render_body(draft, 1, NOW, "x")


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [(1, "1.00"), (0.1, "0.10"), ("2.345", "2.35"), (Decimal("-2.345"), "-2.35"), (None, "0.00"), ("", "0.00")],
)
def test_money_of_any_driver_type(given_value: Any, kept: str) -> None:
    assert str(convert.money(given_value)) == kept


@pytest.mark.parametrize("nothing", [Decimal("-0.001000"), -0.001, -0.0, "-0", Decimal("-0.00"), Decimal("0.00"), 0])
def test_no_amount_is_less_than_nothing_and_nothing(nothing: Any) -> None:
    assert str(convert.money(nothing)) == "0.00"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, convert.NO_DATE),
        ("0000-00-00", convert.NO_DATE),
        ("0000-00-00 00:00:00", convert.NO_DATE),
        ("2026-00-15", convert.NO_DATE),
        ("", convert.NO_DATE),
        (date(2026, 2, 3), "2026-02-03T00:00:00.000Z"),
        (datetime(2026, 2, 3, 4, 5, 6, 789999), "2026-02-03T04:05:06.789Z"),  # noqa: DTZ001  # as a driver gives it
        ("2026-02-03 04:05:06", "2026-02-03T04:05:06.000Z"),
        ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06.000Z"),
        (date(9999, 12, 31), "9999-12-31T00:00:00.000Z"),
    ],
)
def test_dates_of_any_driver_type(value: Any, written: str) -> None:
    assert convert.moment(value, UTC_ZONE) == written


def test_a_date_without_a_zone_is_read_in_the_source_timezone() -> None:
    assert convert.moment(date(2026, 2, 3), ZoneInfo("Asia/Colombo")) == "2026-02-02T18:30:00.000Z"


@pytest.mark.parametrize(
    ("column", "value"), [("OUTSTANDING", "much"), ("LAST_BILL_DTM", "soon"), ("CREDIT_CLASS_ID", "A1")]
)
def test_an_unreadable_value_is_named_by_its_column_and_never_shown(column: str, value: str) -> None:
    with pytest.raises(DataProcessingError, match=column) as caught:
        assembly.build_content("1", [customer(NOW, **{column: value})], [], UTC_ZONE)
    assert value not in str(caught.value)


def test_current_rows_are_the_newest_of_each_asset_and_null_counts_as_one() -> None:
    old, new = NOW - timedelta(days=1), NOW
    rows = [
        customer(old, ASSET_ID="A", PRODUCT_NAME="old"),
        customer(new, ASSET_ID="A", PRODUCT_NAME="new"),
        customer(old, ASSET_ID="B", PRODUCT_NAME="only"),
        customer(old, ASSET_ID=None, CUSTOMER_REF="no asset, old"),
        customer(new, ASSET_ID=None, CUSTOMER_REF="no asset, new"),
    ]
    body = sealed(rows)
    assert [(p["Product_Id"], p["Product_Name"]) for p in body["Product_Details"]] == [("A", "new"), ("B", "only")]
    assert len(current_rows(rows)) == 3


@pytest.mark.parametrize(
    ("assets", "ordered"),
    [
        ([10, 9, 0, None, 9_999_999_999], ["0", "9", "10", "9999999999"]),
        ([Decimal("10.5"), Decimal(9), None], ["9", "10.5"]),
        ([10.0, 9.5], ["9.5", "10.0"]),
        (["10", "9", None], ["10", "9"]),
        (["10", 9], ["10", "9"]),
    ],
)
def test_products_are_in_the_order_of_their_asset_numbers_or_texts(assets: list[Any], ordered: list[str]) -> None:
    body = sealed([customer(ASSET_ID=asset) for asset in assets])
    assert [product["Product_Id"] for product in body["Product_Details"]] == ordered


def test_contacts_are_distinct_and_newest_first_with_the_date_of_the_newest_row_that_has_them() -> None:
    old, new = NOW - timedelta(days=1), NOW
    body = sealed(
        [
            customer(old, ASSET_ID="A", MOBILE_CONTACT="1", WORK_CONTACT="2", TECNICAL_CONTACT_EMAIL="no at sign"),
            customer(new, ASSET_ID="B", MOBILE_CONTACT="1", TECNICAL_CONTACT_EMAIL="a@example.com"),
        ]
    )
    found = [(c["Contact_Type"], c["Contact"], c["Create_Dtm"][:10]) for c in body["Contact_Details"]]
    assert found == [
        ("email", "a@example.com", "2026-03-01"),
        ("mobile", "1", "2026-03-01"),
        ("fix", "2", "2026-02-28"),
    ]


def test_the_newest_payment_is_by_date_then_sequence() -> None:
    day = datetime(2026, 1, 1)  # noqa: DTZ001  # as a driver gives it
    body = sealed(
        [customer(LAST_BILL_DTM=date(2026, 2, 1))],
        [
            payment(ACCOUNT_PAYMENT_SEQ=9, ACCOUNT_PAYMENT_DAT=None, AP_ACCOUNT_PAYMENT_MNY=Decimal(9)),
            payment(ACCOUNT_PAYMENT_SEQ=1, ACCOUNT_PAYMENT_DAT=day, AP_ACCOUNT_PAYMENT_MNY=Decimal(1)),
            payment(ACCOUNT_PAYMENT_SEQ=2, ACCOUNT_PAYMENT_DAT=day, AP_ACCOUNT_PAYMENT_MNY=Decimal("2.5")),
        ],
    )
    (action,) = body["Last_Actions"]
    assert action == {
        "Billed_Created": "2026-02-01T00:00:00.000Z",
        "Payment_Created": "2026-01-01T00:00:00.000Z",
        "Payment_Money": Decimal("2.50"),
        "Billed_Amount": Decimal("2.50"),
        "Billed_Seq": 2,
        "Payment_Seq": 2,
    }


@pytest.mark.parametrize("zone", [UTC_ZONE, ZoneInfo("Asia/Colombo")])
@pytest.mark.parametrize(
    ("newest", "others"),
    [
        (("2026-10-01", "10"), [("2026-10-01", "9"), ("2026-10-01", ""), ("2026-10-01", None)]),
        (("2026-10-01", 9), [("2026-10-01 00:00:00", 1), ("2026-10-01T00:00:00", 2)]),
        (("2026-10-01 00:00:00.5", 1), [("2026-10-01T00:00:00", 2)]),
        (("2026-10-01 00:00:00", 1), [("2026-09-30T12:00:00Z", 2), ("0000-00-00", 3), (None, 4), ("", 5)]),
        ((datetime(2026, 10, 1, 1, tzinfo=UTC_ZONE), 1), [("0000-00-00 00:00:00", 2)]),
        ((datetime(2026, 10, 1, 1), Decimal(10)), [(datetime(2026, 10, 1, 1), Decimal(9))]),  # noqa: DTZ001 - a driver's
    ],
)
def test_payments_are_compared_by_instants_and_whole_numbers(
    newest: tuple[Any, Any], others: list[tuple[Any, Any]], zone: ZoneInfo
) -> None:
    rows = [payment(ACCOUNT_PAYMENT_DAT=paid, ACCOUNT_PAYMENT_SEQ=seq) for paid, seq in (newest, *others)]
    for ordered in (rows, rows[::-1]):
        assert newest_payment(ordered, zone) is rows[0]


def test_what_is_no_date_or_number_stays_the_newest_payment_and_is_named() -> None:
    rows = [payment(ACCOUNT_PAYMENT_DAT=paid, ACCOUNT_PAYMENT_SEQ=1) for paid in ("soon", "2026-10-01")]
    with pytest.raises(DataProcessingError, match="ACCOUNT_PAYMENT_DAT"):
        assembly.build_content("1", [customer()], rows, UTC_ZONE)
    rows = [payment(ACCOUNT_PAYMENT_SEQ=seq) for seq in ("A1", "2", 3)]
    with pytest.raises(DataProcessingError, match="ACCOUNT_PAYMENT_SEQ"):
        assembly.build_content("1", [customer()], rows, UTC_ZONE)


def test_without_a_payment_the_last_action_is_what_the_customer_row_says() -> None:
    row = customer(
        LAST_PAYMENT_DAT=date(2026, 1, 5), LAST_PAYMENT_MNY=Decimal(10), LAST_BILL_SEQ=3, LAST_BILL_DTM=date(2026, 1, 1)
    )
    (action,) = sealed([row])["Last_Actions"]
    assert action["Payment_Created"] == "2026-01-05T00:00:00.000Z"
    assert (action["Payment_Seq"], action["Billed_Seq"], action["Payment_Money"]) == (0, 3, Decimal("10.00"))


names = st.sampled_from(["A", "B", None, ""])
rows_of_one_date = st.lists(
    st.builds(
        lambda asset, name, money, bill: customer(
            ASSET_ID=asset, PRODUCT_NAME=name, OUTSTANDING=money, LAST_BILL_DTM=bill
        ),
        names,
        st.none() | st.text(max_size=3),
        st.none() | st.decimals(-5, 5, places=2),
        st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 3)),
    ),
    min_size=1,
    max_size=8,
)


@given(rows_of_one_date, st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_and_number_give_the_same_digest(
    rows: list[tuple[Any, ...]], chance: random.Random
) -> None:
    again = rows + chance.choices(rows, k=2)
    chance.shuffle(again)
    assert assembly.digest(assembly.build_content("1", rows, [], UTC_ZONE)) == assembly.digest(
        assembly.build_content("1", again, [], UTC_ZONE)
    )


def test_the_digest_covers_content_and_not_the_envelope() -> None:
    draft = assembly.build_content("1", [customer(OUTSTANDING=Decimal(5))], [], UTC_ZONE)
    one = json.loads(assembly.render_body(draft, 1, NOW, "drs_admin"))
    other = json.loads(assembly.render_body(draft, 2, NOW + timedelta(days=1), "drs_admin"))
    assert {name for name in one if one[name] != other[name]} == ENVELOPE | {"Account_Cross_Details"}
    changed = assembly.build_content("1", [customer(OUTSTANDING=Decimal(6))], [], UTC_ZONE)
    assert assembly.digest(draft) != assembly.digest(changed)


def test_the_digest_is_the_same_in_every_release() -> None:
    """A digest that changed with a release would send every account again: change it knowingly or not at all.

    And with it ``content.ROWS_FORM``, which says that equal rows are no longer equal content.
    """
    draft = assembly.build_content(
        "0000000001",
        [customer(ASSET_ID="A", OUTSTANDING=Decimal("12.30"), MOBILE_CONTACT="0770000000")],
        [payment(ACCOUNT_PAYMENT_SEQ=4, AP_ACCOUNT_PAYMENT_MNY=Decimal(1))],
        UTC_ZONE,
    )
    assert assembly.digest(draft) == "a401ccf82383603c008d0911ab4e94c41a255d3acb2adee944eee44d8f401ce1"


def test_building_leaves_nothing_behind() -> None:
    """A process builds millions: what each leaves, were it 50 bytes, is more memory than all the rest."""
    rows = [customer(ASSET_ID="A", OUTSTANDING=Decimal("12.30"), MOBILE_CONTACT="0770000000")]
    drafts = 2_000

    def build_all() -> None:
        for _ in range(drafts):
            draft = assembly.build_content("0000000001", rows, [payment()], UTC_ZONE)
            assembly.render_body(draft, 1, NOW, "drs_admin")
            assembly.digest(draft)

    build_all()
    tracemalloc.start()
    try:
        build_all()
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 10 * drafts


def test_a_body_that_does_not_fit_cannot_be_made() -> None:
    draft = assembly.build_content("1", [customer()], [], UTC_ZONE)
    with pytest.raises(DataProcessingError, match="Incident_Id"):
        assembly.render_body(draft, 2**53, NOW, "drs_admin")


def test_readdress_changes_the_id_in_both_places_and_nothing_else() -> None:
    body = assembly.render_body(
        assembly.build_content("1", [customer(OUTSTANDING=Decimal("1.10"))], [], UTC_ZONE), 1, NOW, "x"
    )
    assert assembly.with_incident_id(body, 22) == body.replace(b'"Incident_Id":1,', b'"Incident_Id":22,')


def test_no_repr_shows_a_value() -> None:
    draft = assembly.build_content("1", [customer(CONTACT_PERSON="Jane Sample", ASSET_ID="A")], [], UTC_ZONE)
    incident = assembly.build_document(draft, 1, NOW, "x")
    assert "Jane" not in f"{draft!r} {incident!r} {incident.Customer_Details!r} {incident.Product_Details!r}"
