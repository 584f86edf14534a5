"""From one account's rows to its document, its digest, and the bytes that the run sends (SPEC 4).

``build_content`` computes the *content*, everything that comes from source rows, and encodes it; ``digest`` identifies
it; ``render_body`` adds the *envelope*, the values that this run adds, and returns the body. The same rows in any order
give the same digest.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from incident_process.core.errors import DataProcessingError
from incident_process.core.models import NEVER, Record
from incident_process.document import incident_model
from incident_process.document.convert import NO_DATE, moment, money, stamp, text, whole
from incident_process.document.envelope import Envelope, check, decode_body, encoder
from incident_process.document.rows import Row, current_rows, newest_payment
from incident_process.document.validation import contract_error
from incident_process.source.columns import (
    AMOUNT_COLUMNS,
    CUSTOMER_COLUMNS,
    DATE_COLUMNS,
    NUMBER_COLUMNS,
    PAYMENT_COLUMNS,
)

_C = {name: position for position, name in enumerate(CUSTOMER_COLUMNS)}
_P = {name: position for position, name in enumerate(PAYMENT_COLUMNS)}
_LOADED = _C["LOAD_DATE"]
_ASSET = _C["ASSET_ID"]
_NUMBERS = (int, float, Decimal)
_PRODUCT_ID = attrgetter("Product_Id")

_IMAGE = (
    b'{"account":%b,"customer_ref":%b,"arrears":%b,"read_on":%b,"contacts":%b,"products":%b,"customer":%b,"details":%b,'
    b'"action":%b}'
)
"""The bytes that are digested. Another form would change every account's digest, and a run would send all of them."""

_NEWEST_TEXTS = itemgetter(
    _C["CUSTOMER_REF"],
    _C["CONTACT_PERSON"],
    _C["ASSET_ADDRESS"],
    _C["ZIP_CODE"],
    _C["CUSTOMER_TYPE"],
    _C["COMPANY_NAME"],
    _C["NIC"],
    _C["EMAIL"],
    _C["ACCOUNT_STATUS_BSS"],
    _C["CREDIT_CLASS_NAME"],
    _C["BILLING_CENTER_NAME"],
    _C["CUSTOMER_SEGMENT_ID"],
    _C["MOBILE_CONTACT_TEL"],
    _C["DAYTIME_CONTACT_TEL"],
)
_PRODUCT_TEXTS = itemgetter(
    _C["ASSET_ID"],
    _C["PROMOTION_INTEG_ID"],
    _C["CUSTOMER_REF"],
    _C["PRODUCT_NAME"],
    _C["ASSET_STATUS"],
    _C["ASSET_ADDRESS"],
    _C["CUSTOMER_TYPE_CAT"],
    _C["OSS_SERVICE_ABBREVIATION"],
    _C["CITY"],
    _C["PROVINCE"],
)
_NO_NUMBER = "an amount of money is no finite number"
_CONTACTS = itemgetter(_C["TECNICAL_CONTACT_EMAIL"], _C["MOBILE_CONTACT"], _C["WORK_CONTACT"])


class DocumentContent(Record, frozen=True, kw_only=True):
    """The content of one account's document, before it has an Incident_Id."""

    account: str
    contacts: Sequence[tuple[incident_model.ContactType, str, str]]
    """Tuples of type, contact and the instant since when."""
    values: Sequence[bytes]
    """The JSON of each value of ``_IMAGE``, in its order, and of the account's status."""
    unfit: str | None = None
    """Why it makes no body; None where it makes one."""

    def __repr__(self) -> str:
        """Leave the values out: they are personal data."""
        return "<DocumentContent>"


def build_content(account: str, customers: Sequence[Row], payments: Sequence[Row], zone: ZoneInfo) -> DocumentContent:
    """Build the content of one account from its rows as ``AccountRows`` gives them (at least one customer row).

    Raises DataProcessingError, which names the column, for a value that does not fit its column's type.
    """
    rows = current_rows(customers)
    payment = newest_payment(payments, zone)
    try:
        return _assemble(account, rows, payment, zone)
    except ValueError as exc:
        raise _unreadable(rows, payment, zone) from exc


