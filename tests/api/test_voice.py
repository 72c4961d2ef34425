"""/ws/voice, by a real server: what a client hears, in which order, and where it goes on after it was away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from storage import voice_lines
from storage.connections import redis_client
from tasks import ear as ears
from tasks import voice_turns
from tasks.ear import Ear
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import Json, job_ids, newest_job, work
from tests.api.talking import PIECE, RATE, Turn, events, sound, talk
from tests.servers import wait_until
from tests.tasks.test_chats import Scripted, model
from tests.tasks.test_ear import CountingTranscriber, LoudIsSpeech, silence, speech
from tests.tasks.turns import FlatProsody, ScriptedSpeaker, replies_run
from workers.voice import house
from workers.voice.ports import HEARING_RATE

__all__ = ["model"]
Meanwhile = Callable[..., Future[Any]]


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch, live: Listening) -> Iterator[Ear]:
    """A voice worker's, with parts that take what is loud for speech."""
    parts = {"activity": LoudIsSpeech(), "transcriber": CountingTranscriber(), "speaker": ScriptedSpeaker()}
    monkeypatch.setattr(house, "_parts", {**parts, "speech_emotion": FlatProsody()})
    monkeypatch.setattr(ears, "LOOK_S", 0.05)
    monkeypatch.setattr(voice_turns, "feel", lambda *_: {"scores": {"joy": 0.8, "neutral": 0.2}, "backend": "b"})
    mine = Ear("one")
    mine.start()
    yield mine
    mine.stop()


def types(frames: list[Json | bytes]) -> list[str]:
    return [frame["type"] if isinstance(frame, dict) else "sound" for frame in frames]


# --- a turn


def test_what_is_said_is_answered_aloud(ear: Ear, live: Listening, model: Scripted, meanwhile: Meanwhile) -> None:
    """The order in which the seed documents its frames, and what stands between them."""
    with talk(live, use_rag=False) as me, replies_run():
        assert me.ready == {
            "type": "ready", "sample_rate": 16_000, "output_sample_rate": RATE, "session_id": None, "pause_ms": 600,
        }  # fmt: skip
        me.socket.send(speech(1).tobytes())
        me.socket.send(silence(1).tobytes())
        working = meanwhile(work, newest_job("voice"))
        frames = me.hears_a_turn()
        working.result()
    order = types(frames)
    heard = [order.index(kind) for kind in ("speech_started", "speech_ended", "turn_started", "transcript", "emotion")]
    assert heard == sorted(heard)
    assert order.index("partial_transcript") < order.index("turn_started")
    assert order.index("emotion") < order.index("response") < order.index("sound") < order.index("turn_done")
    told = events(frames)
    assert (told[0]["type"], told[0]["sequence_number"], told[-1]["type"]) == ("queued", 1, "done")
    said = {event["type"]: event for event in told}
    assert said["transcript"]["text"] == "160"
    assert said["emotion"]["data"]["primary_emotion"] == "joy"
    assert said["response"]["text"] == said["done"]["response"]["response"]
    assert next(event for event in told if event["type"] == "status")["message"] == "Transcribing..."
    assert len(sound(frames)) == 2 * sum(event["samples"] for event in told if event["type"] == "audio") > 0
    done = frames[-1]
    assert isinstance(done, dict)
    assert (done["job_id"], done["status"]) == (said["done"]["job_id"], "succeeded")
    assert {"stt_ms", "first_audio_ms", "total_ms"} <= done["timings"].keys()


