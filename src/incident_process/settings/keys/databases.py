"""The keys of ``[MONGODB]``, ``[DATABASE]`` and ``[STATE]``: where rows come from and where the state is kept."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator

from incident_process.settings.database_urls import (
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
from incident_process.settings.field_types import SWITCH, Expected, File, Hidden, Needed, Number, Whole
from incident_process.settings.keys.section import Section

_MYSQL_NEED = Needed("needed unless URL is set")
_MONGO_NEED = Needed("needed with tracking = mongo")


def _parsed(url: SecretStr | None) -> SecretStr | None:
    if url:
        parse_target(url.get_secret_value())
    return url


_DatabaseUrl = Annotated[
    SecretStr | None,
    AfterValidator(_parsed),
    Expected("sqlite:///file.db or mysql://user:password@host:3306/database"),
]


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

    url: _DatabaseUrl = Field(
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


class State(Section):
    """``[STATE]``: where the SQL state is kept, if not in the source database."""

    title = "Where Process_Operation and the program's state are kept when tracking = sql"

    url: _DatabaseUrl = Field(
        default=None,
        description="database of the state, written like [DATABASE] URL; without it, the source database",
        examples=["mysql://user:password@host:3306/database"],
    )
