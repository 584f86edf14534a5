"""Connects to MongoDB, and translates the driver's errors into the package's."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, InvalidURI, OperationFailure, PyMongoError
from pymongo.errors import ConfigurationError as DriverConfigurationError

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.settings.database_urls import split_mongo_url

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Checkpoint = Callable[[str], Awaitable[None]]
"""Awaited with a name between the single writes of a step, so that a test can stop or overtake a runner there."""

DUPLICATE_KEY = 11000

# An acknowledged write has to outlive its server (the outbox before the post, SPEC 6). With the limit, a replica set
# without a majority is an error that the run reports, not a silence.
_DURABLE = WriteConcern(w="majority", j=True, wtimeout=20_000)

# Milliseconds; the URL may set others. A replica set without a primary elects another within 10 to 12 s by its own
# defaults, and a connected client waits for that. pymongo has no limit for a silent server, which would outlive the
# lease.
_SELECTION = "serverSelectionTimeoutMS"
_DEFAULTS: dict[str, Any] = {_SELECTION: 20_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 60_000}
FIRST_CONTACT_SECONDS = 5.0
"""Seconds in which a new client has to reach a server, so that a wrong address shows soon."""

_REMEDIES = {
    13: "the user may not do this; grant it readWrite on the database",
    18: "the user name or the password is refused; correct MONGO_URL",
    8000: "the user name or the password is refused; correct MONGO_URL",
}


class Connection:
    """One client for one database; opened and closed by the store."""

    def __init__(self, url: str, database: str) -> None:
        self.server = server_name(url)
        self._url = url
        self._name = database
        self._client: AsyncMongoClient[Document] | None = None

    async def open(self) -> AsyncDatabase[Document]:
        """Connect and return the database; nothing stays open when the server does not answer."""
        given = self._url.lower()
        options = {name: value for name, value in _DEFAULTS.items() if f"{name.lower()}=" not in given}
        self._client = make_client(
            AsyncMongoClient, self._url, tz_aware=True, tzinfo=UTC, appname="incident-process", **options
        )
        soon = pymongo.timeout(FIRST_CONTACT_SECONDS) if _SELECTION in options else nullcontext()
        try:
            with soon:
                await self._client.admin.command("hello")
        except BaseException:
            await self.close()
            raise
        # A secondary lags: it would return an outdated lease or outbox.
        return self._client.get_database(self._name, read_preference=ReadPreference.PRIMARY, write_concern=_DURABLE)

    async def close(self) -> None:
        """Close the client, if it is open."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def server_name(url: str) -> str:
    """Return the hosts of a MongoDB URL, without user name, password and options."""
    return split_mongo_url(url)[1] or "the server"


_C = TypeVar("_C")
_K = TypeVar("_K", bound=type)


def make_client(kind: Callable[..., _C], url: str, **options: Any) -> _C:
    """Return a client of the driver, not yet connected; raise ConfigurationError for a wrong URL."""
    try:
        return kind(url, **options)
    except OSError as exc:
        raise ConfigurationError(
            "[MONGODB] MONGO_URL: a file that it names cannot be read or is no certificate; "
            "give tlsCAFile and tlsCertificateKeyFile the path of a PEM file."
        ) from exc
    except (InvalidURI, DriverConfigurationError, ValueError) as exc:  # ValueError: the driver's word for a wrong port
        raise _refused_address(exc, server_name(url)) from exc


def _refused_address(exc: Exception, server: str) -> IncidentProcessError:
    """Return the error for a URL that the driver refuses: it is wrong, or its mongodb+srv name was not found."""
    if type(exc.__cause__).__module__.startswith("dns."):
        return DatabaseConnectionError(
            f"MongoDB at {server}: the resolver does not find the hosts of this mongodb+srv name "
            f"({type(exc.__cause__).__name__}); check the name in [MONGODB] MONGO_URL, and this machine's resolver."
        )
    return ConfigurationError(
        "[MONGODB] MONGO_URL: this is no address of a MongoDB server; "
        "write it as mongodb://user:password@host:27017/, with %-escapes in user and password."
    )


@contextmanager
def translating(server: str) -> Iterator[None]:
    """Raise the package's errors in place of the driver's.

    The message names the server and the driver's error by class and number only: the driver's own text may quote
    documents, and those hold account numbers.
    """
    try:
        yield
    except (InvalidURI, DriverConfigurationError) as exc:
        raise _refused_address(exc, server) from exc
    except BulkWriteError as exc:
        # Its text contains the whole batch with its documents; as a cause it would reach a log's traceback.
        raise DatabaseConnectionError(f"MongoDB at {server}: {describe(exc)}.") from None
    except (PyMongoError, BSONError) as exc:
        raise DatabaseConnectionError(f"MongoDB at {server}: {describe(exc)}.") from exc


def translated(kind: _K) -> _K:
    """Let every asynchronous method of a class run in ``translating``; its ``server`` is named in the errors."""
    for name, method in tuple(vars(kind).items()):
        if inspect.iscoroutinefunction(method):
            setattr(kind, name, _translated(method))
    return kind


def _translated(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        with translating(self.server):
            return await method(self, *args, **kwargs)

    return call


def describe(exc: Exception) -> str:
    """Return what a driver's error is and what to do, without quoting a document or credential."""
    name = type(exc).__name__
    if isinstance(exc, BulkWriteError):
        codes = sorted({int(error.get("code", 0)) for error in exc.details.get("writeErrors", ())})
        return f"{name} (codes {codes}); part of a batch was refused"
    if isinstance(exc, OperationFailure):
        return f"{name} (code {exc.code}); {_REMEDIES.get(exc.code or 0, 'the server refused the command')}"
    if isinstance(exc, ConnectionFailure):
        return f"{name}; the server does not answer, see that it runs and that MONGO_URL names it"
    return name
