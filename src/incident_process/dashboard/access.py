"""Who may do what: tokens, the sessions that they open, and the limit on guesses.

A browser sends a cookie to every port of a host, so any user of the host who serves a page on another port gets the
cookies of this one and may plant some. A session is therefore two secrets: a cookie, which no script can read, and a
session token that the page gets once, at sign-in. The page keeps the token in the storage of its own origin, which no
other port shares, and sends it in a header with every request. Either secret alone is useless.

The log names the token's holder. A name that a user types beside a shared token appears as a claim. The comparison of
tokens takes constant time; the process keeps only hashes of tokens and cookies, and never logs or shows either.
"""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from incident_process.core.errors import IncidentProcessError
from incident_process.settings.keys.dashboard_keys import Dashboard, Holder

IDLE_SECONDS = 3600.0
"""Seconds without a request after which a session ends. An open page polls, so this page is closed."""
LONGEST_SECONDS = 12 * 3600.0
"""Seconds after which every session ends: after a shift, users sign in again."""
MOST_SESSIONS = 1000
TRIES = 5
"""Wrong tokens from one address within ``TRY_SECONDS``; after more, the answer is to wait."""
TRIES_OF_ALL = 50
"""The same over all addresses together."""
TRY_SECONDS = 60.0
LONGEST_NAME = 60
_IN_NAMES = " .-_@'"


class AccessDeniedError(IncidentProcessError):
    """The token is wrong, or the name beside it is missing. The message is for the user who typed it."""


class ThrottledError(IncidentProcessError):
    """Too many wrong tokens; the user may try again in ``seconds``."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)  # pickle restores it from these arguments
        self.seconds = seconds

    def __str__(self) -> str:
        return f"Too many wrong tokens: try again in {self.seconds} s."


@dataclass(kw_only=True, slots=True)
class SignInSession:
    """A signed-in user. Every request has to send ``token`` in a header."""

    user: str
    """The token's holder: a person's name, or the key of a shared token and the name that the user claims."""
    may_unmask: bool
    address: str
    began: float
    seen: float
    token: str = field(repr=False)

    def proves(self, token: str | None) -> bool:
        """Return whether a request's token is this session's."""
        return token is not None and hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))


class Access:
    """The sessions of one process; they end with it.

    Args:
        dashboard: The tokens.
        clock: Returns seconds of a monotonic clock.
    """

    def __init__(self, dashboard: Dashboard, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders = [(_hashed(token), holder) for token, holder in dashboard.holders]
        self._clock = clock
        self._sessions: dict[str, SignInSession] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._wrong_by_all: deque[float] = deque(maxlen=TRIES_OF_ALL)
        self.has_token = dashboard.has_token
        """Whether users can sign in. Without a token the page is read-only, on this host only."""
        self.has_unmask_token = dashboard.has_unmask_token
        """Whether a token lets its holder see personal fields."""
        self.asks_name = any(not holder.is_person for _, holder in self._holders)
        """Whether several people may share a token, so that they should give their names."""

    def sign_in(self, token: str, user: str, address: str) -> tuple[str, SignInSession]:
        """Open a session and return its cookie and itself. A right token never waits.

        Args:
            token: The token that the user gives.
            user: The name that the user gives beside a shared token; ignored for a token of one person.
            address: The request's address.

        Raises:
            AccessDeniedError: The token is wrong, or a needed name is missing.
            ThrottledError: The token is wrong, and so were too many before it from this address or from all.
        """
        holder = self._holder(token)
        if holder is None:
            raise self._refused(address)
        claimed = " ".join("".join(c if c.isalnum() or c in _IN_NAMES else " " for c in user).split())[:LONGEST_NAME]
        if holder.may_unmask and not holder.is_person and not claimed:
            raise AccessDeniedError("Give your name: with this token, what you unmask is logged under it.")
        cookie = secrets.token_urlsafe(32)
        session = SignInSession(
            user=holder.name if holder.is_person or not claimed else f"{holder.name} (says: {claimed})",
            may_unmask=holder.may_unmask,
            address=address,
            began=self._clock(),
            seen=self._clock(),
            token=secrets.token_urlsafe(32),
        )
        self._forget_old()
        self._sessions[_hashed(cookie)] = session
        return cookie, session

    def session(self, cookie: str | None, token: str | None) -> SignInSession | None:
        """Return the session of this cookie and session token, None where it is over; each call keeps it alive."""
        session = self._open(cookie)
        if session is None or not session.proves(token):
            return None
        session.seen = self._clock()
        return session

    def knows(self, cookie: str | None) -> bool:
        """Return whether the cookie belongs to a session."""
        return self._open(cookie) is not None

    def sign_out(self, cookie: str | None) -> None:
        """End the cookie's session."""
        if cookie:
            self._sessions.pop(_hashed(cookie), None)

    def _holder(self, token: str) -> Holder | None:
        """Return the token's holder. It compares all tokens, so that the time taken tells nothing."""
        given = _hashed(token)  # hashes have one length, so the time does not tell a token's length either
        found = [holder for of, holder in self._holders if hmac.compare_digest(given, of)]
        return found[0] if found else None

    def _refused(self, address: str) -> AccessDeniedError | ThrottledError:
        """Note a wrong token and return the error that answers it."""
        now = self._clock()
        for key in [key for key, times in self._wrong.items() if times[-1] <= now - TRY_SECONDS]:
            del self._wrong[key]
        mine = self._wrong.setdefault(address, deque(maxlen=TRIES))
        waits = [
            times[0] + TRY_SECONDS - now
            for times in (mine, self._wrong_by_all)
            if len(times) == times.maxlen and times[0] > now - TRY_SECONDS
        ]
        mine.append(now)
        self._wrong_by_all.append(now)
        if waits:
            return ThrottledError(max(1, round(max(waits))))
        return AccessDeniedError("This token is wrong. It stands in the configuration, under [DASHBOARD].")

    def _open(self, cookie: str | None) -> SignInSession | None:
        session = self._sessions.get(_hashed(cookie)) if cookie else None
        return None if session is None or self._over(session) else session

    def _over(self, session: SignInSession) -> bool:
        now = self._clock()
        return now - session.seen > IDLE_SECONDS or now - session.began > LONGEST_SECONDS

    def _forget_old(self) -> None:
        for key in [key for key, session in self._sessions.items() if self._over(session)]:
            del self._sessions[key]
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
