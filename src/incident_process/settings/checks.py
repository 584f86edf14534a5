"""Missing keys, and keys without effect: the rules between keys. Rules of a single key are in ``keys``."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from incident_process.core.models import Tracking
from incident_process.settings.key_docs import label
from incident_process.settings.messages import Problem, missing
from incident_process.settings.normalize import RawSettings

_MYSQL_KEYS = ("mysql_host", "mysql_database", "mysql_user", "mysql_password")
_TLS_FILES = ("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def missing_keys(raw: RawSettings) -> Iterator[Problem]:
    """Yield a problem for each missing key that the other keys make necessary."""
    yield from missing_keys_of(raw, "database")
    yield from missing_keys_of(raw, "api")
    if _tracking(raw) == Tracking.MONGO:
        yield from _mongo_gaps(raw, ", or set [PROCESS] tracking = sql")
    yield from _engine_gaps(raw)
    yield from missing_keys_of(raw, "dashboard")


def missing_keys_of(raw: RawSettings, section: str) -> Iterator[Problem]:
    """Yield a problem for each missing key that this section needs by itself, whatever the other sections say."""
    match section:
        case "database":
            yield from _database_gaps(raw)
        case "mongodb":
            yield from _mongo_gaps(raw)
        case "api" if not raw.has("api", "api_url"):
            yield missing("api", "api_url", raw.default_origin)
        case "dashboard" if raw.has("dashboard", "unmask_token") and not raw.has("dashboard", "token"):
            remedy = ", which guards everything that needs no unmask_token"
            yield missing("dashboard", "token", raw.default_origin, remedy)


def _database_gaps(raw: RawSettings) -> Iterator[Problem]:
    origin = raw.default_origin
    if not raw.has("database", "url"):
        for name in _MYSQL_KEYS:
            if not raw.has("database", name):
                yield missing("database", name, origin, ", or set URL = sqlite:///incidents.db in its place")
    if raw.has("database", "mysql_ssl_key") and not raw.has("database", "mysql_ssl_cert"):
        yield missing("database", "mysql_ssl_cert", origin, ", which MYSQL_SSL_KEY belongs to")
    verify, ca = str(raw.get("database", "mysql_ssl_verify") or "").lower(), raw.has("database", "mysql_ssl_ca")
    if verify == "ca" and not ca:
        remedy = "; without it any server with a certificate of a public authority would pass for this one"
        yield missing("database", "mysql_ssl_ca", origin, remedy)
    if ca and raw.has("database", "mysql_ssl_verify") and _off(raw.get("database", "mysql_ssl_verify")):
        text = "is off, so the authority in MYSQL_SSL_CA is not asked: set ca or on, or remove MYSQL_SSL_CA"
        yield Problem(section="database", name="mysql_ssl_verify", text=text, origin=origin)


def _mongo_gaps(raw: RawSettings, remedy: str = "") -> Iterator[Problem]:
    for name in ("mongo_url", "database_name"):
        if not raw.has("mongodb", name):
            yield missing("mongodb", name, raw.default_origin, remedy)


def _engine_gaps(raw: RawSettings) -> Iterator[Problem]:
    """Yield a problem for each database that the workers of a cluster could not share."""
    if not _spread(raw) or not raw.get("engine", "scheduler"):
        return
    why = "is a SQLite file, which workers on other machines cannot share: name a MySQL or MariaDB database"
    if _sqlite(raw.get("database", "url")):
        text = f"{why}, or remove [ENGINE] scheduler"
        yield Problem(section="database", name="url", text=text, origin=raw.default_origin)
    if _tracking(raw) == Tracking.SQL and _sqlite(raw.get("state", "url")):
        text = f"{why}, set [PROCESS] tracking = mongo, or remove [ENGINE] scheduler"
        yield Problem(section="state", name="url", text=text, origin=raw.default_origin)


def warnings(raw: RawSettings) -> Iterator[str]:
    """Yield a warning for each key without effect, and for each risk that its writer may not have seen."""
    origin = raw.default_origin
    if raw.get("database", "url") and raw.get("database", "mysql_host"):
        yield f"{origin}: {label('database', 'url')} is set, so the MYSQL keys of the connection have no effect."
    if raw.get("database", "replicas") and _sqlite(raw.get("database", "url")):
        yield f"{origin}: {label('database', 'replicas')} has no effect: a SQLite source has no replicas."
    if raw.get("state", "url") and _tracking(raw) == Tracking.MONGO:
        yield f"{origin}: {label('state', 'url')} has no effect with tracking = mongo."
    if raw.get("schedule", "cron") and _tracking(raw) == Tracking.SQL:
        yield f"{origin}: {label('schedule', 'cron')} has no effect with tracking = sql: Next_execution_dtm decides."
    if raw.get("engine", "scheduler") and not _spread(raw):
        yield f"{origin}: {label('engine', 'scheduler')} has no effect with engine = local."
    if _spread(raw) and _leaves_host(raw.get("engine", "scheduler"), "tcp"):
        yield (
            f"{origin}: {label('engine', 'scheduler')} is open to all who reach it, and who does may run code on the "
            "workers: use a tls:// address, or a network of its own."
        )
    if _off(raw.get("database", "mysql_ssl")) and any(raw.get("database", name) for name in _TLS_FILES):
        yield f"{origin}: the certificates in [DATABASE] have no effect while MYSQL_SSL is off."
    if raw.get("api", "bearer_token") and _leaves_host(raw.get("api", "api_url"), "http"):
        yield f"{origin}: {label('api', 'bearer_token')} travels unencrypted: use an https:// address."


def _tracking(raw: RawSettings) -> str:
    """Return the tracking that the settings name, which may be an unknown one."""
    value: Any = raw.get("process", "tracking")
    if value is None:
        return "" if raw.has("process", "tracking") else Tracking.MONGO
    return str(value).lower()


def _spread(raw: RawSettings) -> bool:
    return str(raw.get("engine", "engine") or "").lower() == "dask"


def _sqlite(url: Any) -> bool:
    text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
    return text.lower().startswith("sqlite:")


def _off(value: Any) -> bool:
    return value is None or str(value).lower() in ("off", "false", "no", "0")


def _leaves_host(address: Any, scheme: str) -> bool:
    """Return whether an address has this scheme, which encrypts nothing, and leads to another host."""
    try:
        parts = urlsplit(str(address))
    except ValueError:
        return False
    return parts.scheme == scheme and parts.hostname not in LOOPBACK
