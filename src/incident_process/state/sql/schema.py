"""The tables of the SQL state (SPEC 6).

``Process_Operation`` is the team's: its form is given, other programs read and write it. All others are the
program's own. Their instants are UTC to the microsecond, their texts compare exactly.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from incident_process.state.sql.dialect import Blob, ExactText, LocalDateTime, UtcDateTime

_INNODB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

team = MetaData()
"""What belongs to the team; created only when it is missing and the state is the tracking."""

process_operation = Table(
    "Process_Operation",
    team,
    Column("Process_Operation_Sequence", Integer, nullable=False),
    Column("created_dtm", LocalDateTime, nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    Column("Operation_name", String(255), nullable=False),
    Column("execution_duration", Integer, nullable=False),
    Column("Next_execution_dtm", LocalDateTime, nullable=False),
    Column("Last_execution_dtm", LocalDateTime, nullable=False),
    Column("end_dtm", LocalDateTime, nullable=True),
    mysql_engine="InnoDB",
)

own = MetaData()
"""What belongs to this program."""

lease = Table(
    "Process_Operation_Lease",
    own,
    Column("Operation_name", ExactText(255), primary_key=True),
    Column("Holder", ExactText(255)),  # NULL: free
    Column("Token", BigInteger, nullable=False),
    Column("Expires_Dtm", UtcDateTime, nullable=False),
    Column("As_Of_Dtm", UtcDateTime),  # the latest instant as of which documents were built
    Column("Watermark_Dtm", UtcDateTime),  # Last_execution_dtm as exact as it was, see tracking.py
    **_INNODB,
)

counter = Table(
    "Incident_Counter",
    own,
    Column("Counter_Name", ExactText(64), primary_key=True),
    Column("Last_Incident_Id", BigInteger, nullable=False),
    **_INNODB,
)

run = Table(
    "Process_Operation_Run",
    own,
    Column("Run_Id", ExactText(64), primary_key=True),
    Column("Operation_name", ExactText(255), nullable=False),
    Column("Kind", ExactText(16), nullable=False),
    Column("Status", ExactText(16), nullable=False),
    Column("Window_Start_Dtm", UtcDateTime),
    Column("Window_End_Dtm", UtcDateTime),
    Column("Accounts", Integer, nullable=False),
    Column("Delivered", Integer, nullable=False),
    Column("Unchanged", Integer, nullable=False),
    Column("Skipped", Integer, nullable=False),
    Column("Dead", Integer, nullable=False),
    Column("Pending", Integer, nullable=False),
    Column("Counts", Text, nullable=False),  # all figures, as JSON
    Column("Last_Error", Text),
    Column("Host", ExactText(255), nullable=False),
    Column("Started_Dtm", UtcDateTime, nullable=False),
    Column("Ended_Dtm", UtcDateTime),
    Index("Run_By_Start", "Operation_name", "Started_Dtm"),
    Index("Run_By_Status", "Operation_name", "Status"),
    **_INNODB,
)

delivery = Table(
    "Incident_Delivery",
    own,
    Column("Incident_Id", BigInteger, primary_key=True, autoincrement=False),
    Column("Operation_name", ExactText(255), nullable=False),
    Column("Account_Num", ExactText(255), nullable=False),
    Column("Digest", ExactText(128), nullable=False),
    Column("Idempotency_Key", ExactText(255), nullable=False),
    Column("Status", ExactText(16), nullable=False),
    Column("Attempts", Integer, nullable=False),
    Column("Runs", Integer, nullable=False),
    Column("Last_Http_Status", Integer),
    Column("Last_Error", Text),
    Column("Run_Id", ExactText(64), nullable=False),
    Column("Created_Dtm", UtcDateTime, nullable=False),
    Column("Updated_Dtm", UtcDateTime, nullable=False),
    # The newest entry of an account in each status is one step in this index, however long its history is.
    Index("Delivery_By_Account", "Operation_name", "Account_Num", "Status", "Incident_Id"),
    Index("Delivery_By_Status", "Operation_name", "Status", "Incident_Id"),
    Index("Delivery_By_Run", "Run_Id", "Incident_Id"),
    **_INNODB,
)

outbox = Table(
    "Incident_Outbox",
    own,
    Column("Operation_name", ExactText(255), nullable=False),
    Column("Chunk_Id", ExactText(128), nullable=False),
    Column("Part_Number", Integer, nullable=False),
    Column("First_Incident_Id", BigInteger, nullable=False),  # as first written: the order of the entries
    Column("Incidents", Integer, nullable=False),  # how many are pending
    Column("Token", BigInteger, nullable=False),
    Column("Run_Id", ExactText(64), nullable=False),
    Column("Created_Dtm", UtcDateTime, nullable=False),
    Column("Done_Dtm", UtcDateTime),  # set instead of deleting, where bodies are kept for auditors
    Column("Body", Blob, nullable=False),
    PrimaryKeyConstraint("Operation_name", "Chunk_Id", "Part_Number"),
    Index("Outbox_By_Age", "Operation_name", "Done_Dtm", "First_Incident_Id"),
    **_INNODB,
)

ERROR_CHARACTERS = 4000
"""How much of an error is kept; MySQL's TEXT would refuse more than 64 KB."""


def shortened(error: str | None) -> str | None:
    """Return an error as it fits its column."""
    return None if error is None else error[:ERROR_CHARACTERS]
