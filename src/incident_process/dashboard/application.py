"""The application: its routes, and the answers to errors."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from incident_process.core.errors import IncidentProcessError
from incident_process.core.logs import event, get_logger
from incident_process.dashboard.access import Access
from incident_process.dashboard.own_runs import OwnRuns
from incident_process.dashboard.read_api import ReadApi
from incident_process.dashboard.read_model import ReadModel
from incident_process.dashboard.responses import BadRequestError, Json, problem
from incident_process.dashboard.security_middleware import Hosts, SecurityMiddleware
from incident_process.dashboard.write_api import WriteApi
from incident_process.settings import Settings

log = get_logger()

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}


def make_app(settings: Settings, hosts: Hosts) -> ASGIApp:
    """Return the application for these settings, which answers under these host names."""
    access = Access(settings.dashboard)
    readings = ReadModel(settings)
    runs = OwnRuns(settings, readings.forget)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        changing.close()
        await runs.close()
        await readings.close()

    reading, changing = ReadApi(settings, access, readings, runs), WriteApi(access, readings, runs)
    app = Starlette(
        routes=[*changing.routes(), *reading.routes(), *_static()],
        exception_handlers={
            BadRequestError: _bad_request,
            IncidentProcessError: _own_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )
    return SecurityMiddleware(app, access, hosts)  # outermost, so that answers to faults get the headers, too


async def _bad_request(_request: Request, exc: Exception) -> Json:
    return problem(400, str(exc))


async def _own_error(_request: Request, exc: Exception) -> Json:
    return problem(503, str(exc))  # its messages are for users


async def _gone(_request: Request, _exc: Exception) -> Json:
    # No fault, and nothing to log: everybody can break off a request, as often as they like.
    return problem(400, "The request broke off.")


async def _http_error(_request: Request, exc: Exception) -> Json:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return problem(status, {404: "There is nothing at this address.", 405: "This cannot be done here."}.get(status, ""))


async def _unexpected(_request: Request, exc: Exception) -> Json:
    log.error("Dashboard: unexpected fault: %s.", type(exc).__name__, extra=event("unexpected_fault"))
    log.debug("Traceback:", exc_info=exc, extra=event("traceback"))
    return problem(500, "An unexpected fault; the log names it.")


def _static() -> list[Route]:
    """Return a route for every file of the page. It reads them once, so no request's path reaches the disk."""
    folder = files("incident_process.dashboard") / "static"
    return [
        Route("/", _served(folder / "index.html", "no-store")),
        *(
            # The icons are at hand without a question, so that the tab can show that the server does not answer.
            Route(f"/static/{name}", _served(file, "max-age=86400" if name.startswith("icon") else "no-cache"))
            for name, file in _files(folder)
            if not name.endswith(".html")
        ),
    ]


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for item in folder.iterdir():
        if item.is_dir():
            found += _files(item, f"{prefix}{item.name}/")
        else:
            found.append((f"{prefix}{item.name}", item))
    return found


def _served(file: Traversable, kept: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers with a file, or with 304 where the browser has it already."""
    body = file.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": kept}
    media_type = _TYPES[file.name[file.name.rindex(".") :]]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)

    return answer