def _assemble(account: str, rows: Sequence[Row], payment: Row | None, zone: ZoneInfo) -> DocumentContent:
    newest = rows[0]
    arrears = money(newest[_C["OUTSTANDING"]])
    texts: list[str] = [value if type(value) is str else text(value) for value in _NEWEST_TEXTS(newest)]
    ref, person, address, zip_code, kind, company, nic, email, status, credit, billing, segment, mobile, daytime = texts
    customer = incident_model.Customer(
        Customer_Name=person,
        Full_Address=address,
        Zip_Code=zip_code,
        Customer_Type_Id=whole(newest[_C["CUSTOMER_TYPE_ID"]]),
        Customer_Type=kind,
        Company_Name=company,
        Nic=nic,
        Email_Address=email,
    )
    details = incident_model.Account(
        Account_Status=status,
        Acc_Effective_Dtm=moment(newest[_C["ACCOUNT_EFFECTIVE_DTM_BSS"]], zone),
        Credit_Class_Id=whole(newest[_C["CREDIT_CLASS_ID"]]),
        Credit_Class_Name=credit,
        Billing_Centre=billing,
        Customer_Segment=segment,
        Acc_Activate_Date=NO_DATE,
        Mobile_Contact_Tel=mobile,
        Daytime_Contact_Tel=daytime,
        Email_Address=email,
        Last_Rated_Dtm=NO_DATE,
    )
    action = _last_action(newest, payment, zone)
    contacts, products = _contacts(rows), _products(rows, zone)
    unfit = None if arrears.is_finite() and action.Payment_Money.is_finite() else str(contract_error(_NO_NUMBER))
    values = [account, ref, arrears, stamp(newest[_LOADED]), contacts, products, customer, details, action, status]
    return DocumentContent(account=account, contacts=contacts, values=_json_values(values), unfit=unfit)


def digest(content: DocumentContent) -> str:
    """Return the content's digest: 64 hexadecimal digits, the same for the same content in every release.

    It covers only values from source rows, so neither a new run nor a changed setting looks like changed content.
    """
    return hashlib.blake2b(_IMAGE % tuple(content.values[:9]), digest_size=32).hexdigest()


def render_body(content: DocumentContent, incident_id: int, now: datetime, created_by: str) -> bytes:
    """Add the envelope and return the body.

    Raises DataProcessingError when the body does not fit the model; no run sends such a body.
    """
    if content.unfit is not None:
        raise DataProcessingError(content.unfit)
    return _body(content, incident_id, _envelope(stamp(now), created_by))


def _body(content: DocumentContent, incident_id: int, envelope: Envelope) -> bytes:
    contacts = [
        incident_model.Contact(Contact_Type=kind, Contact=contact, Create_Dtm=since, Create_By=envelope.created_by)
        for kind, contact, since in content.contacts
    ]
    return envelope.around(content.values, encoder.encode(contacts), incident_id)


@lru_cache(maxsize=16)
def _envelope(time: str, created_by: str) -> Envelope:
    """Return the envelope of a run; the model's own decoder checks it around the content of a row of NULLs."""
    envelope = Envelope(time, created_by)
    row = [None] * len(CUSTOMER_COLUMNS)
    row[_LOADED] = NEVER  # type: ignore[call-overload]
    check(_body(build_content("", [row], [], ZoneInfo("UTC")), 1, envelope))
    return envelope


def build_document(
    content: DocumentContent, incident_id: int, now: datetime, created_by: str
) -> incident_model.IncidentDocument:
    """Return the content within its envelope, as the model; raise DataProcessingError when it does not fit."""
    return decode_body(render_body(content, incident_id, now, created_by))


def with_incident_id(body: bytes, incident_id: int) -> bytes:
    """Return the same body under another Incident_Id; raise DataProcessingError when the bytes are no body."""
    incident = decode_body(body)
    incident.Incident_Id = incident_id
    for cross in incident.Account_Cross_Details:
        cross.Incident_Id = incident_id
    return encoder.encode(incident)


def _json_values(values: list[Any]) -> list[bytes]:
    """Return each value's JSON. One call encodes all of them: JSON has no line break within a value.

    It takes a list: of any other sequence msgspec 0.22 keeps a copy for ever.
    """
    return encoder.encode_lines(values).split(b"\n")


