"""Connections that are used again, before a server that counts them and closes them when it likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from config.settings import Settings
from tests.servers import wait_until
from tests.standins.openai_server import OpenAIServer
from tests.standins.server import Reply
from tests.workers.llm.answers import ask
from tests.workers.llm.openai_house import opened
from workers import registry
from workers.llm import kept
from workers.llm.kept import Wires
from workers.llm.wire import client_options


class Counting:
    """Answers every request with `body`, on as many connections as are made. `ends`: closes each after its answer,
    without having said so."""

    def __init__(self, body: bytes = b"0\r\n\r\n", *, ends: bool = False) -> None:
        self.body, self.ends, self.connections, self.closed = body, ends, 0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # who leaves bytes unread resets the connection: the next call on it here raises
        with connection, suppress(ConnectionError):
            while connection.recv(65_536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + self.body)
                if self.ends:
                    break
        self.closed += 1

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def counting() -> Iterator[Counting]:
    server = Counting()
    yield server
    server.close()


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def wires(request: pytest.FixtureRequest) -> Iterator[Wires]:
    http: ModuleType = request.param
    wires = Wires(http, lambda: None)
    yield wires
    wires.close_idle()


def client(wires: Wires) -> Any:
    return wires.http.Client(**client_options(wires.http, Settings(), wires))


def test_two_clients_one_after_the_other_use_one_connection(wires: Wires, counting: Counting) -> None:
    for _ in range(3):
        with client(wires) as one:
            one.get(counting.url)
    assert counting.connections == 1


def test_who_asks_at_the_same_time_has_a_connection_of_its_own(wires: Wires, counting: Counting) -> None:
    one = client(wires)
    with one.stream("GET", counting.url), one.stream("GET", counting.url):
        assert counting.connections == 2
    one.get(counting.url)
    assert counting.connections == 2


def test_an_answer_that_is_left_a_few_bytes_before_its_end_leaves_its_connection(wires: Wires) -> None:
    server = Counting(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
    one = client(wires)
    for _ in range(2):
        with one.stream("GET", server.url) as response:
            assert next(response.iter_bytes(2)) == b"ab"
    assert server.connections == 1
    server.close()


@pytest.mark.parametrize("rest", [b"", b"%x\r\n%s" % (1 << 20, b"x" * 100_000)], ids=["silent", "endless"])
def test_one_that_is_left_early_does_not(wires: Wires, rest: bytes) -> None:
    server = Counting(b"2\r\nab\r\n" + rest)
    one = client(wires)
    for _ in range(2):
        with one.stream("GET", server.url) as response:
            assert next(response.iter_bytes(2)) == b"ab"
    assert server.connections == 2
    wait_until(lambda: server.closed == 2, what="the server to be told")
    server.close()


def test_a_connection_that_was_closed_meanwhile_is_made_anew(wires: Wires) -> None:
    server = Counting(ends=True)
    one = client(wires)
    for times in (1, 2, 3):
        assert one.get(server.url).status_code == 200
        wait_until(lambda times=times: server.closed == times, what="the server to close")
    assert server.connections == 3
    server.close()


def test_what_is_idle_for_long_is_closed(wires: Wires, counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Counting()
    client(wires).get(counting.url)
    monkeypatch.setattr(kept, "KEPT_S", 0.0)
    client(wires).get(other.url)
    wait_until(lambda: counting.closed == 1, what="the idle connection to be closed")
    other.close()


def test_a_crowd_leaves_no_more_than_a_few(wires: Wires, counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_IDLE", 2)
    one = client(wires)
    crowd = [one.send(one.build_request("GET", counting.url), stream=True) for _ in range(5)]
    for response in crowd:
        response.close()
    wait_until(lambda: counting.closed == 3, what="the others to be closed")
    wires.close_idle()
    wait_until(lambda: counting.closed == 5, what="all to be closed")


def test_many_threads_share_them(wires: Wires, counting: Counting) -> None:
    one, heard = client(wires), []

    def ask_often() -> None:
        heard.extend(one.get(counting.url).status_code for _ in range(10))

    threads = [threading.Thread(target=ask_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [200] * 80
    assert counting.connections <= 8


def test_a_proxy_for_everything_is_not_gone_around(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", counting.url)
    wires = Wires(httpx2, lambda: None)
    with client(wires) as one:
        assert one.get("http://provider.invalid/").status_code == 200
    assert counting.connections == 1


# --- under a model


def test_another_models_answer_comes_over_the_same_connection() -> None:
    with OpenAIServer() as server:
        for model in (opened(server), opened(server, "gpt-4o")):
            server.answers(server.says("Yes."))
            assert ask(model).text == "Yes."
        assert (server.connections, len(server.asked)) == (1, 2)


def test_a_refusal_leaves_the_connection_too() -> None:
    with OpenAIServer() as server:
        server.answers(server.refused(503, "Busy", retry_after="0"), server.says("Yes."))
        assert ask(opened(server)).text == "Yes."
        assert server.connections == 1


def test_hanging_up_on_a_used_connection_wakes_the_reader_and_tells_the_server() -> None:
    with OpenAIServer() as server:
        model = opened(server)
        server.answers(server.says("Yes."), Reply(end="mute"))
        assert ask(model).text == "Yes."
        assert ask(model, cancelled=server.still.is_set).end.finish_reason == "cancelled"
        assert server.left.wait(2)
        assert server.connections == 1
        server.answers(server.says("Again."))
        assert ask(model).text == "Again."
        assert server.connections == 2


def test_what_is_kept_can_be_closed_and_comes_again() -> None:
    with OpenAIServer() as server:
        model = opened(server)
        for times in (1, 2):
            server.answers(server.says("Yes."))
            assert ask(model).text == "Yes."
            assert server.connections == times
            registry.close()
