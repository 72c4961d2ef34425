"""/ws/voice where a client takes nothing or sends too much, where nobody listens, where Redis is away, and its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import uvicorn
from redis.exceptions import RedisError

from api import voice, voice_call
from api.voice_call import Backlog
from storage import voice_lines
from storage.connections import close_clients, redis_client
from tests import factories
from tests.api.conftest import Listen, Listening, _app
from tests.api.talking import PIECE, Talker, Turn, talk
from tests.api.test_voice_doors import nobody_speaks
from tests.servers import redis_server, wait_until

Meanwhile = Callable[..., Future[Any]]
SECOND = bytes(32_000)


def is_alive(me: Talker) -> None:
    me.tells(type="ping")
    me.hears("pong")


# --- too much


@contextmanager
def served(app: Any, ws: Literal["auto", "websockets"] = "auto") -> Iterator[tuple[Listening, uvicorn.Server]]:
    """By uvicorn with this implementation of WebSockets."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws=ws
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, what="the server to listen")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(timeout=30) as client:
            yield Listening(app, port, client), server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:The `websockets` implementation")
@pytest.mark.parametrize("ws", ["auto", "websockets"])
def test_who_takes_nothing_is_let_go(
    sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch, ws: Any
) -> None:
    """And what was said to nobody was never fetched: the server holds a few frames of it."""
    turn, pieces, fetched = Turn(), 300, list[int]()
    loud = (PIECE * 8)[:65_000]
    turn.sounds(*[loud] * pieces)
    turn.ends()
    with served(_app(settings, {"VOICE_SEND_TIMEOUT_S": "0.4"}), ws) as (live, _):
        lines = live.app.state.lines
        audio = lines.audio

        async def counted(job_id: str, index: int) -> bytes | None:
            fetched.append(index)
            found: bytes | None = await audio(job_id, index)
            return found

        monkeypatch.setattr(lines, "audio", counted)
        with talk(live) as other, talk(live, narrow=True, job_id=turn.job_id):
            wait_until(lambda: len(lines) == 1, what="the deaf one to be let go")
            assert live.hub.listeners == 0
            is_alive(other)
    assert 0 < len(fetched) < pieces / 2


def test_who_sends_faster_than_is_listened_is_not_read_from(
    live: Listening, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, settings: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "SPARE_S", -55.0)  # five seconds, 160 kB
    said = b"".join(bytes([number]) * 100_000 for number in range(200))
    with talk(live) as me:

        def speak() -> None:
            for start in range(0, len(said), 1_000_000):
                me.socket.send(said[start : start + 1_000_000])
            me.tells(type="end_of_turn")

        speaking = meanwhile(speak)
        taken: list[bytes] = []
        while not (speaking.done() and me.sent() == [{"type": "end_of_turn"}]):
            held = redis_client().xrange(f"bc:voice:{me.line.id}:in")
            sound = [entry[b"a"] for _, entry in held if b"a" in entry]  # type: ignore[union-attr,index,operator]
            assert sum(map(len, sound)) <= 160_000 + voice.READ_BYTES
            taken += sound
            if sound:
                voice_lines.forget_until(me.line.id, held[len(sound) - 1][0].decode())  # type: ignore[index,union-attr]
        speaking.result()
        assert b"".join(taken) == said


