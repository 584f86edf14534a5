"""The words beside an HTTP status, and for a missing answer, in ledger and log.

They are fixed: operators group and find dead letters by them. The standard library has a table of statuses too, but its
words change: Python 3.13 adopted those of RFC 9110 for four statuses, and after an upgrade the same refusal would have
two reasons. These are the words of IANA's registry, with the older ones for the four, which most ledgers already hold.
"""

import re

_TEXTS = {
    100: "Continue",
    101: "Switching Protocols",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    417: "Expectation Failed",
    418: "I'm a Teapot",
    421: "Misdirected Request",
    422: "Unprocessable Entity",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
}

_SILENT = {
    "ConnectionClosedError": "closes the connection before its answer is whole",
    "ConnectionRefusedError": "refuses connections",
    "ConnectionResetError": "resets the connection",
    "BrokenPipeError": "closes the connection before it has the request",
    "EarlyAnswerError": "answers before it has the whole request",
    "MalformedAnswerError": "answers something that is not HTTP",
    "OSError": "cannot be reached",
    "SSLCertVerificationError": "shows a certificate that cannot be verified",
    "SSLError": "does not complete the TLS handshake",
    "SSLEOFError": "ends the connection during TLS",
    "TimeoutError": "takes too long",
    "gaierror": "is not found: its name does not resolve",
}
"""What the receiver does, by the name of the exception that an attempt without an answer raised."""
_BEGUN = r"((?:gave up after \d+ attempts in \d+ runs; last: )?no answer)"
_NAMED_FAULT = re.compile(rf"{_BEGUN} \((\w+)\)((?:; .*)?)", re.DOTALL)
_NAMED_PLACE = re.compile(rf"{_BEGUN}: the receiver \S+:\d+ (.+)", re.DOTALL)
_LIMIT = re.compile(r"takes longer than \S+ s")

_NEWER = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Words that version 0.1.0 wrote for these statuses on Python 3.13."""


def status_text(status: int) -> str:
    """Return ``HTTP 503 Service Unavailable``; only the number where the status has no words."""
    return f"HTTP {status} {_TEXTS[status]}" if status in _TEXTS else f"HTTP {status}"


def silence_text(fault: str) -> str | None:
    """Return what the receiver does when an attempt ends with the exception of this name, None where no words fit."""
    return _SILENT.get(fault)


def no_answer_text(fault: str, place: str | None, limit: float) -> str:
    """Return why there was no answer, the same for every incident: ``no answer: the receiver host:port refuses …``.

    ``fault`` is an exception's name or words; ``place`` is the receiver's host and port, ``limit`` the seconds that the
    attempt might take.
    """
    words = silence_text(fault)
    if words is None or place is None:
        return f"no answer ({fault})"
    if fault == "TimeoutError":
        words = f"takes longer than {limit:g} s"
    return f"no answer: the receiver {place} {words}"


def with_fixed_texts(reason: str) -> str:
    """Return the reason in the one form by which reasons of all versions and receivers are compared and found.

    The words of 0.1.0 on Python 3.13 become those of every other version. Of a missing answer the words stay: 0.1.0
    named the exception, and the present reason names the receiver's address and time limit, too.
    """
    if found := _NAMED_FAULT.fullmatch(reason):
        words = silence_text(found[2])
        return f"{found[1]}: the receiver {words}{found[3]}" if words else reason
    if found := _NAMED_PLACE.fullmatch(reason):
        return f"{found[1]}: the receiver {_LIMIT.sub(_SILENT['TimeoutError'], found[2])}"
    for status, text in _NEWER.items():
        reason = reason.replace(f"HTTP {status} {text}", status_text(status))
    return reason
