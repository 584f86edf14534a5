"""The reason kept for a failed attempt: one short line without customer data or credentials (SPEC 5, 6, 7)."""

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from incident_process.core.logs import PERSONAL_FIELDS
from incident_process.delivery.http.transport import Answer
from incident_process.delivery.status_texts import no_answer_text, status_text

LONGEST = 240  # characters of a reason
_WORD = r"[^\s,;:()\[\]{}]"
_OWN = re.compile(rf"""(?<!\w)'[^']*'(?!\w)|"[^"]*"|(?=(?:{_WORD}*?\d){{3}}){_WORD}+|{_WORD}*(?:@|\*\*\*){_WORD}*""")
# Above: text that may belong to one record, which is quoted, holds three digits or an @, or is masked.
_MASKS = re.compile(r"…(?:[\s,.-]*…)+")
_ANSWERED = re.compile(r"(?:gave up after \d+ attempts in \d+ runs; last: )?(HTTP \d{3}[^:]*)(?:: (.*))?", re.DOTALL)
_NO_ANSWER = re.compile(r"(?:gave up after \d+ attempts in \d+ runs; last: )?(no answer\b.*)", re.DOTALL)
_LONG_NUMBER = re.compile(r"\d{4,}")
MASK = "***"
_TELLING = ("detail", "message", "error", "reason", "errors", "title", "msg")
"""Members of a JSON object in which receivers say what is wrong, the most usual first."""
SHORTEST_VALUE = 3
"""Characters; a shorter value identifies nobody and occurs in every text."""
PART = 5
"""Characters in a row of a personal value that are masked as a part of it: so many are no coincidence."""
SECRET_PART = 8
"""The same of a secret: a scheme's name is shorter, and what is left of a secret that was cut is longer."""


def secrets_of(headers: Mapping[str, str], url: str) -> frozenset[str]:
    """Return the secrets of a request beside its body: the ``secrets`` of ``reason``.

    Of each header: its value, whole and without the first word, which may be a scheme as in ``Bearer …``; of
    ``Basic …`` also the text that it encodes, of a JSON Web Token its three parts. Of the address: its query, which
    ``core.logs.sending_message`` leaves out too, and the query's values, as they stand and decoded.
    """
    query = urlsplit(url).query
    found = {query, *(value for _, value in parse_qsl(query)), *(part.partition("=")[2] for part in query.split("&"))}
    for value in headers.values():
        scheme, _, rest = value.strip().partition(" ")
        found |= {value, rest}
        found |= {part for token in (value, rest) if token.startswith("eyJ") for part in token.split(".")}
        if scheme.lower() == "basic":
            pair = _decode_basic(rest)
            found |= {pair, pair.partition(":")[2]}
    return frozenset(found)


def reason(answer: Answer, body: bytes, secrets: Collection[str] = ()) -> str:
    """Return why an attempt failed, for ledger and log.

    Receivers repeat what they reject. So every value of the sent body, and every secret sent with it, is masked in the
    receiver's words before they are kept: personal values and secrets also where they are cut.
    """
    if answer.status is None:
        return no_answer_text(str(answer.error), answer.place, answer.limit)[:LONGEST]
    status = status_text(answer.status)
    words = _words_of(answer.excerpt)
    if not words or words.casefold() in status.casefold():
        return status
    # Mask before the cut, which could leave half a value that no mask would find.
    document = msgspec.json.decode(body)
    values, personal = [*_texts(document), *secrets], list(_personal(document))
    # A value with its scheme before it is masked whole; parts are those of what stands behind the scheme.
    bare = [secret for secret in secrets if secret.partition(" ")[2] not in {*secrets} - {""}]
    cut = {PART: [*personal, *map(_escape, personal)], SECRET_PART: [*bare, *map(_escape, bare)]}
    words = _mask_values(words, [*values, *map(_escape, values)], cut)
    return f"{status}: {words}"[:LONGEST]


def common_form(reason: str) -> str:
    """Return a reason in the form that is equal for many records.

    In the receiver's words … replaces whatever may belong to one record: words with three digits or an @, quoted text,
    masks. The number of attempts is left out. A missing answer keeps the receiver's port. In other reasons … replaces
    only long numbers.
    """
    found = _ANSWERED.fullmatch(reason)
    if found is None:
        if silent := _NO_ANSWER.fullmatch(reason):
            return silent[1]
        return _LONG_NUMBER.sub("…", reason)
    if not found[2]:
        return found[1]
    return f"{found[1]}: {_MASKS.sub('…', _OWN.sub('…', found[2]))}"


