"""The dashboard as a process: its socket, its signals, and uvicorn around the application."""

from collections.abc import Callable

from incident_process.core.errors import ConfigurationError
from incident_process.core.http_server import Server, bounded, is_loopback, listen, server_config, url_host
from incident_process.core.logs import event, get_logger
from incident_process.dashboard.application import make_app
from incident_process.dashboard.security_middleware import host_names
from incident_process.settings import Settings

_CONNECTIONS_AT_ONCE = 500  # more than a team needs
_ANSWER_SECONDS = 300.0  # the doctor takes long over large tables
_KEEP_ALIVE_SECONDS = 30
_LAST_ANSWERS_SECONDS = 3

log = get_logger()


def run_server(settings: Settings, host: str | None, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        settings: The configuration; ``[DASHBOARD]`` says where to listen and who may do what.
        host: The address to listen on instead.
        port: The TCP port to listen on instead; 0 is any free one.
        on_ready: Called with the page's URL once it answers.

    Raises:
        ConfigurationError: The address cannot be had, or it is not this machine's own and no token is set.
    """
    address = host if host is not None else settings.dashboard.host
    _check(settings, address)
    port = settings.dashboard.port if port is None else port

    def refusal(reason: str) -> str:
        return (
            f"The dashboard cannot listen on {url_host(address)}:{port} ({reason}): name another address with "
            "--host and --port, or under [DASHBOARD]."
        )

    with listen(address, port, refusal) as listener:
        url = f"http://{url_host(address)}:{listener.getsockname()[1]}/"
        config = server_config(
            make_app(settings, host_names(address, settings.dashboard.names)),
            http=bounded(_CONNECTIONS_AT_ONCE, _ANSWER_SECONDS),
            loop="uvloop",
            lifespan="on",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        Server(config, lambda: on_ready(url)).run(sockets=[listener])


def _check(settings: Settings, host: str) -> None:
    dashboard = settings.dashboard
    if not dashboard.has_token and not is_loopback(host):
        raise ConfigurationError(
            f"[DASHBOARD] token is missing: on {host} others can reach the dashboard, so set a token of 16 or more "
            "characters, or listen on 127.0.0.1."
        )
    if dashboard.token is not None and dashboard.token == dashboard.unmask_token:
        raise ConfigurationError(
            "[DASHBOARD] unmask_token is the same as token, so everybody could see personal fields: give another one."
        )
    tokens = [token for token, _ in dashboard.holders]
    names = [holder.name for _, holder in dashboard.holders]
    if len(set(tokens)) < len(tokens) or len(set(names)) < len(names):
        raise ConfigurationError(
            "[DASHBOARD] tokens and unmask_tokens give a name or a token twice, so the log could not say whose it was: "
            "give each person one line and a token that nobody else has."
        )
    if not dashboard.has_token:
        log.warning(
            "No [DASHBOARD] token is set: every user of this host can read the dashboard, "
            "and nobody can change anything with it.",
            extra=event("dashboard_open"),
        )
    if not is_loopback(host):
        log.warning(
            "The dashboard listens on %s without encryption: let a proxy with TLS stand before it, or tokens can be "
            "read on the way.",
            host,
            extra=event("dashboard_unencrypted", host=host),
        )
