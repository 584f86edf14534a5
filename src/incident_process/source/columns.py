"""The columns that the document needs, in the order of the tables. Nothing else is ever read (SPEC 2)."""

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
    "LOAD_DATE",
)

PAYMENT_COLUMNS = (
    "AP_ACCOUNT_NUMBER",
    "ACCOUNT_PAYMENT_SEQ",
    "AP_ACCOUNT_PAYMENT_MNY",
    "ACCOUNT_PAYMENT_DAT",
    "LOAD_DATE",
)

AMOUNT_COLUMNS = ("OUTSTANDING", "AP_ACCOUNT_PAYMENT_MNY", "LAST_PAYMENT_MNY")
"""Columns of which the document makes an amount of money."""
NUMBER_COLUMNS = ("CUSTOMER_TYPE_ID", "CREDIT_CLASS_ID", "BSS_PRODUCT_SEQ", "ACCOUNT_PAYMENT_SEQ", "LAST_BILL_SEQ")
"""Columns of which it makes a whole number."""
DATE_COLUMNS = ("ACCOUNT_EFFECTIVE_DTM_BSS", "LAST_BILL_DTM", "ACCOUNT_PAYMENT_DAT", "LAST_PAYMENT_DAT")
"""Columns of which it makes an instant. LOAD_DATE has rules of its own; of all others it makes text."""
