"""The answers to requests that change something or show personal data: signing in and out, runs, unmasking.

Their log lines say who did what, and from which address: no token, no value, and only the end of an account number.
"""

import asyncio

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from incident_process.core.arguments import kept_reason
from incident_process.core.logs import event, get_logger
from incident_process.core.models import INTERRUPTED, RunKind, RunRequest
from incident_process.core.process_identity import Runner
from incident_process.dashboard.access import Access, AccessDeniedError, SignInSession, ThrottledError
from incident_process.dashboard.own_runs import MakePlan, OwnRuns, replay_of, window_now
from incident_process.dashboard.read_model import MOST_LETTERS, ReadModel
from incident_process.dashboard.refused_sign_ins import RefusedSignIns
from incident_process.dashboard.responses import Json, content, problem
from incident_process.dashboard.security_middleware import cookie_name, cookie_of
from incident_process.dashboard.sign_in_turns import MOST_HELD, MOST_WAITING, SignInTurns
from incident_process.dashboard.stop_signal import stop_by_signal

log = get_logger()

_SHOWN_OF_ACCOUNT = 4
WRONG_SECONDS = 1.0
"""Seconds that the answer to a wrong token waits: it slows guesses down."""


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends to sign in."""

    token: str
    user: str = ""


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters to replay: those of these accounts, or those of one reason; ``only`` leaves the pending."""

    accounts: list[str] = []
    group: str | None = None
    why: str = ""
    only: bool = False


class StartRun(msgspec.Struct, forbid_unknown_fields=True):
    """Why to start a run now."""

    why: str = ""


class StopRun(msgspec.Struct, forbid_unknown_fields=True):
    """The run to stop."""

    run_id: str


class Unmask(msgspec.Struct, forbid_unknown_fields=True):
    """The account whose personal fields to show."""

    account: str


class EmptyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request without content."""


class WriteApi:
    """Handlers of requests that ``SecurityMiddleware`` let pass."""

    def __init__(self, access: Access, readings: ReadModel, own_runs: OwnRuns) -> None:
        self._access = access
        self._readings = readings
        self._own_runs = own_runs
        self._turns = SignInTurns()
        self._refused = RefusedSignIns()

    def close(self) -> None:
        """Log how many sign-ins were refused since the last line that said so."""
        self._refused.close()

    def routes(self) -> list[Route]:
        """Return the addresses with their handlers."""
        return [
            Route("/api/sign-in", self.sign_in, methods=["POST"]),
            Route("/api/sign-out", self.sign_out, methods=["POST"]),
            Route("/api/replay", self.replay, methods=["POST"]),
            Route("/api/start", self.start, methods=["POST"]),
            Route("/api/stop", self.stop, methods=["POST"]),
            Route("/api/unmask", self.unmask, methods=["POST"]),
        ]

    async def sign_in(self, request: Request) -> Response:
        """Open a session for the holder of a token."""
        given = await content(request, SignIn)
        address = request.client.host if request.client else "unknown"
        if not await self._turns.take(address):
            self._refused.note(address)
            sent_away = ThrottledError(round(WRONG_SECONDS * MOST_WAITING / MOST_HELD))
            return problem(429, str(sent_away), {"Retry-After": str(sent_away.seconds), "Connection": "close"})
        try:
            if await request.is_disconnected():  # while it waited; its turn is for the next
                raise ClientDisconnect
            cookie, session = self._access.sign_in(given.token, given.user, address)
        except ThrottledError as exc:
            self._refused.note(address)
            await asyncio.sleep(WRONG_SECONDS)
            return problem(429, str(exc), {"Retry-After": str(exc.seconds)})
        except AccessDeniedError as exc:
            self._refused.note(address)
            await asyncio.sleep(WRONG_SECONDS)
            return problem(403, str(exc))
        finally:
            self._turns.give_back()
        _note("signed_in", session, "signed in" + (", may unmask" if session.may_unmask else ""))
        answer = Json({"session_token": session.token})  # no other answer has it
        answer.set_cookie(
            cookie_name(request.headers),
            cookie,
            httponly=True,
            samesite="strict",
            # Behind https, even if a proxy ends it, the cookie must stay within https.
            secure=request.headers["origin"].startswith("https://"),
            path="/",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await content(request, EmptyRequest)
        self._access.sign_out(cookie_of(request.headers))
        _note("signed_out", request.scope["session"], "signed out")
        answer = Response(status_code=204)
        answer.delete_cookie(cookie_name(request.headers), path="/", httponly=True, samesite="strict")
        return answer

    async def replay(self, request: Request) -> Response:
        """Begin a replay; the page asks for its end by GET."""
        given = await content(request, Replay)
        accounts = frozenset(given.accounts)
        if bool(accounts) == (given.group is not None) or len(accounts) > MOST_LETTERS:
            return problem(400, "Name accounts, or one reason, but not both.")
        what = f"{len(accounts)} account(s)" if accounts else "all dead letters of one reason"
        session: SignInSession = request.scope["session"]
        plan = replay_of(accounts, given.group, _asked_by(session, given.why), only=given.only)
        return self._begin(session, RunKind.REPLAY, plan, "replay_started", f"replays {what}")

    async def start(self, request: Request) -> Response:
        """Begin a window run, due or not; the page asks for its end by GET."""
        given = await content(request, StartRun)
        session: SignInSession = request.scope["session"]
        plan = window_now(_asked_by(session, given.why))
        return self._begin(session, RunKind.WINDOW, plan, "run_requested", "starts a run")

    async def stop(self, request: Request) -> Response:
        """Let the run under way end in good order, where this process or one that it reaches does it."""
        run_id = (await content(request, StopRun)).run_id
        session: SignInSession = request.scope["session"]
        holder = await self._readings.under_way(run_id)
        if holder is None:
            return problem(409, "This run is not under way any more.")
        if holder == str(Runner.this()):
            refused = None if self._own_runs.stop(f"{INTERRUPTED}{session.user}") else "This run is ending already."
        else:
            refused = stop_by_signal(holder)
        if refused is not None:
            return problem(409, refused)
        _note("run_stop_requested", session, f"stops run {run_id}", stopped_run=run_id)
        self._readings.forget()
        return Json({}, 202)

    def _begin(self, session: SignInSession, kind: RunKind, plan: MakePlan, name: str, what: str) -> Response:
        if not self._own_runs.start(kind, plan, session.user):
            return problem(409, "A run that was started here is under way already: wait for its end.")
        _note(name, session, what)
        return Json(self._own_runs.state, 202)

    async def unmask(self, request: Request) -> Response:
        """Show an account's document with its personal fields to a user who may see them, and log that."""
        given = await content(request, Unmask)
        session: SignInSession = request.scope["session"]
        if not session.may_unmask:
            return problem(
                403,
                "Your token does not let you see personal fields: sign in with [DASHBOARD] unmask_token."
                if self._access.has_unmask_token
                else "Nobody may see personal fields here: no [DASHBOARD] unmask_token is set.",
            )
        account = given.account
        newest = await self._readings.account(account, None)
        incident = newest["incidents"][0]["incident_id"] if newest["incidents"] else None
        # Logged before anything is shown. A reader of the ledger finds the exact account by the incident.
        _note(
            "unmasked",
            session,
            f"unmasks the account that ends in {account[-_SHOWN_OF_ACCOUNT:]}"
            + (f" (its newest incident is {incident})" if incident else " (it has no incident)"),
            incident_id=incident,
        )
        return Json(await self._readings.document(account, masked=False))


def _asked_by(session: SignInSession, why: str) -> RunRequest:
    """Return what the run's record says of who asked for it."""
    return RunRequest(requested_by=session.user, why=kept_reason(why))


def _note(name: str, session: SignInSession, what: str, **further: object) -> None:
    log.info(
        "Dashboard: %s at %s %s.",
        session.user,
        session.address,
        what,
        extra=event(name, user=session.user, address=session.address, **further),
    )
