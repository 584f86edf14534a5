"""Connection settings in the form that the connecting code needs, passwords masked.

URLs are ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and ``mysql://user:password@host:3306/database``
(``mariadb://`` means the same). Each part is percent-decoded. No error message repeats any part of a URL.
"""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import SecretStr

from incident_process.core.errors import ConfigurationError

MYSQL_PORT = 3306
_FORMS = "sqlite:///file.db or mysql://user:password@host:3306/database"
_REPLICAS = "mysql://host:3306/database, mysql://user:password@host:3306/database"
_MAX_PORT = 65535
_MONGO_HOST = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::(?P<port>.*))?", re.DOTALL)


Verify = Literal["on", "ca", "off"]
"""Which checks of a server's certificate apply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """How MySQL connections are encrypted.

    ``ca`` None means the system's authorities; ``cert`` and ``key`` identify this client, where the server asks.
    ``verify``: ``on`` checks the authority and the host name of the server's certificate, ``ca`` only the authority.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: Verify = "on"

    def context(self) -> ssl.SSLContext:
        """Return a new TLS context.

        Raises:
            ConfigurationError: A file is no certificate or key, or the key does not fit the certificate.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as exc:
            raise ConfigurationError("[DATABASE] MYSQL_SSL_CA holds no certificate: give a file in PEM form.") from exc
        context.check_hostname = self.verify == "on"
        if self.verify == "off":
            context.verify_mode = ssl.CERT_NONE
        if self.ca:
            # From Python 3.13 on certificates need extensions that MySQL's own certificates lack, and those of many
            # companies' own authorities. The chain is checked as before.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as exc:
                raise ConfigurationError(
                    "[DATABASE] MYSQL_SSL_CERT and MYSQL_SSL_KEY are no pair of certificate and key: give both in PEM "
                    "form, the key without a passphrase."
                ) from exc
        return context


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteTarget:
    """A SQLite file, as an absolute path."""

    path: Path

    @property
    def place(self) -> str:
        """Return its name for messages and the state."""
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MySQLTarget:
    """A MySQL or MariaDB database over TCP; ``tls`` None means unencrypted."""

    host: str
    port: int = MYSQL_PORT
    database: str
    user: str
    password: SecretStr
    tls: Tls | None = None

    @property
    def place(self) -> str:
        """Return its name for messages and the state: without user and password."""
        return f"mysql://{self.host.lower()}:{self.port}/{self.database}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the driver's ``ssl`` argument; None without TLS."""
        return self.tls.context() if self.tls else None


@dataclass(frozen=True, kw_only=True, slots=True)
class MongoTarget:
    """A MongoDB deployment and the database in it. The URL may hold a password."""

    url: SecretStr
    database: str


Target = SqliteTarget | MySQLTarget


