"""The indexes that make the source's queries fast. The field's tables have none: without them, queries are slow."""

from incident_process.core.models import Record
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE


class Index(Record, frozen=True, kw_only=True):
    """One recommended index. Any index that begins with the same columns serves as well."""

    table: str
    name: str
    columns: tuple[str, ...]
    purpose: str

    @property
    def statement(self) -> str:
        """The statement that creates it, on MySQL, MariaDB and SQLite alike."""
        return f"CREATE INDEX {self.name} ON {self.table} ({', '.join(self.columns)})"


INDEX_ADVICE = (
    Index(
        table=CUSTOMER_TABLE,
        name="debt_cust_detail_load_date",
        columns=("LOAD_DATE", "ACCOUNT_NUM"),
        purpose="finds the accounts of a window without reading the whole table",
    ),
    Index(
        table=CUSTOMER_TABLE,
        name="debt_cust_detail_account",
        columns=("ACCOUNT_NUM", "ASSET_ID", "LOAD_DATE"),
        purpose="finds the current rows of an account without reading its history",
    ),
    Index(
        table=PAYMENT_TABLE,
        name="debt_payment_load_date",
        columns=("LOAD_DATE", "AP_ACCOUNT_NUMBER"),
        purpose="finds the accounts of a window without reading the whole table",
    ),
    Index(
        table=PAYMENT_TABLE,
        name="debt_payment_account",
        columns=("AP_ACCOUNT_NUMBER", "ACCOUNT_PAYMENT_DAT", "LOAD_DATE"),
        purpose="finds the newest payment of an account without reading its history",
    ),
)