def reasons_text(reasons: Counter[str], most: int = 3) -> str:
    """Return the most frequent reasons, at most ``most``, each with its number of incidents."""
    lines = [f"{reason}: {count} incident{'s' if count > 1 else ''}" for reason, count in reasons.most_common(most)]
    left = reasons.total() - sum(count for _, count in reasons.most_common(most))
    return "; ".join([*lines, f"other reasons: {left}"] if left else lines)


def has_words(reason: str) -> bool:
    """Return whether a reason says more than a status."""
    return reason.startswith("HTTP ") and ": " in reason


def _words_of(excerpt: bytes) -> str:
    """Return the words of an answer: a JSON object's ``detail``, ``message`` or the like, or one line of plain text.

    Return "" for a page of HTML or an answer that was cut: the status alone is then the clearer reason.
    """
    try:
        answer = msgspec.json.decode(excerpt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _plain(excerpt)
    words = answer if isinstance(answer, str) else ""
    if isinstance(answer, dict):
        words = next((answer[name] for name in _TELLING if answer.get(name)), "")
    if isinstance(words, list):  # FastAPI's form: where and what, for each problem
        words = "; ".join(_problem(item) for item in words)
    elif isinstance(words, dict):
        words = words.get("message", "")
    elif isinstance(words, bool):
        words = ""
    return _one_line(str(words))


def _plain(excerpt: bytes) -> str:
    """Return a text that is one short line without markup, else ""."""
    try:
        text = excerpt.decode().strip()
    except UnicodeDecodeError:
        return ""
    is_line = len(text) <= LONGEST and text.isprintable() and not text.startswith(("<", "{", "["))
    return _one_line(text) if is_line else ""


def _problem(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg', '')}"


def _mask_values(words: str, values: Collection[str], cut: Mapping[int, Collection[str]]) -> str:
    """Return the text with each value in it masked, whatever its case.

    Of the values in ``cut`` each part of so many characters or more is masked too: validation errors quote values that
    they cut, receivers repeat a surname. Overlapping places are masked as one, so that no end is left.
    """
    low = _lower(words)
    spans = [
        span
        for value in {_lower(_one_line(value)) for value in values}
        if len(value) >= SHORTEST_VALUE
        for span in _places(low, value)
    ]
    for length, of in cut.items():
        parts = {part for value in of for part in _parts(_lower(_one_line(value)), length)}
        spans += [
            (at + length - len(part.lstrip()), at + len(part.rstrip()))
            for at in range(len(low) - length + 1)
            if (part := low[at : at + length]) in parts
        ]
    shown, at = [], 0
    for start, end in sorted(spans):
        if start >= at:
            shown += [words[at:start], MASK]
        at = max(at, end)
    return "".join([*shown, words[at:]])


def _parts(value: str, length: int) -> Iterator[str]:
    """Yield each run of ``length`` characters of a value that is more than punctuation."""
    for at in range(len(value) - length + 1):
        part = value[at : at + length]
        if sum(map(str.isalnum, part)) >= SHORTEST_VALUE:
            yield part


def _lower(text: str) -> str:
    """Return the text in lower case, each character in its place."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def _places(words: str, value: str) -> Iterator[tuple[int, int]]:
    at = words.find(value)
    while at >= 0:
        yield at, at + len(value)
        at = words.find(value, at + 1)


def _one_line(text: str) -> str:
    if text.isprintable() and "  " not in text:  # true of nearly all
        return text.strip()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _escape(secret: str) -> str:
    """Return the text as JSON writes it, for a receiver that quotes another one's answer."""
    return msgspec.json.encode(secret).decode()[1:-1]


def _decode_basic(basic: str) -> str:
    try:
        return b64decode(basic).decode()
    except ValueError:  # no base64, or no text
        return ""


def _personal(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of a document's personal fields, at any depth."""
    if name in PERSONAL_FIELDS:
        yield from _texts(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _personal(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _personal(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
