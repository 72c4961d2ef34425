"""The web process inside the test's own, on SQLite and the run's Redis. No worker runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar
from litestar.testing import TestClient

from config.settings import reset_settings
from storage.listeners import EventHub
from tests.api.conformity import checks
from tests.servers import wait_until

BASE = "http://127.0.0.1:8000"
Start = Callable[..., TestClient[Litestar]]
Listen = Callable[..., "Listening"]


@dataclass
class Listening:
    """The app behind a real server on a free port."""

    app: Litestar
    port: int
    client: httpx.Client

    @property
    def hub(self) -> EventHub:
        return self.app.state.hub

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/jobs"


@pytest.fixture
def start(sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch) -> Iterator[Start]:
    """A client of the app with these settings; it speaks to the app as a browser on this machine would."""
    with ExitStack() as stack:

        def begin(**env: str) -> TestClient[Litestar]:
            app = _app(settings, env)
            client = stack.enter_context(TestClient(app, base_url=BASE, raise_server_exceptions=False))
            client.event_hooks = checks(app)
            return client

        yield begin


@pytest.fixture
def client(start: Start) -> TestClient[Litestar]:
    return start()


@pytest.fixture
def listen(sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch) -> Iterator[Listen]:
    """The app with these settings behind a real server: for streams, sockets and clients that go away."""
    with ExitStack() as stack:

        def begin(**env: str) -> Listening:
            app = _app(settings, env)
            config = uvicorn.Config(
                app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            stack.callback(_stop, server, thread)
            wait_until(lambda: server.started, what="the server to listen")
            port = server.servers[0].sockets[0].getsockname()[1]
            base = f"http://127.0.0.1:{port}"
            client = httpx.Client(base_url=base, trust_env=False, verify=False, timeout=20, event_hooks=checks(app))
            return Listening(app, port, stack.enter_context(client))

        yield begin


@pytest.fixture
def live(listen: Listen) -> Listening:
    return listen()


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., Future[Any]]]:
    """Have something done in another thread: a request that waits, while the test goes on."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def _app(settings: pytest.MonkeyPatch, env: dict[str, str]) -> Litestar:
    for name, value in env.items():
        settings.setenv(name, value)
    reset_settings()
    return _made(tuple(sorted(env.items())))


@cache
def _made(_env: tuple[tuple[str, str], ...]) -> Litestar:
    """Making an app takes longer than most tests; what it keeps of one start is made anew by the next."""
    from api.app import create_app

    return create_app()


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "the server does not stop"
