"""Synthetic rows in the field's full columns, of no real person, the same for the same seed (SPEC 2).

Every value of an account follows from the seed and the account's index alone, so a population of ten is the beginning
of a population of a million. Values that a load changes (amounts, bills, payments) also follow from the load's date.
Rows are tuples in the order of the table's columns, made one by one: 300,000 in some ten seconds of a modest core.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from incident_process.sandbox.demo import vocabulary as words
from incident_process.sandbox.demo.tables import Value, declared_types
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE

Row = tuple[Value, ...]
Option = TypeVar("Option")

MAX_ASSETS = 4
_STRIDE = 61_803_403  # shares no factor with the number of accounts: each index gets its own account number
_ACCOUNTS = 100_000_000  # eight digits, so that every account number begins with zeros
_FIRST_DAY = date(2009, 1, 1).toordinal()
_EMPTY: dict[str, dict[str, Value]] = {table: dict.fromkeys(columns) for table, columns in declared_types().items()}


class Population:
    """The accounts of one seed.

    Args:
        seed: Another seed gives other accounts.
        assets: Assets of every account, and so its customer rows in a load; None: 1 to 4, by account.
    """

    def __init__(self, seed: int = 1, assets: int | None = None) -> None:
        self._seed = seed
        self._assets = assets
        self._offset = _Draw(seed).below(_ACCOUNTS)

    def account(self, index: int) -> str:
        """Return the account number: 10 digits, at least two zeros first, a different one for each index below 10^8."""
        return f"{(index * _STRIDE + self._offset) % _ACCOUNTS:010d}"

    def assets(self, index: int) -> int:
        """Return how many assets the account has."""
        return self._assets or _Draw(self._seed, index, "assets").below(MAX_ASSETS) + 1

    def customers(self, indexes: Iterable[int], loaded: date) -> Iterator[Row]:
        """Yield the customer rows of one load: one row for each asset of each account.

        Args:
            indexes: The accounts, by index.
            loaded: LOAD_DATE. A date gives ``YYYY-MM-DD``; a datetime (aware UTC, or naive as the table must have it)
                gives ``YYYY-MM-DD HH:MM:SS``, with a fraction where it has one.
        """
        stamp = written(loaded)
        for index in indexes:
            draw = _Draw(self._seed, index)
            shared = _EMPTY[CUSTOMER_TABLE] | self._account_fields(index, draw)
            shared |= _person_fields(self.account(index), draw)
            shared |= _load_fields(_Draw(self._seed, index, stamp), loaded, stamp)
            for number in range(self.assets(index)):
                yield tuple((shared | self._asset_fields(index, number)).values())

    def payments(self, indexes: Iterable[int], loaded: datetime) -> Iterator[Row]:
        """Yield one payment for each account, made up to two hours before it was loaded; ``loaded`` as above."""
        stamp = written(loaded)
        for index in indexes:
            draw = _Draw(self._seed, index, stamp, "payment")
            paid_at = loaded - timedelta(seconds=60 + draw.below(7_000))
            paid = written(paid_at.replace(microsecond=0))
            money = _money(draw.below(1_500_000) + 10_000)
            row = _EMPTY[PAYMENT_TABLE] | {
                "AP_ACCOUNT_NUMBER": self.account(index),
                "ACCOUNT_PAYMENT_SEQ": paid_at.toordinal() - _FIRST_DAY,
                "AP_ACCOUNT_PAYMENT_MNY": money,
                "ACCOUNT_PAYMENT_DAT": paid,
                "CREATED_DTM": paid,
                "ACCOUNT_PAYMENT_STATUS": 1,
                "ALT_ACCOUNT_PAYMENT_MNY": money,
                "EVENT_REF": f"EV{draw.below(10**10):010d}",
                "LOAD_DATE": stamp,
            }
            yield tuple(row.values())

    def _account_fields(self, index: int, draw: "_Draw") -> dict[str, Value]:
        account = self.account(index)
        kind_id, category, kind, segment, described = draw.of(words.CUSTOMER_TYPES)
        class_id, class_name = draw.of(words.CREDIT_CLASSES)
        started = _day(draw.below(5_000))
        return {
            "CUSTOMER_KEY": index + 1,
            "ACCOUNT_KEY": index + 500_001,
            "CUSTOMER_REF": f"CR{account[1:]}",
            "ACCOUNT_NUM": account,
            "CUSTOMER_TYPE_ID": kind_id,
            "CUSTOMER_TYPE_CAT": category,
            "CUSTOMER_TYPE": kind,
            "ACC_ACCOUNT_KEY": index + 500_001,
            "ACC_CUSTOMER_KEY": index + 1,
            "ACC_ACCOUNT_NUM": account,
            "ACCOUNT_STATUS_CRM": "Active",
            "ACCOUNT_STATUS_BSS": draw.of(words.ACCOUNT_STATES),
            "ACCOUNT_START_DTM_CRM": started,
            "ACCOUNT_START_DTM_BSS": started,
            "ACCOUNT_EFFECTIVE_DTM_BSS": started,
            "CUSTOMER_SEGMENT_ID": segment,
            "CUSTOMER_SEGMENT_DESC": described,
            "CURRENCY_CODE": "LKR",
            "LANGUAGE_CODE": "ENG",
            "COMPANY_NAME": draw.of(words.COMPANIES) if category == "CORPORATE" else None,
            "INVOICING_COMPANY_ID": 1,
            "INVOICING_COMPANY": "Demo Telecom",
            "BILL_PERIOD": 1,
            "DEPOSIT_AMT": _money(draw.below(10) * 50_000),
            "TAX_INCLUSIVE_BOO": "F",
            "CREDIT_CLASS_ID": class_id,
            "CREDIT_CLASS_NAME": class_name,
            "BILL_HANDLING_CODE": "STD",
            "INVOICING_MEDIA_TYPE": "E-Bill" if draw.below(2) else "Paper",
            "DOMAIN_ID": 1,
            "LANG_CODE": "EN",
            "BILL_CYCLE": f"{draw.below(28) + 1:02d}",
        }

    def _asset_fields(self, index: int, number: int) -> dict[str, Value]:
        account = self.account(index)
        draw = _Draw(self._seed, index, "asset", number)
        product, service, product_id = draw.of(words.PRODUCTS)
        mail = None if draw.below(3) else f"line{number + 1}.{account}@{draw.of(words.MAIL_DOMAINS)}"
        return {
            "ASSET_ID": f"AS{account[2:]}-{number + 1}",
            "INTEGRATION_ID": f"IN{account[2:]}{number + 1:02d}",
            "BSS_PRODUCT_ID": product_id,
            "PROMOTION_INTEG_ID": f"PR{draw.below(10**8):08d}",
            "OSS_SERVICE_ABBREVIATION": service,
            "ASSET_CREATED_DTM": _day(draw.below(5_000)),
            "PRODUCT_NAME": product,
            "ASSET_STATUS": draw.of(words.ASSET_STATES),
            "BSS_PRODUCT_SEQ": number + 1,
            "PRICE_LIST_DESC": "Standard tariff",
            "TECNICAL_CONTACT_EMAIL": mail,
        }


class _Draw:
    """Reproducible bits that follow from their purpose; enough for some fifty draws."""

    __slots__ = ("_bits",)

    def __init__(self, *purpose: object) -> None:
        self._bits = int.from_bytes(hashlib.blake2b(repr(purpose).encode()).digest(), "big")

    def below(self, limit: int) -> int:
        self._bits, drawn = divmod(self._bits, limit)
        return drawn

    def of(self, options: Sequence[Option]) -> Option:
        return options[self.below(len(options))]


def written(moment: date) -> str:
    """Return a date or datetime in the form of the tables; an aware datetime in UTC."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(" ")