def test_two_clients_of_one_conversation_hear_their_own_turns(
    ear: Ear, live: Listening, model: Scripted, meanwhile: Meanwhile
) -> None:
    session_id = factories.conversation()
    asked = {"session_id": session_id, "use_rag": False}
    with talk(live, **asked) as one, talk(live, **asked) as other, replies_run():
        for turns, (me, windows, text) in enumerate(((one, 25, "128"), (other, 50, "256")), 1):
            me.socket.send(speech(windows * 512 / HEARING_RATE).tobytes())
            me.tells(type="end_of_turn")
            wait_until(lambda turns=turns: len(job_ids("voice")) == turns)  # type: ignore[misc]
            meanwhile(work, newest_job("voice"))
            told = {event["type"]: event for event in events(me.hears_a_turn())}
            assert told["transcript"]["text"] == text
            assert told["done"]["response"]["session_id"] == session_id
    assert [message.content for message in factories.all_messages(session_id)][::2] == ["128", "256"]


def test_a_redis_that_was_emptied_is_spoken_through(ear: Ear, live: Listening) -> None:
    with talk(live, barge_in=False) as me:
        me.socket.send(speech(0.5).tobytes())
        me.hears_until(lambda frame: isinstance(frame, dict) and frame["type"] == "speech_started")
        redis_client().flushall()
        me.socket.send(speech(0.5).tobytes())
        me.tells(type="end_of_turn")
        me.hears_until(lambda frame: isinstance(frame, dict) and frame["type"] == "turn_started")


def test_turns_are_told_one_after_the_other_and_once(live: Listening) -> None:
    """Redis may tell again what it told; an ear may tell of a turn that the client came back for."""
    first, second, third = turns = Turn(), Turn(), Turn()
    with talk(live) as me:
        for turn in (first, second, first, second, third):
            me.is_told(type="turn_started", job_id=turn.job_id, session_id=turn.conversation_id)
        for turn in reversed(turns):
            turn.sounds(PIECE * 5)  # more than a frame takes
            turn.ends()
        for turn in turns:
            frames = me.hears_a_turn()
            assert frames[0] == {
                "type": "turn_started", "job_id": turn.job_id, "after": 0, "session_id": turn.conversation_id,
            }  # fmt: skip
            assert sound(frames) == PIECE * 5
            assert {event["job_id"] for event in events(frames)} == {turn.job_id}
        playing = {"type": "playing", "job_id": first.job_id, "ms": 5 * 512}
        wait_until(lambda: len(me.sent()) == 6)
        assert me.sent()[:2] == [playing, {"type": "told", "job_id": first.job_id}]


def test_a_turn_that_fails_or_is_cancelled_is_over_too(live: Listening) -> None:
    for status, kind in (("failed", "error"), ("cancelled", "cancelled")):
        turn = Turn()
        with talk(live) as me:
            me.is_told(type="turn_started", job_id=turn.job_id, session_id=turn.conversation_id)
            me.hears("turn_started")
            error = {"code": "boom", "message": "It broke.", "retryable": False} if status == "failed" else None
            factories.finish(turn.job_id, 1, status, event_seq=3, error=error)
            turn.tells(kind, **(error or {}))
            frames = me.hears_a_turn()
        assert types(frames) == ["queued", "started", kind, "turn_done"]
        assert frames[-1] == {"type": "turn_done", "job_id": turn.job_id, "status": status, "timings": None}


# --- stopping an answer


@pytest.mark.parametrize("by", ["client", "ear"])
def test_the_sound_of_an_answer_that_is_stopped_is_not_sent(live: Listening, by: str) -> None:
    """Neither what waits for the client already."""
    turn, pieces = Turn(), 400
    turn.sounds(*[PIECE * 4] * pieces)  # more than the connection holds
    with talk(live, narrow=True) as me:
        me.is_told(type="turn_started", job_id=turn.job_id, session_id=turn.conversation_id)
        assert isinstance(me.hears_until(lambda frame: isinstance(frame, bytes))[-1], bytes)
        if by == "client":
            me.tells(type="interrupt", heard_ms=420)
            wait_until(lambda: {"type": "interrupt", "heard_ms": 420} in me.sent())
        else:
            me.is_told(type="interrupted", job_id=turn.job_id, heard_ms=420)
            me.is_told(type="partial_transcript", text="But")
        turn.ends()
        frames = me.hears_a_turn()
        told = [control for control in me.sent() if isinstance(control, dict)]
    assert len(events(frames)) == pieces  # all but the first, and the end
    assert len(sound(frames)) < pieces * len(PIECE) * 4
    if by == "ear":
        assert types(frames).index("interrupted") < types(frames).index("partial_transcript")
        after = types(frames)[types(frames).index("interrupted") :]
        assert "sound" not in after
    assert 0 < [control["type"] for control in told].count("playing") < pieces


