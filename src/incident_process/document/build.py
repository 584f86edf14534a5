"""Rows of one account to its document, its digest, and the bytes that are sent (SPEC 4).

``draft`` computes the *content*, everything that comes from source rows; ``digest`` identifies it; ``seal`` adds the
*envelope*, what this run adds, and returns the body. The same rows in any order give the same digest.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cmp_to_key
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from incident_process.document import model
from incident_process.document.convert import NO_DATE, is_no_date, moment, money, sortable, stamp, text, whole
from incident_process.errors import DataProcessingError
from incident_process.records import Record
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

_C = {name: position for position, name in enumerate(CUSTOMER_COLUMNS)}
_P = {name: position for position, name in enumerate(PAYMENT_COLUMNS)}
_LOADED = _C["LOAD_DATE"]
_ASSET = _C["ASSET_ID"]

_encoder = msgspec.json.Encoder(decimal_format="number")
_checker = msgspec.json.Decoder(model.Incident)

Row = Sequence[Any]
Value = TypeVar("Value")


class Draft(Record, frozen=True, kw_only=True):
    """The content of one account's document, before it has an Incident_Id."""

    account: str
    customer_ref: str
    arrears: Decimal
    read_on: str
    contacts: list[tuple[str, str, str]]
    products: list[model.Product]
    customer: model.Customer
    details: model.Account
    action: model.LastAction

    def __repr__(self) -> str:
        """Leave the values out: they are personal data."""
        return "<Draft>"


