from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.settings import Settings
from tests.servers import wait_until
from workers.llm.kept import Wires
from workers.llm.wire import Item, Line, client_options, line_here
from workers.ports import Delta

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"


class Silent:
    """Accepts one connection, sends `head` when it was asked, and then nothing until the caller has left."""

    def __init__(self, head: bytes, context: ssl.SSLContext | None) -> None:
        self._head, self._context = head, context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked, self.left = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        connection.settimeout(20)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            connection.recv(65536)
            connection.sendall(self._head)
            self.asked.set()
            while connection.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.left.set()
            connection.close()
            self._listening.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own, for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "stand-in.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("head", [HEAD, b""], ids=["after headers", "before headers"])
@pytest.mark.parametrize("http", [httpx, httpx2])
def test_hanging_up_wakes_the_reader_and_tells_the_server(
    http: type[httpx], head: bytes, tls: bool, certificate: Path
) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate)
    server = Silent(head, server_side if tls else None)
    verify = ssl.create_default_context(cafile=str(certificate))
    client = http.Client(**client_options(http, Settings(), Wires(http, line_here, verify=verify)))  # type: ignore[arg-type]
    closed: list[bool] = []

    def items() -> Generator[Item, None, None]:
        with client.stream("GET", server.url) as response:
            try:
                yield from (Delta(piece.decode()) for piece in response.iter_bytes())
            finally:
                closed.append(True)

    line = Line(items)
    heard: list[Item] = []
    reading = threading.Thread(target=_read, args=(line, heard))
    reading.start()
    assert server.asked.wait(10)
    if head:
        wait_until(lambda: heard, what="the first piece")
    line.__exit__(None, None, None)
    line.__exit__(None, None, None)
    reading.join(2)
    assert not reading.is_alive(), "the reading thread is awake"
    assert server.left.wait(2), "the server knows"
    assert len(closed) == (1 if head else 0)
    client.close()


def test_who_left_before_it_began_is_not_waited_for() -> None:
    server = Silent(b"", None)
    client = httpx2.Client(**client_options(httpx2, Settings()))

    def items() -> Generator[Item, None, None]:
        with client.stream("GET", server.url) as response:
            yield from (Delta(piece.decode()) for piece in response.iter_bytes())

    line = Line(items)
    line.__exit__(None, None, None)
    reading = threading.Thread(target=_read, args=(line, []))
    reading.start()
    reading.join(2)
    assert not reading.is_alive()
    assert server.left.wait(2)


@pytest.mark.parametrize("http", [httpx, httpx2])
def test_every_request_has_our_time_limits(http: type[httpx]) -> None:
    options = client_options(http, Settings(provider_connect_s=3, provider_silence_s=40))
    (hook,) = options["event_hooks"]["request"]
    request = http.Request("GET", "http://localhost", extensions={"timeout": {"read": None}})
    hook(request)
    assert request.extensions["timeout"] == {"connect": 3.0, "read": 40.0, "write": 40.0, "pool": None}


def _read(line: Line, heard: list[Item]) -> None:
    with suppress(httpx.HTTPError, httpx2.HTTPError), line as items:
        for item in items:
            heard.append(item)  # one by one: what came before the end counts