# --- coming back


def test_a_turn_that_goes_on_is_heard_from_where_it_was(live: Listening) -> None:
    turn = Turn()
    turn.sounds(PIECE, PIECE)
    with talk(live, job_id=turn.job_id, after=3) as me:
        assert me.ready["session_id"] == turn.conversation_id
        assert me.line.options["session_id"] == turn.conversation_id  # and so do its next questions
        assert me.hears("turn_started")["after"] == 3
        assert me.hears("audio")["sequence_number"] == 4
        assert me.hear() == PIECE
        assert me.sent()[0] == {"type": "resumed", "job_id": turn.job_id}
        me.is_told(type="turn_started", job_id=turn.job_id, session_id=turn.conversation_id)
        turn.sounds(PIECE)
        turn.ends()
        frames = me.hears_a_turn()
        assert types(frames) == ["audio", "sound", "done", "turn_done"]
        me.tells(type="ping")
        me.hears("pong")


def test_without_a_job_it_is_the_newest_of_the_conversation(live: Listening) -> None:
    wanted = Turn()
    elses = Turn()
    for turn in (wanted, elses):
        turn.ends()
    with talk(live, session_id=wanted.conversation_id, after=0) as me:
        assert me.hears("turn_started")["job_id"] == wanted.job_id
    with talk(live, after=0) as me:
        assert me.hears("turn_started")["job_id"] == elses.job_id
    with talk(live, session_id=factories.conversation(), after=0) as me:
        me.tells(type="ping")
        me.hears("pong")


def test_a_job_alone_is_told_from_its_start(live: Listening) -> None:
    turn = Turn()
    turn.ends(timings={"total_ms": 7})
    with talk(live, job_id=turn.job_id) as me:
        frames = me.hears_a_turn()
    assert types(frames) == ["turn_started", "queued", "started", "done", "turn_done"]
    assert frames[-1] == {
        "type": "turn_done", "job_id": turn.job_id, "status": "succeeded", "timings": {"total_ms": 7},
    }  # fmt: skip


@pytest.mark.parametrize("after", [3, 4, 2**53])
def test_who_has_heard_all_is_told_how_it_ended(live: Listening, after: int) -> None:
    turn = Turn()
    turn.ends()
    with talk(live, job_id=turn.job_id, after=after) as me:
        me.hears("turn_started")
        assert me.hears("turn_done")["status"] == "succeeded"


def test_sound_that_is_no_longer_kept_is_said_to_be_gone(live: Listening) -> None:
    turn = Turn()
    turn.sounds(PIECE, PIECE)
    turn.ends()
    redis_client().delete(voice_lines._audio(turn.job_id, 0))
    with talk(live, job_id=turn.job_id, after=2) as me:
        frames = me.hears_a_turn()
    assert types(frames) == ["turn_started", "audio", "status", "audio", "sound", "done", "turn_done"]
    assert frames[2] == {
        "type": "status", "status": "sound_gone", "message": "This sound is no longer kept.", "job_id": turn.job_id,
    }  # fmt: skip


def test_a_server_that_stops_says_so_and_not_that_the_turn_is_over(live: Listening) -> None:
    turn = Turn()
    with talk(live, job_id=turn.job_id) as me:
        me.hears("turn_started")
        live.hub.close()  # as `backchannel run web` does before it leaves
        assert me.is_closed()[0] == 1012
    turn.ends()