def _contacts(rows: Sequence[Row]) -> list[tuple[incident_model.ContactType, str, str]]:
    """Return the distinct (type, contact, since) of the current rows, newest first (SPEC 4)."""
    found: dict[tuple[incident_model.ContactType, str], str] = {}
    for row in rows:
        since = stamp(row[_LOADED])
        texts: list[str] = [value if type(value) is str else text(value) for value in _CONTACTS(row)]
        email, mobile, fix = texts
        if "@" in email:
            found.setdefault(("email", email), since)
        if mobile:
            found.setdefault(("mobile", mobile), since)
        if fix:
            found.setdefault(("fix", fix), since)
    return [(kind, contact, since) for (kind, contact), since in found.items()]


def _products(rows: Sequence[Row], zone: ZoneInfo) -> list[incident_model.Product]:
    """Return one product for each current row that has an ASSET_ID, ordered by ASSET_ID."""
    products = []
    for row in rows:
        texts: list[str] = [value if type(value) is str else text(value) for value in _PRODUCT_TEXTS(row)]
        asset, label, ref, name, status, address, cat, service, city, province = texts
        if not asset:
            continue
        products.append(
            incident_model.Product(
                Product_Label=label,
                Customer_Ref=ref,
                Product_Seq=whole(row[_C["BSS_PRODUCT_SEQ"]]),
                Product_Id=asset,
                Product_Name=name,
                Product_Status=status,
                Effective_Dtm=moment(row[_C["ACCOUNT_EFFECTIVE_DTM_BSS"]], zone),
                Service_Address=address,
                Cat=cat,
                Service_Type=service,
                Region=city,
                Province=province,
            )
        )
    if len(products) > 1:
        products.sort(key=_asset_order(rows))
    return products


def _asset_order(rows: Sequence[Row]) -> Callable[[incident_model.Product], Any]:
    """Return the sort key of ASSET_ID: by number where the rows hold only numbers, else by text."""
    if all(row[_ASSET] is None or isinstance(row[_ASSET], _NUMBERS) for row in rows):
        numbers = {text(row[_ASSET]): row[_ASSET] for row in rows}
        return lambda product: numbers[product.Product_Id]
    return _PRODUCT_ID


def _last_action(newest: Row, payment: Row | None, zone: ZoneInfo) -> incident_model.LastAction:
    """Return the newest payment, or the last payment that the newest customer row names, with Payment_Seq 0."""
    if payment is None:
        paid = money(newest[_C["LAST_PAYMENT_MNY"]])
        on = moment(newest[_C["LAST_PAYMENT_DAT"]], zone)
        billed, seq = whole(newest[_C["LAST_BILL_SEQ"]]), 0
    else:
        paid = money(payment[_P["AP_ACCOUNT_PAYMENT_MNY"]])
        on = moment(payment[_P["ACCOUNT_PAYMENT_DAT"]], zone)
        billed = seq = whole(payment[_P["ACCOUNT_PAYMENT_SEQ"]])
    return incident_model.LastAction(
        Billed_Created=moment(newest[_C["LAST_BILL_DTM"]], zone),
        Payment_Created=on,
        Payment_Money=paid,
        Billed_Amount=paid,
        Billed_Seq=billed,
        Payment_Seq=seq,
    )


def _unreadable(rows: Sequence[Row], payment: Row | None, zone: ZoneInfo) -> DataProcessingError:
    """Return the error for rows that could not be read: it names the column, never the value."""
    named = [dict(zip(CUSTOMER_COLUMNS, row, strict=True)) for row in rows]
    if payment is not None:
        named.append(dict(zip(PAYMENT_COLUMNS, payment, strict=True)))
    for row in named:
        for column, value in row.items():
            try:
                if column in AMOUNT_COLUMNS:
                    money(value)
                elif column in NUMBER_COLUMNS:
                    whole(value)
                elif column in DATE_COLUMNS:
                    moment(value, zone)
                else:
                    text(value).encode()
            except UnicodeEncodeError:
                return DataProcessingError(f"column {column} holds a character that UTF-8 has no form for")
            except ValueError as exc:
                return DataProcessingError(f"column {column} {exc}")
    return DataProcessingError("the account number holds a character that UTF-8 has no form for")
