"""Refuses, on a connection without TLS, the logins that send the password as it is to whoever answers on the port.

The server chooses the login. Without TLS nothing shows that it is the server: another user of the host may listen on
the port while the server is down. MySQL's own clients refuse these logins by default as well.

The full logins of caching_sha2_password and sha256_password are left. A MySQL server asks each user for one after a
start, and of a user that it does not know, so refusing them would lock ordinary users out. There the password is
encrypted with the key that the answering side sends, which is no protection where that is not the server; ``doctor``
and SECURITY.md say so.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

READABLE = ("mysql_clear_password", "dialog", "mysql_old_password")
"""Logins in which the answering side gets the password, or a hash of it that is no protection."""


class ReadableLoginError(RuntimeError):
    """The server asks for a login of ``READABLE``; nothing was sent. ``plugin`` is its name."""

    def __init__(self, plugin: str) -> None:
        super().__init__(f"{plugin} is not used without TLS")
        self.plugin = plugin


class _Refused:
    """What asyncmy and pymysql alike take for the client's half of a login."""

    def __init__(self, plugin: str, _connection: Any) -> None:
        self._plugin = plugin

    def authenticate(self, _packet: Any) -> Any:
        """Send nothing."""
        raise ReadableLoginError(self._plugin)


def logins(*, encrypted: bool) -> dict[str, Callable[[Any], Any]]:
    """Return the drivers' ``auth_plugin_map`` for a connection with TLS or without."""
    return {} if encrypted else {plugin: partial(_Refused, plugin) for plugin in READABLE}
