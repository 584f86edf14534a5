"""The proxy does what the storm relies on: each way to fail is one that a client sees."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.proxy import TcpProxy

SECONDS = 0.4
"""How long a client waits for what must not come."""


class Service(ThreadingHTTPServer):
    """Answers each GET with the number of requests it has had."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was cut is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Service)
        self.server.asked += 1
        content = json.dumps(self.server.asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(service: Service) -> Iterator[TcpProxy]:
    with TcpProxy(service.server_address[1]) as made:
        yield made


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection) -> int:
    client.request("GET", "/")
    return int(json.loads(client.getresponse().read()))


def wait_for(client: http.client.HTTPConnection, seconds: float) -> None:
    """Change how long the open connection waits for an answer."""
    assert client.sock is not None
    client.sock.settimeout(seconds)


def test_it_forwards_and_keeps_connections(client: http.client.HTTPConnection, proxy: TcpProxy) -> None:
    assert [ask(client), ask(client)] == [1, 2]
    assert proxy.connections == 1


def test_a_cut_resets_what_is_open_and_takes_new_connections(
    client: http.client.HTTPConnection, proxy: TcpProxy
) -> None:
    ask(client)
    assert client.sock is not None
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.sock.recv(1)
    client.close()
    assert ask(client) == 2


def test_a_stall_holds_bytes_back_and_then_delivers_them(
    client: http.client.HTTPConnection, proxy: TcpProxy, service: Service
) -> None:
    ask(client)
    proxy.stall()
    wait_for(client, SECONDS)
    client.request("GET", "/")
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    assert service.asked == 1  # not even the request has passed
    wait_for(client, 5)
    proxy.resume()
    assert client.getresponse().read() == b"2"


def test_answers_that_were_swallowed_do_not_come_later(
    client: http.client.HTTPConnection, proxy: TcpProxy, service: Service
) -> None:
    ask(client)
    proxy.mute()
    wait_for(client, SECONDS)
    client.request("GET", "/")
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    assert service.asked == 2  # the service did it, the client cannot know
    proxy.resume()
    with pytest.raises(ConnectionResetError):
        client.sock.recv(1)
    client.close()
    assert ask(client) == 3


def test_refused_connections_are_taken_again_on_the_same_port(
    client: http.client.HTTPConnection, proxy: TcpProxy
) -> None:
    ask(client)
    proxy.refuse()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        ask(client)
    client.close()
    proxy.admit()
    assert ask(client) == 2


def test_a_service_that_is_away_is_a_connection_that_breaks() -> None:
    with socket.socket() as nobody:  # bound, not listening
        nobody.bind(("127.0.0.1", 0))
        with TcpProxy(nobody.getsockname()[1]) as proxy:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                ask(connection)
            connection.close()
