"""What the error numbers of MySQL, MariaDB and their proxies mean: one table for the source and the state.

A server's message may quote a value of a row (``Duplicate entry '…'``), and values here are personal data. So a number
of this table is told in our words, with a remedy; any other number with the server's message, all that it quotes
masked. What the server said stays in the chained exception alone.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from incident_process.core.errors import IncidentProcessError
from incident_process.database.errors import ErrorKind, ErrorMeaning
from incident_process.database.login import ReadableLoginError

_T, _U, _A = ErrorKind.TRANSIENT, ErrorKind.UNAVAILABLE, ErrorKind.ACCESS
_S = ErrorKind.SETTING

NO_MYSQL = 2027
"""The number for an answer that no MySQL server gives."""
_LOST = "the connection was lost"
_LOG = "Look into the server's own log at this time; the next run resumes"
_DISK = "Free disk space on the server"
_LOGIN = "Check user and password, and from which hosts the user may connect"
_EXPIRED = "Give the user a new password (ALTER USER … IDENTIFIED BY …), and the configuration the same"
_PLUGIN = (
    "Create the user with a login that the program can do: caching_sha2_password or mysql_native_password, or on "
    "MariaDB mysql_native_password (IDENTIFIED BY …)"
)
_TLS = (
    "Set [DATABASE] MYSQL_SSL = on; with the server's own certificates also MYSQL_SSL_CA = their ca.pem and "
    "MYSQL_SSL_VERIFY = ca"
)
_READABLE = (
    "what answers there asks for the password in a form that it can read ({}), and the connection is not encrypted; "
    "the password was not sent"
)
_WRITABLE = "Name the server that may be written, or wait until this one may"
_TIME_LIMIT = "Lift the limit on statements' time for this user, at the server or the proxy"
_PACKET = "Raise max_allowed_packet at the server, and at the proxy if there is one, to 16M or more"
_PRIMARY_KEY = "Run `incident-process init` of this version, which gives its tables a key where the server asks for one"
_CHARSET = "Use a server that knows utf8mb4 and utf8mb4_bin, as MySQL 8 and MariaDB 10.6 and newer do"
_HOLDERS = "Look who holds them: SHOW PROCESSLIST"
_LIMITS = (
    "Raise or lift the user's limits: ALTER USER … WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 "
    "MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0"
)
_CONSTRAINT = "See what other program writes to the table, or what constraint or trigger was put on it"

_UNFIT = (1171, 1230, 1263, 1264, 1265, 1292, 1366, 1367, 1406, 1441, 1525, 3903)

_TABLE: dict[int, tuple[ErrorKind, str, str]] = {
    0: (_T, "the connection failed", _LOG),
    # The server's own faults, as its storage reports them.
    3: (_U, "the server cannot write a file, for its disk or its temporary folder is full", _DISK),
    28: (_U, "the server's disk is full", _DISK),
    126: (_U, "a table or temporary table of the server is damaged, or its temporary folder is full", _DISK),
    1021: (_U, "the server's disk is full", _DISK),
    1026: (_U, "the server cannot write a file", _DISK),
    1030: (_U, "the server's storage reports a fault", _LOG),
    1034: (_U, "a table or temporary table of the server is damaged, or its temporary folder is full", _DISK),
    1114: (_U, "a table is full, as is its disk or the limit that the server sets it", _DISK),
    1878: (_U, "the server cannot write a temporary file", _DISK),
    1037: (_U, "the server is out of memory", "Give the server more memory, or fewer connections"),
    1038: (_U, "the server is out of memory for sorting", "Raise sort_buffer_size at the server"),
    1041: (_U, "the server is out of memory", "Give the server more memory, or fewer connections"),
    1135: (_U, "the server cannot make a thread", "Give the server more memory, or fewer connections"),
    1194: (_U, "a table is marked as damaged", "Repair the table at the server (CHECK TABLE, REPAIR TABLE)"),
    1105: (_U, "the server or the proxy reports a fault without a number of its own", _LOG),
    1815: (_U, "the server or the proxy reports an internal fault", _LOG),
    # Connections that end or cannot be had.
    1020: (_T, "a row was changed by another program while it was read", _LOG),
    1040: (_T, "it has too many connections", "Raise max_connections at the server, or close connections of others"),
    1043: (_T, "the handshake failed", _LOG),
    1047: (_T, "the node is not ready, as its cluster has no majority or it is being filled", "Bring the cluster up"),
    1053: (_T, "the server shuts down", "Start it again; the next run resumes"),
    1077: (_T, "the server shuts down", "Start it again; the next run resumes"),
    **dict.fromkeys((1152, 2006, 2013, 2055), (_T, _LOST, _LOG)),
    1158: (_T, f"{_LOST} while the server read from it", _LOG),
    1159: (_T, f"{_LOST}: the server waited for a packet in vain (net_read_timeout)", _LOG),
    1160: (_T, f"{_LOST} while the server wrote to it", _LOG),
    1161: (_T, f"{_LOST}: the server could not send a packet in time (net_write_timeout)", _LOG),
    1184: (_T, f"{_LOST}: the server ended it", _LOG),
    1927: (_T, "the connection was killed at the server", "Ask who ends connections there (KILL)"),
    2002: (_T, "it cannot be reached", "Check host and port, and whether the server runs"),
    2003: (_T, "it cannot be reached", "Check host and port, and whether the server runs"),
    2005: (_T, "its host name is unknown", "Check the host's name, and this machine's resolver"),
    2012: (_T, "the handshake failed", _LOG),
    2014: (_T, "the connection is out of step", _LOG),
    NO_MYSQL: (_U, "what answers there does not speak MySQL's protocol", "Check host and port"),
    4031: (_T, "the server closed the connection for being idle", _LOG),
    9001: (_T, "the proxy reached no server behind it in time", "See that the servers behind the proxy run"),
    9002: (_T, "the proxy lost the server behind it", "See that the servers behind the proxy run"),
    # Locks and interruptions, after which the same work may go through.
    1205: (
        ErrorKind.LOCKED,
        "a lock was waited for in vain; another program holds the rows",
        _HOLDERS,
    ),
    1206: (_T, "the server's table of locks is full", "Raise innodb_buffer_pool_size at the server"),
    1213: (_T, "a deadlock with another program", "Look who holds the rows: SHOW ENGINE INNODB STATUS"),
    1180: (_T, "the server could not commit", _LOG),
    1317: (_T, "the statement was killed at the server", "Ask who ends statements there (KILL QUERY)"),
    1412: (_T, "the table was altered while it was read", "Let the run come after the ALTER TABLE"),
    1615: (_T, "the table was altered while it was read", "Let the run come after the ALTER TABLE"),
    1637: (_T, "the server has too many transactions under way", _LOG),
    3101: (_T, "the cluster rolled the transaction back for one of another node", "Let all programs write to one node"),
    3572: (ErrorKind.LOCKED, "the rows are locked by another program", _HOLDERS),
    1028: (_U, "the server gave up sorting", _LOG),
    1969: (_U, "the server ended a statement for taking too long (max_statement_time)", _TIME_LIMIT),
    3024: (_U, "the server ended a statement for taking too long (max_execution_time)", _TIME_LIMIT),
    3032: (_U, "the server is in offline mode and lets administrators in alone", "SET GLOBAL offline_mode = OFF"),
    3168: (_U, "the server is not available, as its cluster member is in an error state", "Bring the cluster up"),
    # Who may come in.
    1044: (
        ErrorKind.NO_DATABASE,
        "the user may not use this database",
        "Grant the user privileges on the database, or correct its name",
    ),
    1045: (_A, "access denied", _LOGIN),
    1129: (_A, "the server blocks this host for too many broken connections", "Run FLUSH HOSTS at the server"),
    1130: (_A, "this host may not connect to the server", _LOGIN),
    **dict.fromkeys((1251, 2049, 2059), (_A, "the server asks for a login that the driver cannot do", _PLUGIN)),
    1275: (_A, "the user's password is stored in a form that the server no longer takes", _EXPIRED),
    1524: (_A, "the server lacks the plugin of the user's login", _PLUGIN),
    1698: (_A, "access denied; the user logs in by the operating system", _PLUGIN),
    1820: (_A, "the user has to set a new password first", _EXPIRED),
    1862: (_A, "the user's password has expired", _EXPIRED),
    2061: (_A, "the login failed within its plugin", _PLUGIN),
    3118: (_A, "the user's account is locked", "Unlock it: ALTER USER … ACCOUNT UNLOCK"),
    3955: (_A, "the user's account is locked for too many wrong passwords", "Unlock it: ALTER USER … ACCOUNT UNLOCK"),
    4151: (_A, "the user's account is locked", "Unlock it: ALTER USER … ACCOUNT UNLOCK"),
    1203: (_T, "the user has as many connections as it may have", "Raise max_user_connections for the user"),
    1226: (
        _U,
        "the user has used up what it may use of the server in an hour, or at a time",
        _LIMITS,
    ),
    3159: (_S, "the server takes encrypted connections alone", _TLS),
    2026: (_A, "the encrypted connection (TLS) failed", _TLS),
    # What the user may do.
    1142: (ErrorKind.PRIVILEGE, "the user lacks a privilege on a table", ""),
    1143: (ErrorKind.PRIVILEGE, "the user lacks a privilege on a column", ""),
    1227: (ErrorKind.PRIVILEGE, "the user lacks a privilege of the server", ""),
    1370: (ErrorKind.PRIVILEGE, "the user lacks the privilege EXECUTE on a routine", ""),
    1419: (ErrorKind.PRIVILEGE, "the user lacks the privilege SUPER, which binary logging asks for", ""),
    # What is not there.
    1046: (ErrorKind.NO_DATABASE, "no database is chosen", "Name a database that exists at this server"),
    1049: (ErrorKind.NO_DATABASE, "there is no such database", "Create it, or name one that exists at this server"),
    1054: (ErrorKind.NO_COLUMN, "a table lacks a column", ""),
    1146: (ErrorKind.NO_TABLE, "a table is missing", ""),
    1109: (ErrorKind.NO_TABLE, "a table is missing", ""),
    1356: (
        _S,
        "a view names a table, column or function that is not there, or its owner lacks privileges",
        "Mend the view (SHOW CREATE VIEW), or the privileges of its DEFINER",
    ),
    1449: (_S, "the owner (DEFINER) of a view, trigger or routine does not exist", "Create it anew with one that does"),
    # Rows that a table does not take.
    1022: (ErrorKind.DUPLICATE, "a key is there already", _CONSTRAINT),
    1048: (ErrorKind.DUPLICATE, "a column may not be empty", _CONSTRAINT),
    1062: (ErrorKind.DUPLICATE, "an Incident_Id or key is there already", _CONSTRAINT),
    **dict.fromkeys((1215, 1216, 1217, 1451, 1452), (ErrorKind.DUPLICATE, "a foreign key forbids it", _CONSTRAINT)),
    1364: (_S, "a column without a default was added to a table", "Give the column a default, or let it be NULL"),
    3819: (_S, "a CHECK constraint forbids the row", _CONSTRAINT),
    4025: (_S, "a CHECK constraint forbids the row", _CONSTRAINT),
    1644: (_S, "a trigger or routine of the database refuses the statement (SIGNAL)", _CONSTRAINT),
    **dict.fromkeys(_UNFIT, (ErrorKind.UNFIT, "a value does not fit its column", _CONSTRAINT)),
    # What a setting of the server forbids.
    1104: (_S, "the server refuses statements over many rows (max_join_size)", "Set sql_big_selects = ON for the user"),
    1115: (_S, "the server does not know the character set", _CHARSET),
    1118: (_S, "a row is too large for the table", "Use InnoDB with ROW_FORMAT=DYNAMIC"),
    1153: (_S, "a packet is larger than the server takes (max_allowed_packet)", _PACKET),
    2020: (_S, "a packet is larger than max_allowed_packet allows", _PACKET),
    1173: (ErrorKind.KEY_REQUIRED, "the server asks each table to have a primary key", _PRIMARY_KEY),
    1175: (
        _S,
        "the server refuses changes without a key in the WHERE (sql_safe_updates)",
        "Set sql_safe_updates = OFF for the user, and see that no proxy sets it",
    ),
    1192: (_S, "the session has locked tables", "See that no init_connect and no proxy runs LOCK TABLES"),
    1267: (_S, "columns with collations that cannot be compared stand in one statement", _CHARSET),
    1271: (_S, "columns with collations that cannot be compared stand in one statement", _CHARSET),
    1273: (_S, "the server does not know the collation", _CHARSET),
    1235: (_S, "the server does not support what the program asks", "Use MySQL 8 or MariaDB 10.6, or newer"),
    1238: (_S, "a variable of the server cannot be set for a session", "Use MySQL 8 or MariaDB 10.6, or newer"),
    1064: (
        _S,
        "the server or the proxy does not understand a statement",
        "Use MySQL 8 or MariaDB 10.6, or newer, and see that the proxy passes statements on as they are",
    ),
    1193: (_S, "the server does not know a variable", "Use MySQL 8 or MariaDB 10.6, or newer"),
    1286: (_S, "the server does not have the storage engine InnoDB", "Enable InnoDB at the server"),
    3161: (_S, "the server forbids the storage engine", "Let InnoDB be used (disabled_storage_engines)"),
    1290: (_S, "the server runs with an option that forbids the statement", _WRITABLE),
    1792: (_U, "the session may only read (transaction_read_only)", _WRITABLE),
    1836: (_U, "the server may only be read", _WRITABLE),
    1874: (_U, "InnoDB may only be read at this server (innodb_read_only, innodb_force_recovery)", _WRITABLE),
    1665: (
        _S,
        "the server logs by statement (binlog_format = STATEMENT), which forbids the program's writes",
        "Set binlog_format = ROW or MIXED at the server",
    ),
    1785: (_S, "GTID consistency forbids the statement (enforce_gtid_consistency)", "Use InnoDB for all the tables"),
    3098: (_S, "the cluster asks each table to be InnoDB with a primary key", _PRIMARY_KEY),
    3750: (
        ErrorKind.KEY_REQUIRED,
        "the server asks each table to have a primary key (sql_require_primary_key)",
        _PRIMARY_KEY,
    ),
}
_DDL_RACE = frozenset({1050, 1060, 1061})
"""Two processes created a table, column or index at once: the loser looks again and finds it."""
_OF_NAMES = re.compile(
    r"Table '|Unknown (column|database|table) '|Access denied( for user|; you need)"
    r"|[A-Z, ]+ command denied to user '"
)
"""The server's own messages that quote names of users, hosts, databases, tables and columns alone. They are shown as
they are, but only where they begin as the server has them: a trigger may give any number a message of its own."""
_ABOUT_NAMES = frozenset({ErrorKind.PRIVILEGE, ErrorKind.NO_DATABASE, ErrorKind.NO_TABLE, ErrorKind.NO_COLUMN})
_READ_ONLY = frozenset({"read-only", "super-read-only"})
_OPTION = re.compile(r"with the (?:--)?([A-Za-z][A-Za-z_-]*)")


def meaning_of(number: int, message: str = "") -> ErrorMeaning:
    """Return what an error number of a server or of the driver means.

    Args:
        number: as the driver gives it; 0 for an error of the driver without one.
        message: the server's, of which nothing that may be a value of a row is repeated.
    """
    kind, words, remedy = _TABLE.get(number) or (
        _T if number in _DDL_RACE else _U,
        f"the server gave up a statement, saying: {masked(message)}" if message else "the server gave up a statement",
        _LOG,
    )
    if kind in _ABOUT_NAMES and _OF_NAMES.match(message):
        words = f"{words}: {' '.join(message.split()).rstrip('.')}"
    if number == 1290 and (option := _OPTION.search(message)):
        name = option[1].replace("_", "-")
        words = f"the server runs with the option --{name}, which forbids the statement"
        kind = ErrorKind.UNAVAILABLE if name in _READ_ONLY else ErrorKind.SETTING
        remedy = _WRITABLE if name in _READ_ONLY else f"Start the server without --{name}, or name another"
    return ErrorMeaning(number=number, kind=kind, words=words, remedy=remedy)


def meaning_of_error(error: Exception) -> ErrorMeaning | None:
    """Return what an error means that asyncmy, pymysql or the operating system raised; None for any other."""
    cause = getattr(error, "original_exception", None) or error.__cause__
    for one in (error, cause):
        if isinstance(one, ssl.SSLError):
            return _tls(one)
    if isinstance(error, OSError):  # a time-out is one of them
        return _unreachable(error)
    number, message = (*error.args, "", "")[:2]
    if isinstance(error, RuntimeError):
        return _of_driver(error)
    if type(error).__module__.partition(".")[0] not in _DRIVERS:
        return None
    if number in _CANNOT_CONNECT and isinstance(cause, OSError):
        return _unreachable(cause)
    return meaning_of(number if isinstance(number, int) else 0, str(message))


@contextmanager
def handshake() -> Iterator[None]:
    """Within it asyncmy connects: what it makes of an answer that is no MySQL server's becomes an error of its own."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, IncidentProcessError) or meaning_of_error(exc) is not None:
            raise
        from asyncmy.errors import OperationalError

        raise OperationalError(NO_MYSQL, "Malformed packet") from exc


