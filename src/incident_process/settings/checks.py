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
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def missing_keys(given: RawSettings) -> Iterator[Problem]:
    """Yield a problem for each missing key that the other keys make necessary."""
    yield from missing_keys_of(given, "database")
    yield from missing_keys_of(given, "api")
    if _tracking(given) == Tracking.MONGO:
        yield from _mongo_gaps(given, ", or set [PROCESS] tracking = sql")
    yield from _engine_gaps(given)
    yield from missing_keys_of(given, "dashboard")


def missing_keys_of(given: RawSettings, section: str) -> Iterator[Problem]:
    """Yield a problem for each missing key that this section needs by itself, whatever the other sections say."""
    match section:
        case "database":
            yield from _database_gaps(given)
        case "mongodb":
            yield from _mongo_gaps(given)
        case "api" if not given.has("api", "api_url"):
            yield missing("api", "api_url", given.default_origin)
        case "dashboard" if given.has("dashboard", "unmask_token") and not given.has("dashboard", "token"):
            remedy = ", which guards everything that needs no unmask_token"
            yield missing("dashboard", "token", given.default_origin, remedy)


def _database_gaps(given: RawSettings) -> Iterator[Problem]:
    origin = given.default_origin
    if not given.has("database", "url"):
        for name in _MYSQL_KEYS:
            if not given.has("database", name):
                yield missing("database", name, origin, ", or set URL = sqlite:///incidents.db in its place")
    if given.has("database", "mysql_ssl_key") and not given.has("database", "mysql_ssl_cert"):
        yield missing("database", "mysql_ssl_cert", origin, ", which MYSQL_SSL_KEY belongs to")
    verify, ca = str(given.get("database", "mysql_ssl_verify") or "").lower(), given.has("database", "mysql_ssl_ca")
    if verify == "ca" and not ca:
        remedy = "; without it whoever has a certificate of any public authority would pass for the server"
        yield missing("database", "mysql_ssl_ca", origin, remedy)
    if ca and given.has("database", "mysql_ssl_verify") and _off(given.get("database", "mysql_ssl_verify")):
        text = "is off, so the authority in MYSQL_SSL_CA is not asked: set ca or on, or remove MYSQL_SSL_CA"
        yield Problem(section="database", name="mysql_ssl_verify", text=text, origin=origin)


def _mongo_gaps(given: RawSettings, remedy: str = "") -> Iterator[Problem]:
    for name in ("mongo_url", "database_name"):
        if not given.has("mongodb", name):
            yield missing("mongodb", name, given.default_origin, remedy)


def _engine_gaps(given: RawSettings) -> Iterator[Problem]:
    """Yield a problem for each database that the workers of a cluster could not share."""
    if not _spread(given) or not given.get("engine", "scheduler"):
        return
    why = "is a SQLite file, which workers on other machines cannot share: name a MySQL or MariaDB database"
    state = given.get("state", "url")
    in_sql = _tracking(given) == Tracking.SQL
    if _sqlite(given.get("database", "url")):
        text = f"{why}, or remove [ENGINE] scheduler"
        yield Problem(section="database", name="url", text=text, origin=given.default_origin)
    if in_sql and _sqlite(state):
        text = f"{why}, set [PROCESS] tracking = mongo, or remove [ENGINE] scheduler"
        yield Problem(section="state", name="url", text=text, origin=given.default_origin)


def warnings(given: RawSettings) -> Iterator[str]:
    """Yield a warning for each key without effect, and for each risk that its writer may not have seen."""
    origin = given.default_origin
    if given.get("database", "url") and given.get("database", "mysql_host"):
        yield f"{origin}: {label('database', 'url')} is set, so the MYSQL keys of the connection have no effect."
    if given.get("database", "replicas") and _sqlite(given.get("database", "url")):
        yield f"{origin}: {label('database', 'replicas')} has no effect: a SQLite source has no replicas."
    if given.get("state", "url") and _tracking(given) == Tracking.MONGO:
        yield f"{origin}: {label('state', 'url')} has no effect with tracking = mongo."
    if given.get("schedule", "cron") and _tracking(given) == Tracking.SQL:
        yield f"{origin}: {label('schedule', 'cron')} has no effect with tracking = sql: Next_execution_dtm decides."
    if given.get("engine", "scheduler") and not _spread(given):
        yield f"{origin}: {label('engine', 'scheduler')} has no effect with engine = local."
    if _spread(given) and _plain_scheduler(given.get("engine", "scheduler")):
        yield (
            f"{origin}: {label('engine', 'scheduler')} is open to all who reach it, and who does may run code on the "
            "workers: use a tls:// address, or a network of its own."
        )
    if _off(given.get("database", "mysql_ssl")) and any(given.get("database", name) for name in _TLS_FILES):
        yield f"{origin}: the certificates in [DATABASE] have no effect while MYSQL_SSL is off."
    if given.get("api", "bearer_token") and _unencrypted(given.get("api", "api_url")):
        yield f"{origin}: {label('api', 'bearer_token')} travels unencrypted: use an https:// address."


def _tracking(given: RawSettings) -> str:
    """Return the tracking that the settings name, which may be an unknown one."""
    value: Any = given.get("process", "tracking")
    if value is None:
        return "" if given.has("process", "tracking") else Tracking.MONGO
    return str(value).lower()


def _spread(given: RawSettings) -> bool:
    return str(given.get("engine", "engine") or "").lower() == "dask"


def _plain_scheduler(address: Any) -> bool:
    try:
        parts = urlsplit(str(address or ""))
    except ValueError:
        return False
    return parts.scheme == "tcp" and parts.hostname not in _LOOPBACK


def _sqlite(url: Any) -> bool:
    text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
    return text.lower().startswith("sqlite:")


def _off(value: Any) -> bool:
    return value is None or str(value).lower() in ("off", "false", "no", "0")


def _unencrypted(url: Any) -> bool:
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK
