"""The keys of ``[PROCESS]``: the operation, its window and its runs (SPEC 3, 5, 6)."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from incident_process.core.models import Tracking
from incident_process.settings.field_types import LOWER, UPPER, Days, Expected, Number, Whole, read_zone
from incident_process.settings.keys.section import Section


class Process(Section):
    """``[PROCESS]``: the operation, its window and its runs (SPEC 3, 5, 6)."""

    title = "The operation, its window and its runs"

    operation_name: str = Field(
        default="Incident extraction from data lake",
        min_length=1,
        max_length=255,
        description="name of the operation in Process_Operation",
    )
    tracking: Annotated[Tracking, LOWER] = Field(
        default=Tracking.MONGO,
        description="where Process_Operation is kept: mongo or sql; where there is no configuration file, sql",
        examples=["mongo"],
    )
    time_gap_seconds: Number = Field(
        default=60, ge=0, le=604_800, description="seconds that the window's end stays behind the source's clock"
    )
    lookback_seconds: Number = Field(
        default=86400, ge=0, le=315_360_000, description="seconds before the watermark that each run reads again"
    )
    guard_limit_seconds: Number = Field(
        default=21600,
        ge=0,
        le=604_800,
        description="seconds for which a window waits for an open transaction of the source; 0: not at all",
    )
    source_timezone: Annotated[str, Expected("a zone's name such as UTC or Asia/Colombo")] = Field(
        default="UTC", description="zone of dates in the source that carry none"
    )
    chunk_accounts: Whole = Field(default=1000, ge=1, le=100_000, description="accounts that a run processes at a time")
    build_processes: Annotated[str, LOWER, Expected("auto or a whole number from 0 to 16")] = Field(
        default="auto",
        pattern=r"^(auto|[0-9]|1[0-6])$",
        description="processes that read and build documents beside the one that sends; auto: one less than there are "
        "processors, at most 3, and only in runs over more than 2,000 accounts; 0: none",
    )
    max_runs: Whole = Field(
        default=3, ge=1, le=1000, description="runs in which an account may fail before it becomes a dead letter"
    )
    in_doubt: Annotated[Literal["resend", "park"], LOWER] = Field(
        default="resend",
        description="what a run does with an incident that an earlier one may have sent without an answer: resend it "
        "under the same id and key, or park it as a dead letter for an operator to decide",
    )
    lease_seconds: Number = Field(
        default=60, ge=1, le=86400, description="seconds without a renewal after which another runner takes over"
    )
    created_by: str = Field(default="drs_admin", min_length=1, max_length=100, description="author named in documents")
    keep_bodies: Annotated[Days, Expected("off or a whole number of days from 0 to 3650")] = Field(
        default=0, ge=0, le=3650, description="days that delivered bodies (personal data) are kept; 0 or off: not kept"
    )
    execution_duration: Whole = Field(
        default=60, ge=1, le=525_600, description="minutes between runs, given to the operation's row by init"
    )
    log_format: Annotated[Literal["text", "json"], LOWER] = Field(
        default="text", description="log lines as text, or one JSON object a line"
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], UPPER] = Field(
        default="INFO", description="lowest severity that is logged"
    )

    @property
    def builders(self) -> int | None:
        """``build_processes`` as a number; None where the program decides."""
        return None if self.build_processes == "auto" else int(self.build_processes)

    @field_validator("source_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return read_zone(value).key

    @property
    def zone(self) -> ZoneInfo:
        """``source_timezone`` as a time zone."""
        return ZoneInfo(self.source_timezone)