_DRIVERS = frozenset({"asyncmy", "pymysql"})
_CANNOT_CONNECT = frozenset({2002, 2003, 2006, 2013})


def _unreachable(error: OSError) -> ErrorMeaning:
    """Return why a server cannot be reached; the operating system's words hold no value."""
    if isinstance(error, socket.gaierror):
        return meaning_of(2005)
    why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
    meaning = meaning_of(2003)
    return ErrorMeaning(number=0, kind=meaning.kind, words=f"{meaning.words} ({why})", remedy=meaning.remedy)


def _tls(error: ssl.SSLError) -> ErrorMeaning:
    words = "the encrypted connection (TLS) failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        names = error.verify_code in _NAME_DIFFERS
        remedy = (
            "The certificate does not name this host: correct MYSQL_HOST, or set [DATABASE] MYSQL_SSL_VERIFY = ca, "
            "which checks who signed the certificate and not its name"
            if names
            else "Name the authority that signed the server's certificate in [DATABASE] MYSQL_SSL_CA (the server's own "
            "is the ca.pem in its data folder), and set MYSQL_SSL_VERIFY = ca where the certificate names no host"
        )
        return ErrorMeaning(number=0, kind=_A, words=f"{words}: {why}", remedy=remedy)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return ErrorMeaning(number=0, kind=_T, words=f"{words}: the server closed it", remedy=_LOG)
    why = (error.reason or "no reason given").replace("_", " ").lower()
    remedy = "See that the server offers TLS (have_ssl, tls_version), and takes this client's certificate"
    return ErrorMeaning(number=0, kind=_A, words=f"{words}: {why}", remedy=remedy)


