"""Who may do what: tokens, the sessions that they open, and the brake on guessing.

A browser sends a cookie to every port of a host. So whoever serves a page on another port, as any user of the machine
may, is handed the cookies of this one and may plant some. A session is therefore two secrets: a cookie, which no script
can read, and a session token that the page is given once, at sign-in. The page keeps it in the storage of its own
origin, which no other port shares, and sends it back in a header with every request, reading or changing. Either alone
is worth nothing.

Who did something is whose token it was. A name that somebody types beside a shared token is shown as that: a claim.
Tokens are compared in constant time; only hashes are kept of them and of cookies, and nothing of either is ever logged
or shown.
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
"""A session that nobody used for so long is over: a page that is left open polls, so this is a closed one."""
LONGEST_SECONDS = 12 * 3600.0
"""And after a shift, everybody signs in again."""
MOST_SESSIONS = 1000
TRIES = 5
"""So many wrong tokens from one address within ``TRY_SECONDS`` are answered as such; more are told to wait."""
TRIES_OF_ALL = 50
"""The same over all addresses: guessing from many of them is guessing, too."""
TRY_SECONDS = 60.0
LONGEST_NAME = 60
_IN_NAMES = " .-_@'"


class AccessDeniedError(IncidentProcessError):
    """The token is wrong, or the name that goes with it is missing. The message is for the person who typed it."""


class ThrottledError(IncidentProcessError):
    """Too many wrong tokens; ``seconds`` from now it may be tried again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)  # from which pickle makes it again
        self.seconds = seconds

    def __str__(self) -> str:
        return f"Too many wrong tokens: try again in {self.seconds} s."


@dataclass(kw_only=True, slots=True)
class SignInSession:
    """Somebody who has signed in. ``token`` has to come back in a header with every request."""

    user: str
    """Whose token it is, for people: a person's name, or the key of a shared token and who its holder says to be."""
    may_unmask: bool
    address: str
    began: float
    seen: float
    token: str = field(repr=False)

    def proves(self, token: str | None) -> bool:
        """Return whether a request bears this session's token."""
        return token is not None and hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))


class Access:
    """The sessions of one process; they end with it.

    Args:
        dashboard: The tokens.
        clock: Seconds that only grow.
    """

    def __init__(self, dashboard: Dashboard, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders = [(_hashed(token), holder) for token, holder in dashboard.holders]
        self._clock = clock
        self._sessions: dict[str, SignInSession] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._wrong_by_all: deque[float] = deque(maxlen=TRIES_OF_ALL)
        self.has_token = dashboard.has_token
        """Whether anybody can sign in; without a token the page can be read, on this machine only, and not changed."""
        self.has_unmask_token = dashboard.has_unmask_token
        """Whether anybody can be allowed to see personal fields."""
        self.asks_name = any(not holder.is_person for _, holder in self._holders)
        """Whether a token may be one that several people have, so that they should say who they are."""

    def sign_in(self, token: str, user: str, address: str) -> tuple[str, SignInSession]:
        """Open a session and return the cookie that stands for it. A right token is never kept waiting.

        Args:
            token: What was given as a token.
            user: The name that somebody gives to a token that several have; not looked at for a token of one person.
            address: Where the request comes from.

        Raises:
            AccessDeniedError: the token is wrong, or a name is missing where it is needed.
            ThrottledError: the token is wrong, and not the first such from this address, or from all together.
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
        """Return the session that cookie and session token stand for, if it is not over; using it keeps it alive."""
        session = self._open(cookie)
        if session is None or not session.proves(token):
            return None
        session.seen = self._clock()
        return session

    def knows(self, cookie: str | None) -> bool:
        """Return whether the cookie alone is that of a session."""
        return self._open(cookie) is not None

    def sign_out(self, cookie: str | None) -> None:
        """End the session that the cookie stands for."""
        if cookie:
            self._sessions.pop(_hashed(cookie), None)

    def _holder(self, token: str) -> Holder | None:
        """Return whose token it is; all are compared, whatever the first says, so that the time taken tells nothing."""
        given = _hashed(token)  # hashes are of one length: the comparison does not even tell how long a token is
        found = [holder for of, holder in self._holders if hmac.compare_digest(given, of)]
        return found[0] if found else None

    def _refused(self, address: str) -> AccessDeniedError | ThrottledError:
        """Note a wrong token and return what is said to it."""
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