def _person_fields(account: str, draw: _Draw) -> dict[str, Value]:
    """Return name, address and contacts; about one account in ten lacks each kind of contact."""
    given, surname = draw.of(words.GIVEN_NAMES), draw.of(words.SURNAMES)
    town, district, province, zip_code, office, area = draw.of(words.TOWNS)
    house, street = f"No. {draw.below(400) + 1}", draw.of(words.STREETS)
    full_address = f"{house}, {street}, {town}"
    mail = f"{given}.{surname}.{account[4:]}@{draw.of(words.MAIL_DOMAINS)}".lower() if draw.below(10) else None
    mobile = f"079{draw.below(10**7):07d}" if draw.below(10) else None
    work = f"099{draw.below(10**7):07d}" if draw.below(10) else None
    name = f"{given} {surname}"
    return {
        "CONTACT_PERSON": name,
        "CONTACT_PHONE": mobile or work,
        "ASSET_ADDRESS": full_address,
        "RTOM": office,
        "LEA_CODE": area,
        "ACC_ACCOUNT_NAME": name,
        "NAME": name,
        "TITLE": draw.of(words.TITLES),
        "INITIALS": given[0],
        "FIRST_NAME": given,
        "LAST_NAME": surname,
        "ADDR_LINE_1": house,
        "ADDR_LINE_2": street,
        "ADDR_LINE_3": town,
        "ADDR_FULL": full_address,
        "NIC": f"{1950 + draw.below(50)}{901 + draw.below(99)}{draw.below(10**5):05d}",
        "SEX": None,
        "ZIP_CODE": zip_code,
        "CITY": town,
        "DISTRICT": district,
        "PROVINCE": province,
        "COUNTRY": "Sri Lanka",
        "COUNTRY_ID": 144,
        "EMAIL": mail,
        "MOBILE_CONTACT": mobile,
        "WORK_CONTACT": work,
        "DAYTIME_CONTACT_TEL": work,
        "MOBILE_CONTACT_TEL": mobile,
        "CONTACT_SEQ": 1,
        "ADDRESS_SEQ": 1,
        "BILLING_CETNER_CODE": area,
        "BILLING_CENTER_NAME": town,
        "EXCHANGE_CODE": area,
    }


def _load_fields(draw: _Draw, loaded: date, stamp: str) -> dict[str, Value]:
    """Return the fields that change from load to load: amounts, the last bill, the row's own last payment."""
    outstanding, paid = draw.below(5_000_000) - 50_000, draw.below(20_000_000)
    billed = loaded.toordinal() - _FIRST_DAY - draw.below(30)
    return {
        "TOTAL_BILLED": _money(outstanding + paid),
        "TOTAL_PAID": _money(paid),
        "OUTSTANDING": _money(outstanding),
        "LAST_BILL_DTM": _day(billed),
        "NEXT_BILL_DTM": _day(billed + 30),
        "LAST_BILL_SEQ": billed // 30,
        "LAST_PAYMENT_DAT": _day(billed - draw.below(60)),
        "LAST_PAYMENT_MNY": _money(draw.below(1_000_000)),
        "LOAD_DATE": stamp,
        "LOAD_USER": "demo_loader",
    }


def _day(number: int) -> str:
    return date.fromordinal(_FIRST_DAY + number).isoformat()


def _money(cents: int) -> str:
    """Return an amount as text with two decimals: no driver makes a binary fraction of it."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"