def test_a_whole_utterance_fits_however_small_its_frames(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ear forgets nothing of it before its end; were it held back, that end would never come."""
    live = listen(VOICE_MAX_UTTERANCE_S="4")
    monkeypatch.setattr(voice, "SPARE_S", 4.0)
    frames = 4 * 48_000 // 128
    with talk(live, sample_rate=48_000) as me:
        for _ in range(frames):
            me.socket.send(bytes(256))
        is_alive(me)
        assert len(me.sent()) == frames > 1200


def test_a_backlog_is_what_the_stream_still_holds() -> None:
    backlog = Backlog(limit=10_000)
    backlog.add(bytes(3200 * 2 + 1))
    assert backlog.bytes == 3200 * 2 + 1 + 3 * voice_call.ENTRY_COST
    backlog.add(bytes(3200))
    assert backlog.is_full is False
    backlog.add(b"\1")
    backlog.keep(2)  # of five entries
    assert backlog.bytes == 3201 + 2 * voice_call.ENTRY_COST
    backlog.keep(7)  # with what was said in words
    assert backlog.bytes == 3201 + 2 * voice_call.ENTRY_COST
    backlog.keep(0)
    assert backlog.bytes == 0


def test_who_is_heard_by_nobody_is_told(live: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "SPARE_S", -59.0)  # one second
    monkeypatch.setattr(voice, "UNHEARD_S", 0.2)
    with talk(live) as me:
        me.socket.send(SECOND + SECOND)
        error = me.hears("error")
        assert (error["code"], error["retryable"]) == ("unavailable", True)
        assert me.is_closed() == (4503, error["message"])
        assert b"".join(sound for sound in me.sent() if isinstance(sound, bytes)) == SECOND + SECOND


def test_who_says_nothing_for_long_is_let_go(listen: Listen) -> None:
    live = listen(VOICE_IDLE_MIN="0.005")
    with talk(live) as me:
        assert me.is_closed()[0] == 4408
    nobody_speaks(live)


# --- Redis


@pytest.fixture
def own_redis(sqlite: str, tmp_path: Path) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """(its URL, kill it, start it again with what it held): of this test alone."""
    close_clients()
    with ExitStack() as stack:
        servers = [stack.enter_context(redis_server(tmp_path / "redis", append_only=True))]

        def kill() -> None:
            servers[-1][1].kill()
            servers[-1][1].wait()

        yield (
            servers[0][0],
            kill,
            lambda: servers.append(stack.enter_context(redis_server(tmp_path / "redis", append_only=True))),
        )
        close_clients()


def test_a_redis_that_is_started_again_costs_nothing_that_was_said(own_redis: Any, listen: Listen) -> None:
    url, kill, start = own_redis
    live = listen(REDIS_URL=url)
    redis_client().config_set("appendfsync", "always")  # else it may be killed before it has written
    turn = Turn()
    with talk(live, job_id=turn.job_id) as me:
        me.socket.send(b"\1\1")
        is_alive_in_a_turn(me)
        kill()
        me.socket.send(b"\2\2")
        me.tells(type="interrupt", heard_ms=7)
        me.socket.send(b"\3\3")
        start()
        wait_until(lambda: answers() and len(me.sent()) >= 5)
        assert me.sent()[1:] == [b"\1\1", b"\2\2", {"type": "interrupt", "heard_ms": 7}, b"\3\3"]
        turn.tells("status", status="generating_response")
        turn.ends()
        told = me.hears_a_turn()[-1]
        assert isinstance(told, dict)
        assert told["status"] == "succeeded"


def is_alive_in_a_turn(me: Talker) -> None:
    me.tells(type="ping")
    me.hears_until(lambda frame: isinstance(frame, dict) and frame["type"] == "pong")


def answers() -> bool:
    try:
        return bool(redis_client().ping())
    except RedisError:
        return False


def test_a_redis_that_stays_away_ends_the_connection(
    own_redis: Any, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, kill, _ = own_redis
    monkeypatch.setattr(voice_call, "REDIS_PATIENCE_S", 0.2)
    live = listen(REDIS_URL=url)
    with talk(live) as me:
        kill()
        me.socket.send(SECOND)
        error = me.hears("error")
        assert (error["code"], error["retryable"]) == ("unavailable", True)
        assert me.is_closed() == (4503, error["message"])
    nobody_speaks(live)


# --- the end


def test_a_server_that_stops_lets_everybody_go(sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch) -> None:
    session_id = factories.conversation()
    with served(_app(settings, {})) as (live, server), talk(live) as one, talk(live, session_id=session_id) as other:
        server.should_exit = True
        for me in (one, other):
            assert me.is_closed()[0] == 1012
            wait_until(lambda me=me: me.sent() == [{"type": "close"}])  # type: ignore[misc]
