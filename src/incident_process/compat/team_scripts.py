"""The names that the team's scripts use, over the code of ``run`` (SPEC 9).

Each call finds the settings as the command does (SPEC 8), and reads only the section that it needs. An incident sent
from here bypasses the ledger: use it for one account by hand. Scheduled work belongs to ``run``, which keeps the
promise.
"""

import hashlib
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from incident_process.app.factory import make_source, make_store, make_transport
from incident_process.app.runner import in_loop
from incident_process.core import arguments, logs
from incident_process.core.errors import (
    ConfigurationError,
    DataProcessingError,
    IncidentCreationError,
    IncidentProcessError,
    LeaseLostError,
    OperationRefusedError,
)
from incident_process.core.models import NEVER, Advance, Incident, RunStatus, Tracking, Window
from incident_process.core.process_identity import Runner
from incident_process.core.window import operation_refusal, system_date, window_until
from incident_process.database.connect import connect_blocking
from incident_process.delivery.failure_text import secrets_of
from incident_process.delivery.idempotency import idempotency_key
from incident_process.delivery.policy import ResponseClass
from incident_process.delivery.response_rules import ResponseRules
from incident_process.delivery.sender import Sender
from incident_process.document.assembly import DocumentContent, build_content, build_document, digest
from incident_process.document.convert import stamp
from incident_process.document.envelope import check
from incident_process.pipeline.processor import limits
from incident_process.settings import Api, Database, Mongodb, Settings
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source.columns import CUSTOMER_COLUMNS

if TYPE_CHECKING:
    import pymysql
    from pymongo.collection import Collection

log = logs.get_logger()
_encoder = msgspec.json.Encoder(decimal_format="number")
Moment = datetime | date | str
"""A time, or a day; text in ISO form."""


def get_mysql_connection() -> "pymysql.Connection[Any]":
    """Return an open DB-API connection to the source database; the caller closes it.

    Its session follows SPEC 2, whatever the server's settings: text in utf8mb4, times in UTC, no limit on rows or time,
    strict values, no autocommit. A log line at INFO says that it is connected, one at ERROR why it is not.

    Raises ConfigurationError when ``[DATABASE]`` is wrong or names no MySQL, or the session cannot be set,
    DatabaseConnectionError when the database cannot be reached.
    """
    target = Settings.load_section(Database).target
    if not isinstance(target, MySQLTarget):
        raise ConfigurationError(
            "[DATABASE] URL names a SQLite file: set MYSQL_HOST and its neighbours, or open the file with sqlite3."
        )
    where = f"The MySQL source database {target.database} at {target.host}:{target.port}"
    try:
        connection = connect_blocking(target, where)
    except IncidentProcessError as exc:
        log.error("%s", exc, extra=logs.event("connection_failed"))
        raise
    log.info("%s is connected.", where, extra=logs.event("connected"))
    return connection


def get_mongo_collection(name: str) -> "Collection[dict[str, Any]]":
    """Return a collection of the configured MongoDB database, for synchronous use.

    Raises ConfigurationError when ``[MONGODB]`` is wrong, DatabaseConnectionError when the server does not answer
    within five seconds.
    """
    from pymongo import MongoClient

    from incident_process.state.mongo.connection import make_client, server_name, translating

    target = Settings.load_section(Mongodb).target
    url = target.url.get_secret_value()
    with translating(server_name(url)):
        client: MongoClient[dict[str, Any]] = make_client(
            MongoClient, url, tz_aware=True, serverSelectionTimeoutMS=5000
        )
        try:
            client.admin.command("ping")
        except BaseException:
            client.close()  # the caller never gets it
            raise
    return client[target.database][name]


def read_api_config() -> str:
    """Return the receiver's URL, validated.

    Raises APIConfigError when it is missing or wrong, ConfigurationError when something else of ``[API]`` is.
    """
    return Settings.load_section(Api).api_url


