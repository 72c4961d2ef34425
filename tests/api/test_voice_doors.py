"""Who is let in to /ws/voice, with what, and what becomes of frames that mean nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from config.queues import Kind
from storage import conversations, keys, users, voice_lines
from storage.connections import redis_client
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Listen, Listening
from tests.api.talking import Talker, Turn, address, closed, refused, talk
from tests.servers import wait_until


def key_of(name: str) -> tuple[str, str]:
    with transaction() as session:
        user = users.add(session, name)
        return user.id, keys.make(session, user.id, "")[1]


def nobody_speaks(live: Listening) -> None:
    wait_until(lambda: len(live.app.state.lines) == 0, what="the lines to be closed")


# --- the address

BAD = [
    ("sample_rate", "7999"), ("sample_rate", "48001"), ("sample_rate", "x"), ("sample_rate", ""), ("speed", "nan"),
    ("speed", "0.4"), ("after", "-1"), ("after", "9" * 40), ("barge_in", "perhaps"), ("pause_ms", "99"),
    ("session_id", "x" * 65), ("job_id", "\0"), ("system", "\0"), ("model", "a\0b"), ("temperature", "inf"),
    ("seed", "1.5"), ("max_tokens", "0"), ("nope", "1"), ("é" * 100, "1"), ("\0", "1"),
]  # fmt: skip


def test_addresses_that_say_what_cannot_be_had(live: Listening) -> None:
    for name, value in BAD:
        error, code, reason = refused(live, **{name: value})
        assert (error["type"], error["code"], error["retryable"], code) == ("error", "unprocessable", False, 4422), name
        assert error["message"].startswith(f"{name[:64]}: ")
        assert error["message"].endswith(".")
        assert len(error["message"]) < 300
        assert error["message"].startswith(reason)
        assert 20 < len(reason.encode()) <= 120
    assert len(live.app.state.lines) == 0
    assert redis_client().keys("bc:voice:*") == []


def test_what_may_be_said_goes_with_each_turn(live: Listening) -> None:
    session_id = factories.conversation()
    asked: dict[str, Any] = {
        "session_id": session_id, "model": "m", "use_rag": False, "system": "Be brief. é", "temperature": 0.5,
        "seed": 7, "max_tokens": 9, "voice": "v", "speed": 1.5,
    }  # fmt: skip
    with talk(live, sample_rate=44_100, pause_ms=900, barge_in=False, **asked) as me:
        assert me.line.options == asked
        assert (me.line.sample_rate, me.line.output_rate, me.line.pause_ms) == (44_100, 8_000, 900)
        assert (me.line.barge_in, me.line.owner_id) == (False, LOCAL_OWNER)
        assert me.ready["session_id"] == session_id


def test_what_belongs_to_somebody_else_is_not_there(live: Listening) -> None:
    somebody = factories.owner()
    elses = Turn(owner_id=somebody)
    chat = factories.job(Kind.CHAT)
    for query in (
        {"session_id": "nope"},
        {"session_id": elses.conversation_id},
        {"session_id": elses.conversation_id, "after": 0},
        {"job_id": "nope", "after": 0},
        {"job_id": elses.job_id, "after": 0},
        {"job_id": elses.job_id},
        {"job_id": chat, "after": 0},
    ):
        error, code, _ = refused(live, **query)
        assert (error["code"], code) == ("not_found", 4404), query
    with talk(live, after=0) as me:  # the newest of one's own
        me.tells(type="ping")
        me.hears("pong")


# --- who


def test_who_is_not_signed_in_stays_outside(listen: Listen) -> None:
    live = listen(AUTH_MODE="required")
    owner_id, key = key_of("alice")
    with pytest.raises(InvalidStatus) as refusal:
        connect(address(live), proxy=None)
    assert refusal.value.response.status_code == 403
    with connect(address(live), proxy=None, additional_headers={"X-API-Key": key}) as socket:
        assert Talker(socket).line.owner_id == owner_id


def test_pages_of_other_origins_are_refused(live: Listening) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connect(address(live), proxy=None, origin="https://evil.example")  # type: ignore[arg-type]
    assert refusal.value.response.status_code == 403
    with connect(address(live), proxy=None, origin=f"http://127.0.0.1:{live.port}") as socket:  # type: ignore[arg-type]
        Talker(socket)


def test_voice_that_is_switched_off_says_so(listen: Listen) -> None:
    error, code, reason = refused(listen(VOICE_ENABLED="false"))
    assert (error["message"], code) == ("Voice is switched off here (VOICE_ENABLED).", 4503)
    assert reason == error["message"]


def test_so_many_speak_at_once(listen: Listen) -> None:
    live = listen(VOICE_MAX_CONNECTIONS="2")
    with talk(live), talk(live):
        error, code, _ = refused(live)
        assert (error["code"], error["retryable"], code) == ("too_many_requests", True, 4429)
    nobody_speaks(live)
    with talk(live):
        pass


def test_a_hundred_speak_at_once(live: Listening) -> None:
    talkers = [talk(live) for _ in range(100)]
    entered = [talker.__enter__() for talker in talkers]
    assert len(live.app.state.lines) == len(voice_lines.open_lines()) == 100
    for me in entered:
        me.socket.send(b"\1\2")
        me.tells(type="ping")
    for me in entered:
        me.hears("pong")
        assert me.sent() == [b"\1\2"]
        me.socket.socket.close()  # without a word
    nobody_speaks(live)
    for me in entered:
        wait_until(lambda me=me: me.sent()[-1] == {"type": "close"})  # type: ignore[misc]


def test_without_redis_nobody_is_let_in_nor_counted(listen: Listen, settings: pytest.MonkeyPatch) -> None:
    live = listen(REDIS_URL="unix:///nowhere/redis.sock", VOICE_MAX_CONNECTIONS="1")
    for _ in range(3):
        error, code, _ = refused(live)
        assert (error["code"], error["retryable"], code) == ("unavailable", True, 4503)
    assert len(live.app.state.lines) == 0


def test_without_a_database_nobody_is_let_in(live: Listening, settings: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("secret", None, Exception("secret"))

    settings.setattr(conversations, "get", away)
    error, code, _ = refused(live, session_id="x")
    assert (error["code"], code) == ("unavailable", 4503)
    assert "secret" not in json.dumps(error)


def test_a_failure_inside_tells_nothing_of_it(live: Listening, settings: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("secret")

    settings.setattr(conversations, "get", explode)
    with connect(address(live, session_id="x"), proxy=None) as socket:
        code, reason = closed(socket)
    assert code == 1011
    assert "secret" not in reason


# --- frames

RUBBISH = [
    "", "{", "null", "[]", "1", '"x"', "{}", '{"type":1}', '{"type":null}', '{"type":"nope"}',
    '{"type":"interrupt","x":1}', '{"type":"interrupt","heard_ms":-1}', '{"type":"interrupt","heard_ms":1.5}',
    '{"type":"interrupt","heard_ms":"1"}', '{"type":"interrupt","heard_ms":99999999999999999999999}',
    '{"type":"\\ud800"}', "[" * 5_000, "x" * 10_001, '{"type":"' + "é" * 5_000 + '"}', "\0",
    '{"type":"ping"} {"type":"ping"}',
]  # fmt: skip


def test_text_that_means_nothing_is_refused_and_not_the_end(live: Listening) -> None:
    with talk(live) as me:
        for text in RUBBISH:
            me.socket.send(text)
            error = me.hears("error")
            assert (error["code"], error["retryable"]) == ("bad_request", False), text
            assert error["message"].endswith(".")
            assert len(json.dumps(error)) < 600
        me.tells(type="ping")
        me.hears("pong")
        assert me.sent() == []


def test_who_talks_nothing_but_nonsense_is_let_go(live: Listening) -> None:
    with talk(live) as me:
        for _ in range(100):
            me.socket.send("?")
            assert me.hears("error")["message"].startswith("Text frames hold")
        me.socket.send("?")
        reason = me.hears("error")["message"]
        assert reason == "Too many messages that mean nothing here."
        assert me.is_closed() == (4400, reason)
    nobody_speaks(live)


def test_text_that_is_no_text_ends_the_connection(live: Listening) -> None:
    with talk(live) as me:
        me.socket.send(b"\xff\xfe", text=True)
        assert me.is_closed()[0] == 1007
    nobody_speaks(live)


def test_sound_goes_on_as_it_came(live: Listening) -> None:
    """Of any length, odd ones too: only the ear knows where a sample begins."""
    big = bytes(range(256)) * 4096
    with talk(live) as me:
        for data in (b"", b"\1", b"\2\3\4", big, b""):
            me.socket.send(data)
        me.socket.send([b"\5", b"\6"])  # one message, two frames
        me.tells(type="end_of_turn")
        wait_until(lambda: {"type": "end_of_turn"} in me.sent())
        *sound, last = me.sent()
        assert b"".join(sound) == b"\1\2\3\4" + big + b"\5\6"  # type: ignore[arg-type]
        assert max(map(len, sound)) == voice_lines.MAX_ENTRY_BYTES
        assert last == {"type": "end_of_turn"}


def test_a_message_beyond_all_measure_ends_the_connection(live: Listening) -> None:
    with talk(live) as me:
        with suppress(ConnectionClosed):  # while it is being sent
            me.socket.send(bytes(17 * 2**20))
        assert me.is_closed()[0] in (1009, 1006)  # it says why, unless the rest of the message is in the way
    nobody_speaks(live)