def parse_target(url: str, tls: Tls | None = None) -> Target:
    """Return the database that a URL names.

    Args:
        url: One of the forms above. A relative SQLite path is relative to the current folder.
        tls: How a MySQL connection is encrypted; a URL does not say it.

    Raises:
        ValueError: The URL names no database that this program can use. The message is the end of a sentence.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"is no database URL: write {_FORMS}")
    match scheme.lower():
        case "sqlite":
            return _sqlite(rest)
        case "mysql" | "mariadb":
            return _mysql(rest, tls)
        case "postgres" | "postgresql":
            raise ValueError(f"names PostgreSQL, which is not supported: write {_FORMS}")
        case _:
            raise ValueError(f"names a kind of database that is not supported: write {_FORMS}")


def parse_replicas(urls: str, main: MySQLTarget | None = None) -> tuple[MySQLTarget, ...]:
    """Return the databases that a list of MySQL URLs names, separated by commas.

    Args:
        urls: Written like the main URL. One without ``user:password@`` or without a database takes them from ``main``.
        main: The source database, whose encryption applies to all of them; None only checks the form of the URLs.

    Raises:
        ValueError: A URL names no MySQL database, or two name the same server. The message is the end of a sentence.
    """
    base = main or MySQLTarget(host="", database="main", user="main", password=SecretStr(""))
    targets: list[MySQLTarget] = []
    for place, url in enumerate(urls.split(","), start=1):
        scheme, _, rest = url.strip().partition("://")
        if scheme.lower() not in ("mysql", "mariadb"):
            raise ValueError(
                f"has no mysql:// URL in its place {place}: write {_REPLICAS} (a comma in a password: %2C)"
            )
        try:
            target = _mysql(rest, base.tls, base)
        except ValueError as exc:
            raise ValueError(f"names a replica, in its place {place}, that {exc}") from None
        if any((one.host, one.port) == (target.host, target.port) for one in targets):
            raise ValueError(f"names a server a second time in its place {place}: name each once")
        targets.append(target)
    return tuple(targets)


def split_mongo_url(url: str) -> tuple[str, str, str]:
    """Return the credentials, the hosts and the database of a MongoDB URL, each "" where there is none.

    As the driver reads it: the first / or ? ends the hosts, the last @ before that the credentials. A later @ belongs
    to an option, whose value may be a secret.
    """
    rest = url.partition("://")[2]
    place = re.split("[/?]", rest, maxsplit=1)[0]
    credentials, _, hosts = place.rpartition("@")
    return credentials, hosts, rest[len(place) :].partition("?")[0].removeprefix("/")


def check_mongo_url(url: str) -> None:
    """Check the hosts and ports of a MongoDB URL; the driver, which is not loaded for this, checks the rest.

    Raises:
        ValueError: A host or port is wrong. The message is the end of a sentence.
    """
    scheme = url.partition("://")[0]
    if scheme not in ("mongodb", "mongodb+srv"):
        raise ValueError("is no MongoDB address: write mongodb://host:27017/ or mongodb+srv://host/")
    _, hosts, _ = split_mongo_url(url)
    if scheme == "mongodb+srv" and set(hosts) & set(":,"):
        raise ValueError(
            "gives a port or several hosts to mongodb+srv://, which finds them: write mongodb+srv://host/, and special "
            "characters of the password percent-encoded"
        )
    for host in hosts.split(","):
        if host.endswith(".sock"):
            continue
        found = _MONGO_HOST.fullmatch(host)
        if found is None:
            raise ValueError(
                "has a host that is missing or no name or address: write mongodb://host:27017/, several hosts "
                "separated by commas, an IPv6 address in brackets"
            )
        if found["port"] is not None and not _is_port(found["port"]):
            raise ValueError(_wrong_port("mongodb://host:27017/"))


def _sqlite(rest: str) -> SqliteTarget:
    if not rest.startswith("/"):
        raise ValueError("lacks a slash: write sqlite:///relative.db or sqlite:////absolute.db, with nothing before")
    if "?" in rest:
        raise ValueError("has options after `?`, which are not supported: name the file alone (`?` in a name is %3F)")
    name = unquote(rest[1:])
    if not name or name == ":memory:" or "\0" in name:
        raise ValueError("names no file: what was delivered must outlive the run, so write sqlite:///incidents.db")
    return SqliteTarget(path=Path(name).absolute())


def _mysql(rest: str, tls: Tls | None, base: MySQLTarget | None = None) -> MySQLTarget:
    # The last @ ends the credentials, so a pasted password with / ? # or @ in it still counts as one.
    credentials, _, location = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    address, _, database = location.partition("/")
    if "?" in database or "#" in database:
        raise ValueError("has options after the database, which are not supported: TLS is set by the MYSQL_SSL keys")
    host, port = _address(address)
    parts = {"user": unquote(user), "host": host, "database": unquote(database)}
    secret = SecretStr(unquote(password))
    if base is not None:
        parts["database"] = parts["database"] or base.database
        if not credentials:
            parts["user"], secret = base.user, base.password
    missing = [name for name, value in parts.items() if not value]
    if missing:
        raise ValueError(f"lacks the {' and the '.join(missing)}: write mysql://user:password@host:3306/database")
    return MySQLTarget(**parts, port=port, password=secret, tls=tls)


def _address(address: str) -> tuple[str, int]:
    """Split ``host:port`` and ``[::1]:port``."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = address.partition(":")
    if not port:
        return host, MYSQL_PORT
    if not _is_port(port):
        raise ValueError(_wrong_port("host:3306"))
    return host, int(port)


def _is_port(text: str) -> bool:
    # isdecimal alone would accept digits of other scripts; the length bounds what int must read
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_PORT)) and 1 <= int(text) <= _MAX_PORT


def _wrong_port(right: str) -> str:
    return (
        f"has a port that is no number from 1 to {_MAX_PORT}: write {right}, an IPv6 address in brackets, "
        "and special characters of the password percent-encoded"
    )
