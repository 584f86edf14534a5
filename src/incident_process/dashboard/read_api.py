"""The answers to requests that only read. Their addresses and parameters are private to the page."""

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from incident_process.core.arguments import LONGEST_ACCOUNT
from incident_process.core.models import RunKind, RunSearch, RunStatus
from incident_process.core.version import __version__
from incident_process.dashboard.access import Access, SignInSession
from incident_process.dashboard.own_runs import OwnRuns
from incident_process.dashboard.read_model import MOST_LETTERS, ReadModel
from incident_process.dashboard.responses import BadRequestError, Json, number, problem
from incident_process.dashboard.security_middleware import NO_TOKEN
from incident_process.settings import Settings

WRITTEN_SECONDS = 1.0
PAGE = 25
MOST_PAGED = 1_000_000
SHORTEST_SEARCH = 3
LONGEST_SEARCH = 200

Word = TypeVar("Word", bound=StrEnum)


class ReadApi:
    """Handlers over ``ReadModel``."""

    def __init__(self, settings: Settings, access: Access, readings: ReadModel, own_runs: OwnRuns) -> None:
        self._settings = settings
        self._access = access
        self._readings = readings
        self._own_runs = own_runs
        path = settings.config_path
        self._config = "no file: the embedded default" if path is None else str(path.absolute())
        self._written: bytes | memoryview = b""
        self._written_until = 0.0

    def routes(self) -> list[Route]:
        """Return the addresses with their handlers."""
        return [
            Route("/api/session", self.session),
            Route("/api/overview", self.overview),
            Route("/api/runs", self.runs),
            Route("/api/runs/{run_id}", self.run),
            Route("/api/runs/{run_id}/log", self.run_log),
            Route("/api/accounts", self.accounts),
            Route("/api/account", self.account),
            Route("/api/document", self.document),
            Route("/api/dead-letters", self.dead_letters),
            Route("/api/pending", self.pending),
            Route("/api/own-run", self.own_run),
            Route("/api/doctor", self.doctor),
        ]

    async def session(self, request: Request) -> Json:
        """Answer who the user is and what the user may do; before sign-in, nothing of the operation."""
        session: SignInSession | None = request.scope["session"]
        may_read = session is not None or not self._access.has_token
        return Json(
            {
                "signed_in": session is not None,
                "may_read": may_read,
                "may_unmask": session.may_unmask if session else False,
                "can_sign_in": self._access.has_token,
                "can_unmask": self._access.has_unmask_token,
                "user": session.user if session else None,
                "asks_name": self._access.asks_name,
                "no_token": None if self._access.has_token else NO_TOKEN,
                "operation": self._settings.process.operation_name if may_read else None,
                "version": __version__ if may_read else None,
                "config": self._config if may_read else None,
            }
        )

    async def overview(self, _request: Request) -> Response:
        """Answer with the overview, encoded once a second for all open pages."""
        if time.monotonic() >= self._written_until:
            self._written = Json({**await self._readings.overview(), "own_run": self._own_runs.state}).body
            self._written_until = time.monotonic() + WRITTEN_SECONDS
        return Response(self._written, media_type=Json.media_type)

    async def runs(self, request: Request) -> Json:
        """Answer with a page of runs, of a kind or a status, of some days (UTC), that contain a text."""
        kind, status = _word(request, "kind", RunKind), _word(request, "status", RunStatus)
        since, before = _day(request, "from"), _day(request, "to", days=1)
        text = request.query_params.get("q", "").strip()
        if len(text) > LONGEST_SEARCH:
            raise BadRequestError(f"Give at most {LONGEST_SEARCH} characters to search for.")
        search = RunSearch(since=since, before=before, text=text)
        skip = number(request, "skip", 0, MOST_PAGED)
        return Json(await self._readings.runs(kind, status, search, skip, PAGE))

    async def run(self, request: Request) -> Json:
        """Answer with one run."""
        found = await self._readings.run(request.path_params["run_id"])
        return Json(found) if found is not None else problem(404, "There is no run of this id.")

    async def accounts(self, request: Request) -> Json:
        """Answer with the accounts that begin with the text of the search."""
        text = request.query_params.get("q", "").strip()
        if text and not SHORTEST_SEARCH <= len(text) <= LONGEST_ACCOUNT:
            raise BadRequestError(f"Give at least the first {SHORTEST_SEARCH} characters of the account number.")
        return Json(await self._readings.accounts(text))

    async def account(self, request: Request) -> Json:
        """Answer with an account's incidents."""
        before = number(request, "before", 0, 2**53) or None
        return Json(await self._readings.account(account_of(request), before))

    async def document(self, request: Request) -> Json:
        """Answer with an account's document beside the one last delivered, personal fields masked."""
        return Json(await self._readings.document(account_of(request), masked=True))

    async def dead_letters(self, request: Request) -> Json:
        """Answer with the reasons, and a page of the dead letters of one reason or of all."""
        skip = number(request, "skip", 0, MOST_LETTERS)
        return Json(await self._readings.dead_letters(request.query_params.get("group"), skip, PAGE))

    async def pending(self, request: Request) -> Json:
        """Answer with the incidents without an outcome, those tried page by page."""
        return Json(await self._readings.pending(number(request, "skip", 0, MOST_PAGED), PAGE))

    async def run_log(self, request: Request) -> Json:
        """Answer with the log lines of one run."""
        found = await self._readings.run_log(request.path_params["run_id"])
        return Json(found) if found is not None else problem(404, "There is no run of this id.")

    async def own_run(self, _request: Request) -> Json:
        """Answer with the state of the last run that a user started here."""
        return Json(self._own_runs.state)

    async def doctor(self, _request: Request) -> Json:
        """Answer with the doctor's findings."""
        return Json(await self._readings.doctor())


def account_of(request: Request) -> str:
    """Return the account number of the query; raise BadRequestError when there is none."""
    account = request.query_params.get("account", "")
    if not 0 < len(account) <= LONGEST_ACCOUNT:
        raise BadRequestError("account has to be an account number.")
    return account


def _day(request: Request, name: str, days: int = 0) -> datetime | None:
    """Return the begin of the parameter's day, or of the one so many days later."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days)
    except (ValueError, OverflowError) as exc:
        raise BadRequestError(f"{name} has to be a day, such as 2026-03-01.") from exc


def _word(request: Request, name: str, words: type[Word]) -> Word | None:
    text = request.query_params.get(name)
    if not text:
        return None
    if text not in set(words):
        raise BadRequestError(f"{name} has to be one of {', '.join(words)}.")
    return words(text)