class create_incident:  # noqa: N801  # the name in the team's scripts
    """One account's incident, step by step: the same document code as ``run``.

    ``mongo_data`` is the document so far, as plain types with amounts as Decimal.
    """

    def __init__(self, account_num: object, incident_id: object) -> None:
        """Check both arguments; raise ValueError, saying what would be right."""
        self.account_num = arguments.account_number(account_num)
        self.incident_id = arguments.incident_id(incident_id)
        self._settings: Settings | None = None
        self._draft: DocumentContent | None = None
        self._rows: Any = None
        self._now = datetime.now(UTC)
        self.mongo_data = self.initialize_mongo_doc()

    def __repr__(self) -> str:
        """Show which incident it is, and nothing of its content."""
        return f"create_incident(incident_id={self.incident_id})"

    def initialize_mongo_doc(self) -> dict[str, Any]:
        """Return the document before anything is read: every property, empty."""
        blank = tuple(NEVER if column == "LOAD_DATE" else None for column in CUSTOMER_COLUMNS)
        return self._document(build_content(self.account_num, [blank], [], ZoneInfo("UTC")))

    def read_customer_details(self, time_period_start: object = None, time_period_end: Moment | None = None) -> str:
        """Read the account's customer rows into ``mongo_data`` and return ``"success"``.

        The document is complete as of ``time_period_end`` (by default now less the time gap), so the start of the
        period does not matter. Both may be a date or text in ISO form; a date alone means its whole day, and a time
        without a zone is in ``source_timezone``.

        Raises ValueError for a text that is no date or time, DataProcessingError when there is no customer row or a
        value does not fit, DatabaseConnectionError when the source cannot be reached.
        """
        self._read(time_period_start, time_period_end)
        self._need_customer()
        self._draft = build_content(self.account_num, self._rows.customers, [], self._need_settings().process.zone)
        self.mongo_data = self._document(self._draft)
        return "success"

    def get_payment_data(self, time_period_start: object = None, time_period_end: Moment | None = None) -> str:
        """Put the newest payment into ``mongo_data``; return ``"success"``, or ``"failure"`` when there is none.

        Without a period it uses the rows of ``read_customer_details``, and calls that first if needed. It raises the
        same errors.
        """
        if self._rows is None:
            self.read_customer_details(time_period_start, time_period_end)
        elif (time_period_start, time_period_end) != (None, None):
            self._read(time_period_start, time_period_end)
        self._need_customer()
        zone = self._need_settings().process.zone
        self._draft = build_content(self.account_num, self._rows.customers, self._rows.payments, zone)
        self.mongo_data["Last_Actions"] = self._document(self._draft)["Last_Actions"]
        return "success" if self._rows.payments else "failure"

    def format_json_object(self) -> str:
        """Return ``mongo_data`` as JSON, with dates as ``json_serializer`` returns them.

        Raises DataProcessingError when it no longer fits the contract.
        """
        body = _encoded(self.mongo_data)
        check(body)
        return msgspec.json.format(body, indent=4).decode()

    def json_serializer(self, obj: object) -> object:
        """Return a JSON form of a date, Decimal or None, as ``default`` of ``json.dumps``; else raise TypeError."""
        if isinstance(obj, date):
            return _stamped(obj)
        if isinstance(obj, Decimal):
            return float(obj)
        if obj is None:
            return ""
        raise TypeError(f"{type(obj).__name__} has no JSON form")

    def send_to_api(self, json_payload: str | bytes | dict[str, Any] | None = None, api_url: str | None = None) -> bool:
        """Send a document (``mongo_data`` when none is given) with the retries of ``run``, and return True.

        An ``api_url`` other than the configured one gets no configured credentials. Raises ValueError for a payload
        that is neither JSON (text or UTF-8 bytes) nor a dict, DataProcessingError for one that does not fit the
        contract (it sends neither), IncidentCreationError when the receiver rejected it or could not be reached.
        """
        body = _encoded(self.mongo_data) if json_payload is None else _payload(json_payload)
        check(body)
        settings = self._need_settings()
        url = api_url or settings.api.api_url
        content = self._content_digest(body)
        incident = Incident(
            incident_id=self.incident_id,
            account=self.account_num,
            digest=content,
            key=idempotency_key(settings.process.operation_name, self.account_num, content),
            body=bytes(msgspec.json.format(body, indent=-1)),
        )
        log.debug(logs.payload_message(logs.mask_body(body)), extra=logs.event("payload"))
        log.info(logs.sending_message(url), extra=logs.event("sending"))
        in_loop(_send(settings, url, incident))
        log.info(logs.SENT, extra=logs.event("sent"))
        return True

    def process_incident(self, time_period_start: object = None, time_period_end: Moment | None = None) -> bool:
        """Read, build and send; return True. Raises ValueError for the period, else one of this package's errors."""
        self.read_customer_details(time_period_start, time_period_end)
        self.get_payment_data()
        return self.send_to_api(self.format_json_object())

    def _content_digest(self, body: bytes) -> str:
        """Return the digest that ``run`` has for this content, or the body's own where a caller has changed it.

        A document changed by hand must not look like a repetition of the one that ``run`` delivered.
        """
        if self._draft is not None and json.loads(body, parse_float=Decimal) == self._document(self._draft):
            return digest(self._draft)
        return hashlib.sha256(body).hexdigest()

    def _need_customer(self) -> None:
        if not self._rows.customers:
            raise DataProcessingError("the account has no customer row, so no incident can be made of it")

    def _need_settings(self) -> Settings:
        if self._settings is None:
            self._settings = Settings.load()
        return self._settings

    def _document(self, content: DocumentContent) -> dict[str, Any]:
        created_by = self._settings.process.created_by if self._settings else "drs_admin"
        incident = build_document(content, self.incident_id, self._now, created_by)
        found: dict[str, Any] = json.loads(_encoder.encode(incident), parse_float=Decimal)
        return found

    def _read(self, start: object, end: object) -> None:
        settings = self._need_settings()
        process = settings.process
        if isinstance(start, str):
            arguments.instant(start, "time_period_start", process.zone)
        until = None if end is None else arguments.period_end(end, process.zone)

        async def read() -> Any:
            async with make_source(settings) as source:
                as_of = until or system_date(await source.now(), process.time_gap_seconds, process.tracking).astimezone(
                    UTC
                )
                return (await source.read([self.account_num], as_of))[0]

        self._rows = in_loop(read())


