"""What a document has to say, computed a second time: from the table in SPEC 4 alone, without a line of the package.

Rows are dictionaries as they were inserted: text, whole numbers, money as text with two decimals, dates as text in
MySQL's form, None for NULL. Two rules that SPEC 4 leaves open are taken from the program and stated here:

* Rows of one LOAD_DATE (and payments of one date and sequence) are ordered by the rest of the row: the needed columns
  in the order of the table, compared one after the other; the greatest is the newest. NULL is lowest. Text is compared
  by code points, numbers by value, dates by time; a zero date, which is no date, stands above every date.
* For the newest payment, NULL and zero dates are equal, and older than every date.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
Key = tuple[int, Any]

CUSTOMER_COLUMNS = (
    "CUSTOMER_REF",
    "ACCOUNT_NUM",
    "ASSET_ID",
    "PROMOTION_INTEG_ID",
    "OSS_SERVICE_ABBREVIATION",
    "PRODUCT_NAME",
    "ASSET_STATUS",
    "CONTACT_PERSON",
    "TECNICAL_CONTACT_EMAIL",
    "ASSET_ADDRESS",
    "BSS_PRODUCT_SEQ",
    "CUSTOMER_TYPE_ID",
    "CUSTOMER_TYPE_CAT",
    "CUSTOMER_TYPE",
    "ACCOUNT_STATUS_BSS",
    "ACCOUNT_EFFECTIVE_DTM_BSS",
    "NIC",
    "ZIP_CODE",
    "CITY",
    "PROVINCE",
    "EMAIL",
    "MOBILE_CONTACT",
    "WORK_CONTACT",
    "DAYTIME_CONTACT_TEL",
    "MOBILE_CONTACT_TEL",
    "CUSTOMER_SEGMENT_ID",
    "BILLING_CENTER_NAME",
    "COMPANY_NAME",
    "OUTSTANDING",
    "LAST_BILL_DTM",
    "LAST_BILL_SEQ",
    "CREDIT_CLASS_ID",
    "CREDIT_CLASS_NAME",
    "LAST_PAYMENT_DAT",
    "LAST_PAYMENT_MNY",
)
"""What the document needs of a customer row beside LOAD_DATE, in the order by which equal LOAD_DATEs are decided."""

PAYMENT_COLUMNS = ("AP_ACCOUNT_PAYMENT_MNY",)
"""What is left of a payment once account, date and sequence are equal; its LOAD_DATE comes last."""

MONEY = {"OUTSTANDING", "LAST_PAYMENT_MNY", "AP_ACCOUNT_PAYMENT_MNY"}
DATES = {"ACCOUNT_EFFECTIVE_DTM_BSS", "LAST_BILL_DTM", "LAST_PAYMENT_DAT"}
NO_DATE = "1900-01-01T00:00:00.000Z"
ENVELOPE = (
    "Created_Dtm",
    "Incident_Status_Dtm",
    "Batch_Id_Tag_Dtm",
    "External_Data_Update_On",
    "Export_On",
    "Incident_Forwarded_On",
    "Rejected_Dtm",
    "updatedAt",
)
"""Where the time of the run stands."""


class Oracle:
    """Computes documents. ``end`` is the window's end (aware), ``zone`` that of dates in the source."""

    def __init__(self, schema: Mapping[str, Any], end: datetime, zone: tzinfo, created_by: str = "drs_admin") -> None:
        self._schema = schema
        self._end = end
        self._zone = zone
        self._created_by = created_by

    def document(
        self, account: str, customers: Sequence[Row], payments: Sequence[Row], incident_id: int, run_time: str
    ) -> dict[str, Any] | None:
        """Return the whole body, or None where the account makes no incident."""
        rows = self._current([row for row in customers if row["ACCOUNT_NUM"] == account])
        if not rows:
            return None
        newest = rows[0]
        payment = self._newest_payment([row for row in payments if row["AP_ACCOUNT_NUMBER"] == account])
        document: dict[str, Any] = _empty(self._schema)
        document |= dict.fromkeys(ENVELOPE, run_time)
        document |= {
            "Doc_Version": Decimal("1.0"),
            "Account_Num": account,
            "Customer_Ref": _text(newest["CUSTOMER_REF"]),
            "Arrears": _money(newest["OUTSTANDING"]),
            "Bss_Arrears_Amount": _money(newest["OUTSTANDING"]),
            "Last_Bss_Reading_Date": self._time(newest["LOAD_DATE"]),
            "Created_By": self._created_by,
            "Contact_Details": self._contacts(rows),
            "Product_Details": self._products(rows),
            "Customer_Details": self._customer(newest),
            "Account_Details": self._account(newest),
            "Last_Actions": [self._last_action(newest, payment)],
            "Marketing_Details": [self._part("Marketing_Details") | {"Informed_On": NO_DATE}],
            "Incident_Id": incident_id,
            "Account_Cross_Details": [
                {
                    "Account_Num": account,
                    "Outstanding_Balance": _money(newest["OUTSTANDING"]),
                    "Incident_Id": incident_id,
                    "Case_Id": 0,
                    "Account_Status": _text(newest["ACCOUNT_STATUS_BSS"]),
                }
            ],
        }
        return document

    def in_time(self, row: Row) -> bool:
        """Return whether the row has a date as LOAD_DATE, at or before the window's end."""
        loaded = row["LOAD_DATE"]
        return loaded is not None and not _is_zero(loaded) and self._instant(loaded) <= self._end

    def _current(self, rows: Sequence[Row]) -> list[Row]:
        """For each ASSET_ID its newest row; the newest of those first."""
        newest: dict[str | None, Row] = {}
        for row in sorted(filter(self.in_time, rows), key=self._age):
            newest[row["ASSET_ID"]] = row
        return sorted(newest.values(), key=self._age, reverse=True)

    def _age(self, row: Row) -> tuple[Any, ...]:
        return self._instant(row["LOAD_DATE"]), *(_order(name, row[name]) for name in CUSTOMER_COLUMNS)

    def _newest_payment(self, rows: Sequence[Row]) -> Row | None:
        def age(row: Row) -> tuple[Any, ...]:
            paid = row["ACCOUNT_PAYMENT_DAT"]
            date = "" if paid is None or _is_zero(paid) else paid
            rest = [_order(name, row[name]) for name in PAYMENT_COLUMNS]
            raw = (0, "") if paid is None else (2 if _is_zero(paid) else 1, paid)
            return date, _order("SEQ", row["ACCOUNT_PAYMENT_SEQ"]), *rest, raw, self._instant(row["LOAD_DATE"])

        return max(filter(self.in_time, rows), key=age, default=None)

    def _contacts(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        contacts: list[dict[str, Any]] = []
        seen = set()
        for row in rows:
            email = row["TECNICAL_CONTACT_EMAIL"] or ""
            found = (
                ("email", email if "@" in email else ""),
                ("mobile", row["MOBILE_CONTACT"]),
                ("fix", row["WORK_CONTACT"]),
            )
            for kind, contact in found:
                if contact and (kind, contact) not in seen:
                    seen.add((kind, contact))
                    contacts.append(
                        {
                            "Contact_Type": kind,
                            "Contact": contact,
                            "Create_Dtm": self._time(row["LOAD_DATE"]),
                            "Create_By": self._created_by,
                        }
                    )
        return contacts

    def _products(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [
            self._part("Product_Details")
            | {
                "Product_Label": _text(row["PROMOTION_INTEG_ID"]),
                "Customer_Ref": _text(row["CUSTOMER_REF"]),
                "Product_Seq": row["BSS_PRODUCT_SEQ"] or 0,
                "Product_Id": row["ASSET_ID"],
                "Product_Name": _text(row["PRODUCT_NAME"]),
                "Product_Status": _text(row["ASSET_STATUS"]),
                "Effective_Dtm": self._time(row["ACCOUNT_EFFECTIVE_DTM_BSS"]),
                "Service_Address": _text(row["ASSET_ADDRESS"]),
                "Cat": _text(row["CUSTOMER_TYPE_CAT"]),
                "Service_Type": _text(row["OSS_SERVICE_ABBREVIATION"]),
                "Region": _text(row["CITY"]),
                "Province": _text(row["PROVINCE"]),
            }
            for row in sorted((row for row in rows if row["ASSET_ID"]), key=lambda row: row["ASSET_ID"])
        ]

    def _customer(self, row: Row) -> dict[str, Any]:
        return self._part("Customer_Details") | {
            "Customer_Name": _text(row["CONTACT_PERSON"]),
            "Company_Name": _text(row["COMPANY_NAME"]),
            "Full_Address": _text(row["ASSET_ADDRESS"]),
            "Zip_Code": _text(row["ZIP_CODE"]),
            "Nic": _text(row["NIC"]),
            "Customer_Type_Id": row["CUSTOMER_TYPE_ID"] or 0,
            "Customer_Type": _text(row["CUSTOMER_TYPE"]),
            "Email_Address": _text(row["EMAIL"]),
        }

    def _account(self, row: Row) -> dict[str, Any]:
        return self._part("Account_Details") | {
            "Account_Status": _text(row["ACCOUNT_STATUS_BSS"]),
            "Acc_Effective_Dtm": self._time(row["ACCOUNT_EFFECTIVE_DTM_BSS"]),
            "Credit_Class_Id": row["CREDIT_CLASS_ID"] or 0,
            "Credit_Class_Name": _text(row["CREDIT_CLASS_NAME"]),
            "Billing_Centre": _text(row["BILLING_CENTER_NAME"]),
            "Customer_Segment": _text(row["CUSTOMER_SEGMENT_ID"]),
            "Mobile_Contact_Tel": _text(row["MOBILE_CONTACT_TEL"]),
            "Daytime_Contact_Tel": _text(row["DAYTIME_CONTACT_TEL"]),
            "Email_Address": _text(row["EMAIL"]),
        }

    def _last_action(self, row: Row, payment: Row | None) -> dict[str, Any]:
        if payment is None:
            paid, money, billed_seq, payment_seq = (
                row["LAST_PAYMENT_DAT"],
                row["LAST_PAYMENT_MNY"],
                row["LAST_BILL_SEQ"],
                0,
            )
        else:
            paid, money = payment["ACCOUNT_PAYMENT_DAT"], payment["AP_ACCOUNT_PAYMENT_MNY"]
            billed_seq = payment_seq = payment["ACCOUNT_PAYMENT_SEQ"] or 0
        return {
            "Billed_Created": self._time(row["LAST_BILL_DTM"]),
            "Payment_Created": self._time(paid),
            "Payment_Money": _money(money),
            "Billed_Amount": _money(money),
            "Billed_Seq": billed_seq or 0,
            "Payment_Seq": payment_seq,
        }

    def _part(self, name: str) -> dict[str, Any]:
        schema = self._schema["properties"][name]
        part: dict[str, Any] = _empty(schema.get("items", schema))
        return part

    def _instant(self, written: str) -> datetime:
        return datetime.fromisoformat(written).replace(tzinfo=self._zone).astimezone(UTC)

    def _time(self, written: str | None) -> str:
        if written is None or _is_zero(written):
            return NO_DATE
        return self._instant(written).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _empty(schema: Mapping[str, Any]) -> Any:
    """Return the value of a property about which SPEC 4 says nothing more, by its type."""
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if "object" in kinds:
        return {name: _empty(part) for name, part in schema["properties"].items()}
    if "array" in kinds:
        return []
    if schema.get("format") == "date-time":
        return NO_DATE
    return "" if "string" in kinds else 0


def _text(value: str | None) -> str:
    return value or ""


def _money(value: str | None) -> Decimal:
    return Decimal(value or "0").quantize(Decimal("0.01"))


def _is_zero(written: str) -> bool:
    """MySQL's zero dates; in part zero is no day either."""
    return written.startswith("0000") or "-00" in written[:10]


def _order(name: str, value: Any) -> Key:
    if value is None:
        return 0, 0
    if name in MONEY:
        return 1, Decimal(value)
    if name in DATES and _is_zero(value):
        return 2, value
    return 1, value
