"""The words beside an HTTP status in ledger and log. They are fixed: operators group and find dead letters by them.

The standard library has such a table too, but its words change: Python 3.13 adopted those of RFC 9110 for four
statuses, and after an upgrade the same refusal would have two reasons. These are the words of IANA's registry, with the
older ones for the four, which most ledgers already hold.
"""

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


def with_fixed_texts(reason: str) -> str:
    """Return the reason as it is written now: the words of 0.1.0 on Python 3.13 become those of every other version."""
    for status, text in _NEWER.items():
        reason = reason.replace(f"HTTP {status} {text}", status_text(status))
    return reason