_NAME_DIFFERS = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_PACKAGE = re.compile(r"'(\w+)' package is required")


def _of_driver(error: RuntimeError) -> ErrorMeaning | None:
    """Return the meaning of a RuntimeError of asyncmy, which has no numbers for these, or of a refused login."""
    if isinstance(error, ReadableLoginError):
        return ErrorMeaning(number=0, kind=_A, words=_READABLE.format(error.plugin), remedy=_TLS)
    message = str(error)
    if "LOAD_LOCAL" in message:  # the server asks for a file of this machine; the drivers send none
        return meaning_of(NO_MYSQL)
    if "socket instance" in message:  # a connection that was reset between being made and being set up
        return meaning_of(2013)
    if found := _PACKAGE.search(message):
        words = f"the server asks for a login for which the package {found[1]} is needed"
        remedy = f"Install it (pip install {found[1]}), or {_PLUGIN[0].lower()}{_PLUGIN[1:]}"
        return ErrorMeaning(number=0, kind=_A, words=words, remedy=remedy)
    return None


_QUOTED = re.compile(r"""["'`\u2018\u201c].*["'`\u2019\u201d]""", re.DOTALL)
_LONG_NUMBER = re.compile(r"[0-9]{4,}|\S*@\S*")
_LONGEST = 200


def masked(message: str) -> str:
    """Return a server's message without what it quotes, and without long numbers and addresses.

    From the first quotation mark to the last: a value may hold such marks itself.
    """
    text = _LONG_NUMBER.sub("…", _QUOTED.sub("'…'", " ".join(message.split())))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
