"""The invented words of the synthetic rows. No name, number or address belongs to a real person.

Surnames are made up. Mobile numbers begin with 079 and fixed lines with 099, which Sri Lanka has not assigned.
NIC-like numbers have a day of the year above 900, which no calendar has. Mail goes to domains that are reserved for
examples. Towns, districts and provinces are real, because such data is grouped by region.
"""

GIVEN_NAMES = ("Amaya", "Dilan", "Ishara", "Kasun", "Malini", "Nimal", "Priya", "Ruwan", "Sanduni", "Tharindu")
SURNAMES = (
    "Demowansa",
    "Exampledara",
    "Fictisinghe",
    "Mockaratne",
    "Sampleweera",
    "Synthesena",
    "Testapala",
    "Trialnayake",
)
TITLES = ("Mr", "Mrs", "Ms", "Dr", "Rev")
COMPANIES = ("Demo Traders", "Example Tea Exports", "Fictional Hardware", "Mock & Sons", "Sample Textiles")
STREETS = ("Sample Lane", "Example Road", "Demo Mawatha", "Testing Place", "Fictional Avenue", "Mock Street")
MAIL_DOMAINS = ("example.com", "example.org")

TOWNS = (
    # town, district, province, postal code, regional office, exchange area
    ("Colombo", "Colombo", "Western", "00100", "R-CO", "CEN"),
    ("Negombo", "Gampaha", "Western", "11500", "R-NG", "NEG"),
    ("Kandy", "Kandy", "Central", "20000", "R-KY", "KAN"),
    ("Galle", "Galle", "Southern", "80000", "R-GL", "GAL"),
    ("Jaffna", "Jaffna", "Northern", "40000", "R-JA", "JAF"),
    ("Batticaloa", "Batticaloa", "Eastern", "30000", "R-BC", "BAT"),
    ("Kurunegala", "Kurunegala", "North Western", "60000", "R-KG", "KUR"),
    ("Anuradhapura", "Anuradhapura", "North Central", "50000", "R-AD", "ANU"),
    ("Badulla", "Badulla", "Uva", "90000", "R-BD", "BAD"),
    ("Ratnapura", "Ratnapura", "Sabaragamuwa", "70000", "R-RN", "RAT"),
)

PRODUCTS = (
    # product, service abbreviation, product id of the billing system
    ("Home Broadband 50M", "V-VOICE FTTH", 310),
    ("Home Broadband 100M", "E-INTERNET FTTH", 311),
    ("Fixed Voice", "V-VOICE", 120),
    ("IPTV Family", "E-IPTV FTTH", 410),
    ("ADSL Web Starter", "E-INTERNET ADSL", 210),
    ("Business Leased Line", "D-LEASED", 510),
)
ASSET_STATES = ("Active", "Active", "Active", "Suspended", "Inactive")
ACCOUNT_STATES = ("OK", "OK", "OK", "SU", "TX")
"""Codes of the billing system: in order, suspended, terminated."""

CUSTOMER_TYPES = (
    # id, category, type, segment, segment's description
    (1, "RETAIL", "Individual-Residential", "RET", "Retail"),
    (2, "RETAIL", "Individual-Home Office", "SOHO", "Small office"),
    (7, "CORPORATE", "SME", "SME", "Small and medium business"),
    (9, "CORPORATE", "Enterprise", "ENT", "Enterprise"),
)
CREDIT_CLASSES = ((1, "VIP"), (2, "High Revenue"), (3, "Normal"), (4, "High Risk"))