def current_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the newest row of each ASSET_ID (NULL counts as one), newest first.

    Rows of one LOAD_DATE are ordered by the rest of the row, so the database's order does not matter.
    """
    if len(rows) == 1:
        return list(rows)
    newest: dict[Any, Row] = {}
    for row in rows:
        known = newest.get(row[_ASSET])
        if known is None or _by_age(row, known) > 0:
            newest[row[_ASSET]] = row
    return sorted(newest.values(), key=cmp_to_key(_by_age), reverse=True)


def newest_payment(rows: Sequence[Row]) -> Row | None:
    """Return the newest payment: by ACCOUNT_PAYMENT_DAT, then ACCOUNT_PAYMENT_SEQ, then the rest of the row.

    NULL and zero dates are equal, and older than every date: the document shows both as no date.
    """
    if len(rows) < 2:
        return rows[0] if rows else None
    paid, seq = _P["ACCOUNT_PAYMENT_DAT"], _P["ACCOUNT_PAYMENT_SEQ"]

    def age(row: Row) -> tuple[Any, ...]:
        date = None if is_no_date(row[paid]) else row[paid]
        return sortable(date), sortable(row[seq]), [sortable(value) for value in row]

    return max(rows, key=age)


def draft(account: str, customers: Sequence[Row], payments: Sequence[Row], zone: ZoneInfo) -> Draft:
    """Build the content of one account from its rows as ``AccountRows`` gives them (at least one customer row).

    Raises DataProcessingError, naming the column, for a value that cannot be what its column says.
    """
    rows = current_rows(customers)
    newest = rows[0]
    read = _Reader(newest, zone)
    status = read.text("ACCOUNT_STATUS_BSS")
    arrears = read.money("OUTSTANDING")
    email = read.text("EMAIL")
    effective = read.moment("ACCOUNT_EFFECTIVE_DTM_BSS")
    return Draft(
        account=account,
        customer_ref=read.text("CUSTOMER_REF"),
        arrears=arrears,
        read_on=stamp(newest[_LOADED]),
        contacts=_contacts(rows),
        products=_products(rows, zone),
        customer=model.Customer(
            Customer_Name=read.text("CONTACT_PERSON"),
            Full_Address=read.text("ASSET_ADDRESS"),
            Zip_Code=read.text("ZIP_CODE"),
            Customer_Type_Id=read.whole("CUSTOMER_TYPE_ID"),
            Customer_Type=read.text("CUSTOMER_TYPE"),
            Company_Name=read.text("COMPANY_NAME"),
            Nic=read.text("NIC"),
            Email_Address=email,
        ),
        details=model.Account(
            Account_Status=status,
            Acc_Effective_Dtm=effective,
            Credit_Class_Id=read.whole("CREDIT_CLASS_ID"),
            Credit_Class_Name=read.text("CREDIT_CLASS_NAME"),
            Billing_Centre=read.text("BILLING_CENTER_NAME"),
            Customer_Segment=read.text("CUSTOMER_SEGMENT_ID"),
            Acc_Activate_Date=NO_DATE,
            Mobile_Contact_Tel=read.text("MOBILE_CONTACT_TEL"),
            Daytime_Contact_Tel=read.text("DAYTIME_CONTACT_TEL"),
            Email_Address=email,
            Last_Rated_Dtm=NO_DATE,
        ),
        action=_last_action(read, newest_payment(payments), zone),
    )


def digest(content: Draft) -> str:
    """Return the content's digest: 64 hexadecimal digits, the same for the same content in every release.

    It covers what comes from source rows and nothing else, so neither a new run nor a changed setting looks like
    changed content.
    """
    return hashlib.blake2b(_encoder.encode(content), digest_size=32).hexdigest()


def seal(content: Draft, incident_id: int, now: datetime, created_by: str) -> bytes:
    """Add the envelope and return the body, checked against the model.

    Raises DataProcessingError when the body does not fit; such a body is never sent.
    """
    body = _encoder.encode(document(content, incident_id, now, created_by))
    check(body)
    return body


def document(content: Draft, incident_id: int, now: datetime, created_by: str) -> model.Incident:
    """Return the content within its envelope, as the model."""
    time = stamp(now)
    return model.Incident(
        Account_Num=content.account,
        Customer_Ref=content.customer_ref,
        Arrears=content.arrears,
        Bss_Arrears_Amount=content.arrears,
        Last_Bss_Reading_Date=content.read_on,
        Created_By=created_by,
        Created_Dtm=time,
        Contact_Details=[
            model.Contact(Contact_Type=kind, Contact=contact, Create_Dtm=since, Create_By=created_by)  # type: ignore[arg-type]  # _contacts gives these three kinds only
            for kind, contact, since in content.contacts
        ],
        Product_Details=content.products,
        Customer_Details=content.customer,
        Account_Details=content.details,
        Last_Actions=[content.action],
        Marketing_Details=[model.Marketing(Informed_On=NO_DATE)],
        Incident_Id=incident_id,
        Incident_Status_Dtm=time,
        Batch_Id_Tag_Dtm=time,
        External_Data_Update_On=time,
        Export_On=time,
        Incident_Forwarded_On=time,
        Account_Cross_Details=[
            model.AccountCross(
                Account_Num=content.account,
                Outstanding_Balance=content.arrears,
                Incident_Id=incident_id,
                Account_Status=content.details.Account_Status,
            )
        ],
        updatedAt=time,
        Rejected_Dtm=time,
    )


def content_digest(body: bytes) -> str:
    """Return the digest of the content of a body that was sent: what ``digest`` gave for its draft.

    Raises DataProcessingError when the bytes are no body of this contract.
    """
    check(body)
    incident = _checker.decode(body)
    content = Draft(
        account=incident.Account_Num,
        customer_ref=incident.Customer_Ref,
        arrears=incident.Arrears,
        read_on=incident.Last_Bss_Reading_Date,
        contacts=[(item.Contact_Type, item.Contact, item.Create_Dtm) for item in incident.Contact_Details],
        products=incident.Product_Details,
        customer=incident.Customer_Details,
        details=incident.Account_Details,
        action=incident.Last_Actions[0],
    )
    return digest(content)


def check(body: bytes) -> None:
    """Raise DataProcessingError when the body does not fit the model; the message names the place, not the value."""
    try:
        _checker.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        msg = f"the document does not fit the incident contract: {exc}"
        raise DataProcessingError(msg) from exc


def readdress(body: bytes, incident_id: int) -> bytes:
    """Return the same body under another Incident_Id."""
    incident = _checker.decode(body)
    incident.Incident_Id = incident_id
    for cross in incident.Account_Cross_Details:
        cross.Incident_Id = incident_id
    return _encoder.encode(incident)


class _Reader:
    """Reads the columns of one customer row; an unreadable value is named by its column."""

    def __init__(self, row: Row, zone: ZoneInfo) -> None:
        self._row = row
        self._zone = zone

    def text(self, column: str) -> str:
        return text(self._row[_C[column]])

    def whole(self, column: str) -> int:
        return _read(column, whole, self._row[_C[column]])

    def money(self, column: str) -> Decimal:
        return _read(column, money, self._row[_C[column]])

    def moment(self, column: str) -> str:
        return _read(column, moment, self._row[_C[column]], self._zone)


def _read(column: str, convert: Callable[..., Value], *arguments: Any) -> Value:
    try:
        return convert(*arguments)
    except ValueError as exc:
        msg = f"column {column} {exc}"
        raise DataProcessingError(msg) from exc


def _by_age(one: Row, other: Row) -> int:
    """Compare two rows by LOAD_DATE, then column by column; positive when ``one`` is newer."""
    if one[_LOADED] != other[_LOADED]:
        return 1 if one[_LOADED] > other[_LOADED] else -1
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs:
            return 1 if sortable(mine) > sortable(theirs) else -1
    return 0


def _contacts(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return distinct (type, contact, since) over the current rows, newest first (SPEC 4)."""
    found: dict[tuple[str, str], str] = {}
    email, mobile, fix = _C["TECNICAL_CONTACT_EMAIL"], _C["MOBILE_CONTACT"], _C["WORK_CONTACT"]
    for row in rows:
        since = None
        for kind, value in (("email", text(row[email])), ("mobile", text(row[mobile])), ("fix", text(row[fix]))):
            if value and (kind != "email" or "@" in value) and (kind, value) not in found:
                since = since or stamp(row[_LOADED])
                found[kind, value] = since
    return [(kind, contact, since) for (kind, contact), since in found.items()]


