"""A body that does not fit the model is never made, although no finished body is decoded again (SPEC 4)."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.errors import DataProcessingError
from incident_process.document import assembly, incident_model, validation
from incident_process.document.convert import moment, money, stamp, text, whole
from incident_process.document.envelope import decode_body
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENCODER = msgspec.json.Encoder(decimal_format="number")

texts = st.text(max_size=8) | st.sampled_from(["%b", "%s%%", '"}', "\n", "\u2028", "\x00", "a@b", "\ud800"])
values = (
    st.none()
    | texts
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "1e400", "0000-00-00", "2026-00-12", b"\xff", True])
    | st.dates()
    | st.datetimes()
)


def rows_of(columns: tuple[str, ...]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows that are mostly of the right types, with any value anywhere now and then."""
    plain = {
        "OUTSTANDING": st.decimals(-9, 9, places=2),
        "AP_ACCOUNT_PAYMENT_MNY": st.decimals(-9, 9, places=2),
        "LAST_PAYMENT_MNY": st.none(),
    }
    kinds = [
        st.just(NOW)
        if name == "LOAD_DATE"
        else plain.get(name, st.none() if name.endswith(("_ID", "SEQ", "DTM", "DAT", "BSS")) else texts)
        for name in columns
    ]
    row = st.tuples(*kinds)
    odd = st.tuples(row, st.integers(0, len(columns) - 2), values).map(
        lambda made: (*made[0][: made[1]], made[2], *made[0][made[1] + 1 :])
    )
    return st.lists(row | odd, max_size=3)


@given(rows_of(CUSTOMER_COLUMNS).filter(bool), rows_of(PAYMENT_COLUMNS), texts)
def test_every_body_that_is_made_fits_the_model_and_is_the_models_own_encoding(
    customers: list[tuple[Any, ...]], payments: list[tuple[Any, ...]], author: str
) -> None:
    author = author.encode("utf-8", "replace").decode()
    try:
        content = assembly.build_content("1", customers, payments, ZONE)
        body = assembly.render_body(content, 7, NOW, author)
    except DataProcessingError:
        return
    assert ENCODER.encode(decode_body(body)) == body
    assert digest_of(decode_body(body)) == assembly.digest(content)


def digest_of(document: incident_model.IncidentDocument) -> str:
    """Return the digest of the content that a document holds."""
    contacts = [(item.Contact_Type, item.Contact, item.Create_Dtm) for item in document.Contact_Details]
    values = [
        document.Account_Num,
        document.Customer_Ref,
        document.Arrears,
        document.Last_Bss_Reading_Date,
        contacts,
        document.Product_Details,
        document.Customer_Details,
        document.Account_Details,
        document.Last_Actions[0],
    ]
    encoded = [ENCODER.encode(value) for value in values]
    return assembly.digest(assembly.DocumentContent(account=document.Account_Num, contacts=contacts, values=encoded))


def blank() -> list[Any]:
    return [NOW if name == "LOAD_DATE" else None for name in CUSTOMER_COLUMNS]


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "sNaN", Decimal("NaN"), Decimal("-Infinity"), float("inf")])
@pytest.mark.parametrize("column", ["OUTSTANDING", "LAST_PAYMENT_MNY"])
def test_an_amount_that_is_no_number_is_never_sealed(column: str, amount: object) -> None:
    row = blank()
    row[CUSTOMER_COLUMNS.index(column)] = amount
    with pytest.raises(DataProcessingError, match="amount of money"):
        assembly.render_body(assembly.build_content("1", [row], [], ZONE), 1, NOW, "x")


def test_text_that_utf_8_has_no_form_for_is_refused_by_its_column() -> None:
    row = blank()
    row[CUSTOMER_COLUMNS.index("CONTACT_PERSON")] = "\ud800"
    with pytest.raises(DataProcessingError, match="CONTACT_PERSON"):
        assembly.build_content("1", [row], [], ZONE)


@pytest.mark.parametrize("incident_id", [0, -1, 2**53])
def test_an_incident_id_out_of_the_models_bounds_is_refused(incident_id: int) -> None:
    content = assembly.build_content("1", [blank()], [], ZONE)
    with pytest.raises(DataProcessingError, match="Incident_Id"):
        assembly.render_body(content, incident_id, NOW, "x")


def test_the_bounds_are_the_models() -> None:
    content = assembly.build_content("1", [blank()], [], ZONE)
    for incident_id in (1, 2**53 - 1):
        assert decode_body(assembly.render_body(content, incident_id, NOW, "x")).Incident_Id == incident_id


class Written(str):
    """A text of a type that is not the model's."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("converted", "kind"),
    [(text, str), (whole, int), (money, Decimal), (lambda value: moment(value, ZONE), str)],
    ids=["text", "whole", "money", "moment"],
)
@given(value=values | st.just(Written("1")) | st.binary(max_size=4))
def test_a_value_becomes_exactly_the_type_of_its_field_or_is_refused(
    converted: Callable[[Any], Any], kind: type, value: Any
) -> None:
    try:
        assert type(converted(value)) is kind
    except ValueError:
        return


def test_a_timestamp_has_the_models_form() -> None:
    assert stamp(NOW) == "2026-03-01T12:00:00.000Z"
    with pytest.raises(DataProcessingError, match="timestamp"):
        validation.checked_timestamp("2026-03-01 12:00:00")


def test_an_author_that_is_no_text_makes_no_envelope() -> None:
    content = assembly.build_content("1", [blank()], [], ZONE)
    with pytest.raises(DataProcessingError, match="Created_By"):
        assembly.render_body(content, 1, NOW, 5)  # type: ignore[arg-type]
