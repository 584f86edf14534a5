"""The keys of ``[API]``: the receiver, and how the program treats it (SPEC 5)."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from incident_process.settings.answer_rules import RuleLines
from incident_process.settings.field_types import Expected, File, Headers, Hidden, Needed, Number, Whole
from incident_process.settings.keys.section import Section


class Api(Section):
    """``[API]``: the receiver, and how the program treats it (SPEC 5)."""

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
        default=5,
        ge=1,
        le=10_000,
        description="failures across accounts, in succession, after which a run sends only trial requests; "
        "it stops where the receiver takes none of them",
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
    send_empty: bool = Field(
        default=True, description="post {} when there is no new data, and to ask whether a failing service is at work"
    )
    delivered_when: RuleLines = Field(
        default=(),
        description="answers that mean delivered, one `STATUS TEXT` a line: a status or a class such as 5xx, and a "
        "text of the body or a /regular expression/ in its first 4,096 characters, in any case; without a "
        "text, every body",
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
        """The headers that the settings add to each request, unmasked."""
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
