"""The keys for operating the program: schedule, log file, metrics, alerts, traces."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from incident_process.settings.field_types import LOWER, Expected, Headers, Hidden, Number, Whole
from incident_process.settings.keys.section import Section


class Schedule(Section):
    """``[SCHEDULE]``: when ``schedule`` runs, and where it serves health and metrics (SPEC 7)."""

    title = "The command `schedule`, which stays up and runs when due"

    interval_seconds: Number = Field(
        default=3600,
        ge=1,
        le=31_536_000,
        description="seconds from the start of one run to the next with tracking = mongo; with tracking = sql "
        "Next_execution_dtm decides",
    )
    cron: Annotated[str | None, Expected("five fields as in crontab, such as */10 * * * *")] = Field(
        default=None,
        description="when to run with tracking = mongo, in source_timezone; wins over interval_seconds",
        examples=["*/10 6-20 * * 1-5"],
    )
    poll_seconds: Number = Field(
        default=15,
        ge=0.1,
        le=3600,
        description="seconds between two checks whether a run is due, at most",
    )
    retry_seconds: Number = Field(
        default=30,
        ge=0.1,
        le=86400,
        description="seconds until a run that failed or stayed incomplete is retried; doubled each time",
    )
    retry_cap_seconds: Number = Field(default=900, ge=0.1, le=86400, description="the longest such pause, in seconds")
    stop_seconds: Number = Field(
        default=20,
        ge=0,
        le=3600,
        description="seconds that a run has at most to finish its chunk after SIGTERM; the rest stays pending",
    )
    http_host: str = Field(
        default="127.0.0.1", min_length=1, max_length=253, description="address of /healthz, /readyz and /metrics"
    )
    http_port: Whole = Field(
        default=0, ge=0, le=65535, description="TCP port of /healthz, /readyz and /metrics; 0: not offered"
    )

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value:
            from datetime import UTC, datetime

            from cronsim import CronSim, CronSimError

            try:
                if len(value.split()) != 5:  # the library accepts a sixth field, for seconds; crontab does not
                    raise CronSimError
                next(CronSim(value, datetime(2026, 1, 1, tzinfo=UTC)))
            except (CronSimError, StopIteration):
                raise ValueError(
                    "is no line that ever comes due: write minute, hour, day of month, month and day of week as in "
                    "crontab, for example */10 * * * *"
                ) from None
        return value


class Log(Section):
    """``[LOG]``: a log file beside stderr, and its rotation."""

    title = "A log file beside stderr, in the form that [PROCESS] log_format and log_level say"

    file: Annotated[Path | None, Expected("the path of a file")] = Field(
        default=None, description="file that the log is also written to", examples=["/var/log/incident-process.log"]
    )
    rotation: Annotated[Literal["size", "day", "none"], LOWER] = Field(
        default="size",
        description="when a new file begins: at max_bytes, at midnight UTC, or never (for logrotate; a file that was "
        "moved away is noticed). size and day are for one process at a time",
    )
    max_bytes: Whole = Field(
        default=10_000_000, ge=1000, le=10_000_000_000, description="size at which rotation = size begins a new file"
    )
    backups: Whole = Field(default=5, ge=1, le=1000, description="old files to keep")


class Metrics(Section):
    """``[METRICS]``: figures for Prometheus where no server offers them."""

    title = "Metrics for Prometheus; `schedule` also offers them at /metrics"

    textfile: Annotated[Path | None, Expected("the path of a file that ends in .prom")] = Field(
        default=None,
        description="file that every run updates, for the textfile collector of node_exporter",
        examples=["/var/lib/node_exporter/incident_process.prom"],
    )

    @field_validator("textfile")
    @classmethod
    def _name(cls, value: Path | None) -> Path | None:
        if value and value.suffix != ".prom":
            raise ValueError("has a name that the collector passes over: let it end in .prom")
        return value


def _addresses(value: Any) -> Any:
    """Read addresses, which hold no blanks, from one line or several."""
    if not isinstance(value, str):
        return value
    addresses = value.split()
    for place, address in enumerate(addresses, start=1):
        scheme, found, rest = address.partition("://")
        if not (found and scheme and rest):
            raise ValueError(f"has no address in place {place}: write scheme://…, with blanks or line ends between two")
    return tuple(SecretStr(address) for address in addresses)


class Notify(Section):
    """``[NOTIFY]``: where alerts go when something is wrong, and when it is over."""

    title = "Alerts, once when something goes wrong and once when it is over"

    urls: Annotated[
        tuple[SecretStr, ...], BeforeValidator(_addresses), Expected("addresses as Apprise has them, such as json://…")
    ] = Field(
        default=(),
        description="where alerts go, as Apprise writes addresses, one a line, each further line indented",
        examples=["mailtos://user:password@mail.example.org?to=oncall@example.org"],
    )
    lag_seconds: Number = Field(
        default=0,
        ge=0,
        le=31_536_000,
        description="seconds without a processed window after which an alert is sent; 0: no alert",
    )


class Tracing(Section):
    """``[TRACING]``: spans for OpenTelemetry."""

    title = "Traces for OpenTelemetry; needs the extra `incident-process[otel]`"

    endpoint: Annotated[str | None, Hidden(), Expected("an http:// or https:// address")] = Field(
        default=None,
        description="where spans are sent, OTLP over HTTP; without it there are none",
        examples=["http://localhost:4318/v1/traces"],
    )
    headers: Headers = Field(
        default={},
        description="request headers for it, one `Name: value` a line, each further line indented",
        examples=["X-Api-Key: key-of-the-collector"],
    )

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value:
            try:
                parts = urlsplit(value)
                fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                fits = False
            if not fits or "@" in parts.netloc:
                raise ValueError(
                    "is no http:// or https:// address without credentials: write http://host:4318/v1/traces, "
                    "credentials go into headers"
                )
        return value
