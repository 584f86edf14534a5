"""The web page: where the operation stands, its runs, accounts and dead letters, for people (SPEC 7, ``dashboard``).

| module | subject |
|---|---|
| ``server`` | the socket, uvicorn, the signals |
| ``app`` | which address is answered by what, and what happens to errors |
| ``guard`` | what every request has to pass: host, origin, session, forgery; and the headers of every answer |
| ``access`` | tokens, sessions, rights, the brake on guessing |
| ``api`` | the answers to reading requests, as JSON |
| ``changes`` | the answers to requests that change something, or show personal data |
| ``readings`` | what is read, from the read service, and how long it is kept |
| ``replays`` | the replay of dead letters, one at a time, in a thread of its own |
| ``difference`` | an account's document beside what was last delivered, masked |
| ``static/`` | the page itself: plain HTML, CSS and ES modules, no build step, nothing from elsewhere |

It reads through ``insights`` like the command line, changes nothing but by a replay, and keeps no data of its own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incident_process.settings import Settings


def serve(settings: "Settings", host: str | None, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        settings: The configuration; ``[DASHBOARD]`` says where to listen and who may do what.
        host: Listen on this address instead.
        port: Listen on this port instead; 0 is any free one.
        on_ready: Called with the page's URL once it answers.

    Raises:
        ConfigurationError: The address cannot be had, or it is not this machine's own and no token is set.
    """
    from incident_process.dashboard.web_server import run_server

    run_server(settings, host, port, on_ready)
