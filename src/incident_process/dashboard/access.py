"""Who may do what: tokens, the sessions that they open, and the brake on guessing.

Tokens are compared in constant time, sessions are known by the hash of a random cookie, and nothing of either is ever
logged or shown.
"""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from incident_process.errors import IncidentProcessError
from incident_process.settings.web import Dashboard

IDLE_SECONDS = 3600.0
"""A session that nobody used for so long is over: a page that is left open polls, so this is a closed one."""
LONGEST_SECONDS = 12 * 3600.0
"""And after a shift, everybody signs in again."""
MOST_SESSIONS = 1000
TRIES = 5
"""So many wrong tokens from one address, then it has to wait."""
TRIES_OF_ALL = 50
"""The same over all addresses: guessing from many of them is guessing, too."""
TRY_SECONDS = 60.0
LONGEST_NAME = 60


class AccessDeniedError(IncidentProcessError):
    """The token is wrong, or the name that goes with it is missing. The message is for the person who typed it."""


class ThrottledError(IncidentProcessError):
    """Too many wrong tokens; ``seconds`` from now it may be tried again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong tokens: try again in {seconds} s.")
        self.seconds = seconds


@dataclass(kw_only=True, slots=True)
class Session:
    """Somebody who has signed in. ``forgery_token`` has to come back in a header with every change."""

    user: str
    may_unmask: bool
    address: str
    began: float
    seen: float
    forgery_token: str = field(repr=False)

    def proves(self, token: str | None) -> bool:
        """Return whether a request bears this session's forgery token."""
        return token is not None and hmac.compare_digest(self.forgery_token.encode(), token.encode())


class Access:
    """The sessions of one process; they end with it.

    Args:
        dashboard: The tokens.
        clock: Seconds that only grow.
    """

    def __init__(self, dashboard: Dashboard, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = dashboard.token
        self._unmask_token = dashboard.unmask_token
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._wrong_by_all: deque[float] = deque()

    @property
    def has_token(self) -> bool:
        """Whether anybody can sign in; without a token the page can be read, on this machine only, and not changed."""
        return self._token is not None

    @property
    def has_unmask_token(self) -> bool:
        """Whether anybody can be allowed to see personal fields."""
        return self._unmask_token is not None

    def sign_in(self, token: str, user: str, address: str) -> tuple[str, Session]:
        """Open a session and return the cookie that stands for it.

        Raises:
            ThrottledError: too many wrong tokens came from this address, or from all together.
            AccessDeniedError: the token is wrong, or a name is missing where it is needed.
        """
        self._brake(address)
        user = " ".join("".join(c if c.isprintable() else " " for c in user).split())[:LONGEST_NAME]
        may_unmask = self._is(token, self._unmask_token)
        # Both are compared whatever the first says, so that the time taken tells nothing.
        if not (self._is(token, self._token) or may_unmask):
            self._wrong.setdefault(address, deque()).append(self._clock())
            self._wrong_by_all.append(self._clock())
            raise AccessDeniedError("This token is wrong. It stands in the configuration, under [DASHBOARD] token.")
        if may_unmask and not user:
            raise AccessDeniedError("Give your name: with this token, what you unmask is logged under it.")
        cookie = secrets.token_urlsafe(32)
        session = Session(
            user=user or "unnamed",
            may_unmask=may_unmask,
            address=address,
            began=self._clock(),
            seen=self._clock(),
            forgery_token=secrets.token_urlsafe(32),
        )
        self._forget_old()
        self._sessions[_hashed(cookie)] = session
        return cookie, session

    def session(self, cookie: str | None) -> Session | None:
        """Return the session that the cookie stands for, if it is not over; using it keeps it alive."""
        session = self._sessions.get(_hashed(cookie)) if cookie else None
        if session is None or self._over(session):
            return None
        session.seen = self._clock()
        return session

    def sign_out(self, cookie: str | None) -> None:
        """End the session that the cookie stands for."""
        if cookie:
            self._sessions.pop(_hashed(cookie), None)

    def _is(self, given: str, right: object) -> bool:
        secret = right.get_secret_value() if right is not None and hasattr(right, "get_secret_value") else ""
        # Hashes are of one length: the comparison does not even tell how long the token is.
        same = hmac.compare_digest(_hashed(given), _hashed(secret))
        return same and bool(secret)

    def _brake(self, address: str) -> None:
        now = self._clock()
        for key in [key for key, times in self._wrong.items() if times[-1] <= now - TRY_SECONDS]:
            del self._wrong[key]
        for times, most in ((self._wrong.get(address, deque()), TRIES), (self._wrong_by_all, TRIES_OF_ALL)):
            while times and times[0] <= now - TRY_SECONDS:
                times.popleft()
            if len(times) >= most:
                raise ThrottledError(max(1, round(times[0] + TRY_SECONDS - now)))

    def _over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.seen > IDLE_SECONDS or now - session.began > LONGEST_SECONDS

    def _forget_old(self) -> None:
        for key in [key for key, session in self._sessions.items() if self._over(session)]:
            del self._sessions[key]
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