class ProcessOperation:
    """The gate and the update of the SQL table ``Process_Operation`` (SPEC 6), for a script's work between them.

    ``operation_name`` None means the configured one.
    """

    def __init__(self, operation_name: str | None = None) -> None:
        settings = Settings.load()
        if settings.process.tracking is not Tracking.SQL:
            raise ConfigurationError(
                "[PROCESS] tracking is mongo: the SQL table Process_Operation is kept with tracking = sql only."
            )
        if operation_name is not None:
            process = settings.process.model_copy(update={"operation_name": operation_name})
            settings = settings.model_copy(update={"process": process})
        self._settings = settings

    def gate(self) -> Window | None:
        """Return the window that is due, None when none is due yet.

        Raises OperationRefusedError when the operation is inactive or terminated.
        """
        return in_loop(self._gate())

    def update(self, window: Window | None, *, new_data: bool = True) -> int:
        """Close a window in one transaction and return the new sequence.

        With new data it sets Last_execution_dtm, Next_execution_dtm and the sequence, without only Next_execution_dtm.
        Raises LeaseHeldError while a runner is at work, LeaseLostError when another run has closed the window,
        ValueError for the None of a closed gate.
        """
        if window is None:
            raise ValueError(
                "window must be one that gate() returned: None says that no run is due, so there is nothing to close"
            )
        return in_loop(self._update(window, new_data=new_data))

    async def _gate(self) -> Window | None:
        process = self._settings.process
        async with make_source(self._settings) as source, make_store(self._settings) as store:
            end = system_date(await source.now(), process.time_gap_seconds, Tracking.SQL)
            operation = await store.read_operation()
        refused = operation_refusal(Tracking.SQL, process.operation_name, operation, end)
        if refused is None and operation is not None:
            return window_until(operation, end)
        if refused is not None and refused.status is RunStatus.NOT_DUE:
            log.info(refused.message, extra=logs.event("run_refused", status=refused.status.value))
            return None
        raise OperationRefusedError(refused.message if refused else "")

    async def _update(self, window: Window, *, new_data: bool) -> int:
        async with make_store(self._settings) as store:
            await store.require()
            lease = await store.acquire_lease(str(Runner.this()), self._settings.process.lease_seconds)
            try:
                operation = await store.read_operation()
                if operation is None or operation.last_execution != window.start:
                    raise LeaseLostError(
                        "Process_Operation is no longer where the window began: another run has closed it"
                    )
                step = Advance(
                    before=operation,
                    new_data=new_data,
                    watermark=window.end,
                    system_date=window.end,
                    ended_at=datetime.now(UTC),
                )
                return (await store.advance(lease, step)).sequence
            finally:
                await store.release_lease(lease)


def _payload(given: object) -> bytes:
    match given:
        case str():
            return given.encode(errors="surrogatepass")  # the document's check rejects bytes that are no UTF-8
        case bytes() | bytearray():
            return bytes(given)
        case dict():
            return _encoded(given)
    raise ValueError("json_payload must be a document: JSON as text or as UTF-8 bytes, or a dict")


def _encoded(document: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode(_with_stamps(document))
    except (TypeError, ValueError, RecursionError) as exc:
        raise DataProcessingError("the document holds a value that JSON has no form for") from exc


def _with_stamps(value: Any) -> Any:
    match value:
        case dict():
            return {name: _with_stamps(item) for name, item in value.items()}
        case list():
            return [_with_stamps(item) for item in value]
        case date():
            return _stamped(value)
    return value


def _stamped(when: date) -> str:
    if not isinstance(when, datetime):
        when = datetime.combine(when, time.min, UTC)
    return stamp(when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC))


async def _send(settings: Settings, url: str, incident: Incident) -> None:
    """Send one incident; raise IncidentCreationError unless it was delivered."""
    one = msgspec.structs.replace(limits(settings.api), max_connections=1)
    secrets = secrets_of(settings.api.request_headers, url)
    async with (
        make_transport(settings, url) as transport,
        Sender(transport, one, lambda: True, secrets=secrets, rules=ResponseRules.of(settings.api)) as sender,
    ):
        (result,) = await sender.deliver([incident], resumed=False)
    if result.verdict is not ResponseClass.DELIVERED:
        why = sender.reason_of(result.answer, incident.body) if result.answer else "it was not sent"
        raise IncidentCreationError(
            f"incident {incident.incident_id} was not delivered after {result.attempts} attempts: {why}"
        )
