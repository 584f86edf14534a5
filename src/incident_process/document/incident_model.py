"""The incident document as a typed model: this *is* the contract that a body must fit (SPEC 4).

Properties have the order and spelling of ``contract/incident.schema.json``. The model requires all of them, though the
schema requires fewer: every body has every property of the schema. Money is Decimal, written as a JSON number with its
two decimals; times are text of one form, checked by a pattern.
"""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

Timestamp = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
IncidentId = Annotated[int, msgspec.Meta(gt=0, lt=2**53)]
ContactType = Literal["email", "mobile", "fix"]
Empty = Annotated[list[str], msgspec.Meta(max_length=0)]


class Model(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The base of the document's parts. Their ``repr`` shows no values: they are personal data."""

    def __repr__(self) -> str:
        """Name the part, not its values."""
        return f"<{type(self).__name__}>"


class Contact(Model, kw_only=True):
    """One way to reach the customer."""

    Contact_Type: ContactType
    Contact: str
    Create_Dtm: Timestamp
    Create_By: str


class Product(Model, kw_only=True):
    """One asset of the account."""

    Product_Label: str
    Customer_Ref: str
    Product_Seq: int
    Product_Id: str
    Product_Name: str
    Product_Status: str
    Effective_Dtm: Timestamp
    Service_Address: str
    Cat: str
    Service_Type: str
    Equipment_Ownership: str = ""
    Db_Cpe_Status: str = ""
    Received_List_Cpe_Status: str = ""
    Region: str
    Province: str


class Customer(Model, kw_only=True):
    """The customer to whom the account belongs."""

    Customer_Name: str
    Full_Address: str
    Zip_Code: str
    Customer_Type_Id: int
    Customer_Type: str
    Company_Name: str
    Company_Registry_Number: str = ""
    Customer_Type_Name: str = ""
    Nic: str
    Email_Address: str


class Account(Model, kw_only=True):
    """The account as billing sees it."""

    Account_Status: str
    Acc_Effective_Dtm: Timestamp
    Credit_Class_Id: int
    Credit_Class_Name: str
    Billing_Centre: str
    Customer_Segment: str
    Acc_Activate_Date: Timestamp
    Mobile_Contact_Tel: str
    Daytime_Contact_Tel: str
    Email_Address: str
    Last_Rated_Dtm: Timestamp


class LastAction(Model, kw_only=True):
    """The newest payment beside the newest bill."""

    Billed_Created: Timestamp
    Payment_Created: Timestamp
    Payment_Money: Decimal
    Billed_Amount: Decimal
    Billed_Seq: int
    Payment_Seq: int


class Marketing(Model, kw_only=True):
    """Marketing details: empty, for the source has none."""

    Account_Manager: str = ""
    Consumer_Market: str = ""
    Informed_To: str = ""
    Informed_On: Timestamp


class AccountCross(Model, kw_only=True):
    """This incident and its account."""

    Account_Num: str
    Outstanding_Balance: Decimal
    Incident_Id: IncidentId
    Case_Id: int = 0
    Account_Status: str


class IncidentDocument(Model, kw_only=True):
    """The whole body."""

    Doc_Version: float = 1.0
    Account_Num: str
    Customer_Ref: str
    Arrears: Decimal
    Bss_Arrears_Amount: Decimal
    Last_Bss_Reading_Date: Timestamp
    Created_By: str
    Created_Dtm: Timestamp
    Arrears_Band: str = ""
    Contact_Details: list[Contact]
    Product_Details: list[Product]
    Customer_Details: Customer
    Account_Details: Account
    Last_Actions: Annotated[list[LastAction], msgspec.Meta(min_length=1, max_length=1)]
    Marketing_Details: Annotated[list[Marketing], msgspec.Meta(min_length=1, max_length=1)]
    Incident_Id: IncidentId
    Incident_Status: str = ""
    Incident_Status_Dtm: Timestamp
    Status_Description: str = ""
    File_Name_Dump: str = ""
    Batch_Id: str = ""
    Batch_Id_Tag_Dtm: Timestamp
    External_Data_Update_On: Timestamp
    Filtered_Reason: str = ""
    Export_On: Timestamp
    File_Name_Rejected: str = ""
    Rejected_Reason: str = ""
    Incident_Forwarded_By: str = ""
    Incident_Forwarded_On: Timestamp
    Account_Cross_Details: Annotated[list[AccountCross], msgspec.Meta(min_length=1, max_length=1)]
    Action: str = ""
    Validity_period: int = 0
    Remark: str = ""
    updatedAt: Timestamp  # noqa: N815  # the spelling of the schema
    Rejected_By: str = ""
    Rejected_Dtm: Timestamp
    Source_Type: str = ""
    Ref_Data_Temp_Permanent: Empty = []
    Case_Status: Empty = []
    Approvals: Empty = []
    DRC: Empty = []
    RO: Empty = []
    RO_Requests: Empty = []
    RO_Negotiation: Empty = []
    RO_Customer_Details_Edit: Empty = []
    RO_CPE_Collect: Empty = []
    Mediation_Board: Empty = []
    Settlement: Empty = []
    Money_Transactions: Empty = []
    Commission_Bill_Payment: Empty = []
    Bonus: Empty = []
    FTL_LOD: Empty = []
    Litigation: Empty = []
    LOD_Final_Reminder: Empty = []
    Dispute: Empty = []
    Abnormal_Stop: Empty = []
