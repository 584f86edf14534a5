"""The sections of the configuration and their keys: the one place where a key, its default and its meaning are stated.

The sections for those who operate the program stand in ``operating``. Reference, template and error messages are made
from all these fields. An attribute is the key's name in lower case; in the file, names may be written in any case.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator

from incident_process.core.models import Tracking
from incident_process.settings.answer_rules import RuleLines
from incident_process.settings.engine import Engine
from incident_process.settings.operating import Log, Metrics, Notify, Schedule, Tracing
from incident_process.settings.section import Section
from incident_process.settings.targets import (
    MYSQL_PORT,
    MongoTarget,
    MySQLTarget,
    Target,
    Tls,
    Verify,
    check_mongo_url,
    parse_replicas,
    parse_target,
)
from incident_process.settings.values import (
    LOWER,
    SWITCH,
    UPPER,
    Days,
    Expected,
    File,
    Headers,
    Hidden,
    Needed,
    Number,
    Whole,
    read_zone,
)
from incident_process.settings.web import Dashboard

_MYSQL_NEED = Needed("needed unless URL is set")
_MONGO_NEED = Needed("needed with tracking = mongo")
_DATABASE_URL = Expected("sqlite:///file.db or mysql://user:password@host:3306/database")


class Mongodb(Section):
    """``[MONGODB]``: where ``Process_Operation`` and the program's state are kept when tracking = mongo."""

    title = "MongoDB, which keeps Process_Operation and the program's state when tracking = mongo"
    upper = True

    mongo_url: Annotated[SecretStr | None, _MONGO_NEED, Expected("mongodb://… or mongodb+srv://…")] = Field(
        default=None, description="connection string of the deployment", examples=["mongodb://localhost:27017/"]
    )
    database_name: Annotated[str | None, _MONGO_NEED] = Field(
        default=None, min_length=1, max_length=63, description="name of the database", examples=["drc_incident"]
    )

    @field_validator("mongo_url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            check_mongo_url(value.get_secret_value())
        return value

    @field_validator("database_name")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value and set(value) & set('/\\. "$*<>:|?'):
            raise ValueError("has a character that MongoDB forbids in a name: use letters, digits, _ and -")
        return value

    @property
    def target(self) -> MongoTarget:
        """The deployment and the database, where both keys are given."""
        return MongoTarget(url=self.mongo_url or SecretStr(""), database=self.database_name or "")


class Database(Section):
    """``[DATABASE]``: the source, by URL or by the MYSQL keys. A URL wins."""

    title = "The source database: URL, or the MYSQL keys"
    upper = True

    url: Annotated[SecretStr | None, _DATABASE_URL] = Field(
        default=None,
        description="sqlite:///relative.db, sqlite:////absolute.db or mysql://user:password@host:port/database; "
        "wins over the MYSQL keys",
        examples=["sqlite:///incidents.db"],
    )
    mysql_host: Annotated[str | None, _MYSQL_NEED, Hidden()] = Field(
        default=None, description="host name or address of MySQL or MariaDB", examples=["localhost"]
    )
    mysql_port: Whole = Field(default=MYSQL_PORT, ge=1, le=65535, description="TCP port")
    mysql_database: Annotated[str | None, _MYSQL_NEED] = Field(
        default=None, max_length=64, description="database with the two source tables", examples=["incident_db"]
    )
    mysql_user: Annotated[str | None, _MYSQL_NEED] = Field(
        default=None, description="user who may read the source tables", examples=["reader"]
    )
    mysql_password: Annotated[SecretStr | None, _MYSQL_NEED] = Field(
        default=None,
        description="that user's password as it is, without quotes; it may be empty, but the key must be there",
        examples=["password"],
    )
    mysql_ssl: bool = Field(default=False, description="on: all MySQL connections (source and state) use TLS")
    mysql_ssl_ca: File | None = Field(
        default=None,
        description="PEM file of the authority that signed the server's certificate; without it, the system's",
        examples=["/etc/ssl/certs/mysql-ca.pem"],
    )
    mysql_ssl_cert: File | None = Field(
        default=None, description="PEM file of this client's certificate", examples=["/etc/ssl/certs/client.pem"]
    )
    mysql_ssl_key: File | None = Field(
        default=None, description="PEM file of its private key", examples=["/etc/ssl/private/client.key"]
    )
    mysql_ssl_verify: Annotated[Verify, SWITCH] = Field(
        default="on",
        description="on: check the authority and the host name of the server's certificate; ca: the authority alone, "
        "for MySQL's own certificates, which name no host; off: accept any certificate",
    )
    replicas: Annotated[SecretStr | None, Expected("a list of mysql://user:password@host:3306/database")] = Field(
        default=None,
        description="read replicas of the MySQL source, by URL, separated by commas: they take turns in reading rows; "
        "one without user:password@ or database takes the source's",
        examples=["mysql://replica1:3306/incident_db, mysql://replica2:3306/incident_db"],
    )
    replica_wait_seconds: Number = Field(
        default=5, ge=0, le=3600, description="seconds that a run waits for a replica that lags, before it goes without"
    )

    @field_validator("replicas")
    @classmethod
    def _replicas(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            parse_replicas(value.get_secret_value())
        return value

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked(value)

    @field_validator("mysql_host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value and set(value) & set("/@ "):
            raise ValueError("is no host name: give the name or address alone, or set URL instead")
        return value

    @property
    def tls(self) -> Tls | None:
        """How MySQL connections are encrypted, None for not at all."""
        if not self.mysql_ssl:
            return None
        return Tls(ca=self.mysql_ssl_ca, cert=self.mysql_ssl_cert, key=self.mysql_ssl_key, verify=self.mysql_ssl_verify)

    @property
    def target(self) -> Target:
        """The source database."""
        if self.url:
            return parse_target(self.url.get_secret_value(), self.tls)
        return MySQLTarget(
            host=self.mysql_host or "",
            port=self.mysql_port,
            database=self.mysql_database or "",
            user=self.mysql_user or "",
            password=self.mysql_password or SecretStr(""),
            tls=self.tls,
        )


class Api(Section):
    """``[API]``: the receiver, and how it is treated (SPEC 5)."""

    title = "The receiver of the incidents"

    api_url: Annotated[str, Needed("needed"), Hidden(), Expected("an http:// or https:// address")] = Field(
        description="where incidents are posted (http or https); credentials go into bearer_token or headers",
        examples=["http://localhost:8000/Request_Incident_External_information"],
    )
    max_connections: Whole = Field(default=64, ge=1, le=1000, description="requests under way at once, at most")
    adaptive: bool = Field(
        default=True,
        description="below max_connections, only as many requests under way at once as make the receiver quicker; "
        "off: always max_connections",
    )
    requests_per_second: Number = Field(default=0, ge=0, le=1_000_000, description="requests a second; 0: no limit")
    timeout_seconds: Number = Field(default=30, gt=0, le=3600, description="seconds that one attempt may take")
    max_attempts: Whole = Field(default=5, ge=1, le=100, description="attempts for one incident within a run")
    retry_seconds: Number = Field(
        default=120, ge=0, le=86400, description="seconds that the retries of one incident may take within a run"
    )
    retry_after_cap_seconds: Number = Field(
        default=60, ge=0, le=86400, description="longest Retry-After that is honoured, in seconds"
    )
    breaker_failures: Whole = Field(
        default=5, ge=1, le=10_000, description="failures across accounts, in succession, after which the run stops"
    )
    bearer_token: SecretStr | None = Field(
        default=None, description="sent as `Authorization: Bearer …`", examples=["token-of-the-receiver"]
    )
    headers: Headers = Field(
        default={},
        description="further request headers, one `Name: value` a line, each further line indented",
        examples=["X-Client: incident-process"],
    )
    ca_file: File | None = Field(
        default=None,
        description="PEM file of the authority that signed the receiver's certificate; without it, the system's",
        examples=["/etc/ssl/certs/receiver-ca.pem"],
    )
    send_empty: bool = Field(default=True, description="post {} when there is no new data")
    delivered_when: RuleLines = Field(
        default=(),
        description="answers that mean delivered, one `STATUS TEXT` a line: a status or a class such as 5xx, and a "
        "text of the body or a /regular expression/, in any case; without a text, every body",
        examples=["409 same content"],
    )
    refused_when: RuleLines = Field(
        default=(),
        description="answers that refuse the record for good, in the same form: a dead letter at once",
        examples=["500 already exists in open cases"],
    )
    retry_when: RuleLines = Field(
        default=(), description="answers after which to try again, in the same form", examples=["400 deadlock"]
    )

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers that the settings add to each request, in the clear."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.bearer_token is not None:
            headers["Authorization"] = f"Bearer {self.bearer_token.get_secret_value()}"
        return headers

    @field_validator("api_url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is no URL: write http://host:port/path, the port a number up to 65535") from None
        if parts.scheme not in ("http", "https") or not host or port == 0 or " " in value:
            raise ValueError("is no http:// or https:// address with a host: write http://host:port/path")
        if not host.isascii():
            raise ValueError("has a host that is not ASCII: write its form that begins with xn--")
        if "@" in parts.netloc:
            raise ValueError("holds a user name or password: set bearer_token, or Authorization under headers, instead")
        if parts.fragment:
            raise ValueError("has a part after `#`, which is never sent: remove it")
        return value

    @field_validator("bearer_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not (value.get_secret_value().isascii() and value.get_secret_value().isprintable()):
            raise ValueError("has a character that no header can carry: give the token in printable ASCII")
        return value


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
    chunk_accounts: Whole = Field(default=1000, ge=1, le=100_000, description="accounts that are worked on at a time")
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
        "under the same id and key, or park it as a dead letter for somebody to decide",
    )
    lease_seconds: Number = Field(
        default=60, ge=1, le=86400, description="seconds after which a runner that fell silent is replaced"
    )
    created_by: str = Field(default="drs_admin", min_length=1, max_length=100, description="author named in documents")
    keep_bodies: Annotated[Days, Expected("off or a whole number of days from 0 to 3650")] = Field(
        default=0, ge=0, le=3650, description="days that delivered bodies (personal data) are kept; 0 or off: not"
    )
    execution_duration: Whole = Field(
        default=60, ge=1, le=525_600, description="minutes between runs, given to the operation's row by init"
    )
    log_format: Annotated[Literal["text", "json"], LOWER] = Field(
        default="text", description="log lines as text, or one JSON object a line"
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], UPPER] = Field(
        default="INFO", description="least severity that is logged"
    )

    @property
    def builders(self) -> int | None:
        """``build_processes`` as a number, None where it is left to the program."""
        return None if self.build_processes == "auto" else int(self.build_processes)

    @field_validator("source_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return read_zone(value).key

    @property
    def zone(self) -> ZoneInfo:
        """``source_timezone`` as a time zone."""
        return ZoneInfo(self.source_timezone)


class State(Section):
    """``[STATE]``: where the SQL state is kept, if not in the source database."""

    title = "Where Process_Operation and the program's state are kept when tracking = sql"

    url: Annotated[SecretStr | None, _DATABASE_URL] = Field(
        default=None,
        description="database of the state, written like [DATABASE] URL; without it, the source database",
        examples=["mysql://user:password@host:3306/database"],
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked(value)


SECTIONS: dict[str, type[Section]] = {
    "mongodb": Mongodb,
    "database": Database,
    "api": Api,
    "process": Process,
    "state": State,
    "engine": Engine,
    "dashboard": Dashboard,
    "schedule": Schedule,
    "log": Log,
    "metrics": Metrics,
    "notify": Notify,
    "tracing": Tracing,
}
"""The sections in the order of the file, by their names in lower case."""


def _checked(url: SecretStr | None) -> SecretStr | None:
    if url:
        parse_target(url.get_secret_value())
    return url