def _products(rows: Sequence[Row], zone: ZoneInfo) -> list[model.Product]:
    """Return one product per current row that has an ASSET_ID, in the order of ASSET_ID."""
    products = []
    for row in rows:
        asset = text(row[_ASSET])
        if not asset:
            continue
        read = _Reader(row, zone)
        products.append(
            model.Product(
                Product_Label=read.text("PROMOTION_INTEG_ID"),
                Customer_Ref=read.text("CUSTOMER_REF"),
                Product_Seq=read.whole("BSS_PRODUCT_SEQ"),
                Product_Id=asset,
                Product_Name=read.text("PRODUCT_NAME"),
                Product_Status=read.text("ASSET_STATUS"),
                Effective_Dtm=read.moment("ACCOUNT_EFFECTIVE_DTM_BSS"),
                Service_Address=read.text("ASSET_ADDRESS"),
                Cat=read.text("CUSTOMER_TYPE_CAT"),
                Service_Type=read.text("OSS_SERVICE_ABBREVIATION"),
                Region=read.text("CITY"),
                Province=read.text("PROVINCE"),
            )
        )
    products.sort(key=lambda product: product.Product_Id)
    return products


def _last_action(read: _Reader, payment: Row | None, zone: ZoneInfo) -> model.LastAction:
    """Return the newest payment, or what the newest customer row says of the last one, with Payment_Seq 0."""
    if payment is None:
        paid = read.money("LAST_PAYMENT_MNY")
        return model.LastAction(
            Billed_Created=read.moment("LAST_BILL_DTM"),
            Payment_Created=read.moment("LAST_PAYMENT_DAT"),
            Payment_Money=paid,
            Billed_Amount=paid,
            Billed_Seq=read.whole("LAST_BILL_SEQ"),
            Payment_Seq=0,
        )
    seq = _read("ACCOUNT_PAYMENT_SEQ", whole, payment[_P["ACCOUNT_PAYMENT_SEQ"]])
    paid = _read("AP_ACCOUNT_PAYMENT_MNY", money, payment[_P["AP_ACCOUNT_PAYMENT_MNY"]])
    return model.LastAction(
        Billed_Created=read.moment("LAST_BILL_DTM"),
        Payment_Created=_read("ACCOUNT_PAYMENT_DAT", moment, payment[_P["ACCOUNT_PAYMENT_DAT"]], zone),
        Payment_Money=paid,
        Billed_Amount=paid,
        Billed_Seq=seq,
        Payment_Seq=seq,
    )
