"""`backchannel talk`: a question goes out whole, from a file or a microphone, and its answer is heard."""

from __future__ import annotations

import json
import sys
import threading
import types
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import sound, talk, voice_line
from cli.client import Client
from cli.problems import ClientError
from cli.talk import OUTPUT_RATE
from tests.cli.asking import (
    EMOTION,
    LOG,
    SOUNDS,
    TIMINGS,
    Ask,
    answers,
    ask,
    house,
    tell_log,
    turn_done,
    turn_started,
    written,
)
from tests.cli.conftest import Run
from tests.cli.voice_stand_in import SESSION, TURN, Connected, VoiceStandIn, numbered
from tests.servers import wait_until
from workers.voice.ports import HEARING_RATE

__all__ = ["ask", "house"]


# --- the usual


def test_a_question_is_answered(ask: Ask, house: VoiceStandIn, tmp_path: Path) -> None:
    house.scripts = [answers]
    out = tmp_path / "answer.wav"
    result = ask("--out", out, "--session", SESSION, "--voice", "en-gb", "--no-rag")
    assert result.exit_code == 0, result.output
    assert result.stdout == "> how do I prune roses\nPrune them in winter. Yes.\n"
    for told in ("Transcribing...", "… how do", "[pocketsphinx, confidence 0.83]", "[joy, confidence 0.71, fusion]",
                 "first sound 0.9 s", "all 1.9 s"):  # fmt: skip
        assert told in result.stderr
    assert written(out) == b"".join(SOUNDS)
    assert house.connections[0].query == {
        "sample_rate": "16000", "output_sample_rate": str(OUTPUT_RATE), "session_id": SESSION, "voice": "en-gb",
        "use_rag": "false", "barge_in": "false",
    }  # fmt: skip


def test_as_json(ask: Ask, house: VoiceStandIn) -> None:
    house.scripts = [answers]
    result = ask("--json")
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert (body["session_id"], body["out"]) == (SESSION, None)
    (turn,) = body["turns"]
    assert turn == {
        "job_id": TURN, "status": "succeeded", "emotion": EMOTION, "response": "Prune them in winter. Yes.",
        "transcript": {"text": "how do I prune roses", "confidence": 0.83, "backend": "pocketsphinx"},
        "error": None, "interrupted": False, "timings": TIMINGS,
    }  # fmt: skip


def test_the_key_goes_along(ask: Ask, house: VoiceStandIn) -> None:
    house.scripts = [answers]
    assert ask("--api-key", "a-key").exit_code == 0
    assert {headers.get("X-API-Key") for headers in house.headers} == {"a-key"}


@pytest.mark.parametrize(
    ("rate", "channels", "width"), [(8000, 1, 2), (44_100, 2, 2), (48_000, 1, 3), (11_025, 1, 1), (96_000, 6, 4)]
)
def test_any_wav_is_sent_as_it_is_to_be(
    ask: Ask, house: VoiceStandIn, tmp_path: Path, rate: int, channels: int, width: int
) -> None:
    file = tmp_path / "other.wav"
    with wave.open(str(file), "wb") as writing:
        writing.setparams((channels, width, rate, 0, "NONE", "none"))
        writing.writeframes(bytes([128 if width == 1 else 0]) * (rate * channels * width))
    said: list[bytes] = []

    def listens(line: Connected) -> None:
        line.ready()
        said.append(line.question())
        line.tell({"type": "status", "status": "nothing_heard", "message": "No speech was heard."})
        line.wait()

    house.scripts = [listens]
    result = ask(file=file)
    assert (result.exit_code, "No speech was heard." in result.stderr) == (1, True)
    assert len(said[0]) // 2 == pytest.approx(HEARING_RATE, rel=0.02)


def test_in_real_time_it_is_sent_no_faster_than_it_was_said(ask: Ask, house: VoiceStandIn) -> None:
    sleeps: list[float] = []
    clock = types.SimpleNamespace(monotonic=lambda: sum(sleeps), sleep=sleeps.append)
    house.scripts = [answers]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(talk, "time", clock)
        assert ask("--real-time").exit_code == 0
    assert sum(sleeps) == pytest.approx(0.9)


def test_all_that_was_said_is_answered(ask: Ask, house: VoiceStandIn) -> None:
    other = TURN[:-1] + "2"

    def two(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, {"type": "speech_started"}, turn_started())
        tell_log(line)
        line.tell(turn_done(), turn_started(job_id=other))
        line.tell(*numbered({"type": "response", "text": "Really.", "final": True}, job_id=other))
        line.tell(turn_done(job_id=other))
        line.wait()

    house.scripts = [two]
    turns = json.loads(ask("--json").stdout)["turns"]
    assert [turn["response"] for turn in turns] == ["Prune them in winter. Yes.", "Really."]


# --- microphone and loudspeaker


class _Stream:
    """One direction of a sound card."""

    def __init__(self, **given: Any) -> None:
        self.given, self.is_open = given, False

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Card(types.ModuleType):
    """A sound card that plays into a list and hears what a test says."""

    PortAudioError = RuntimeError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.streams: dict[str, _Stream] = {}

    def RawInputStream(self, **given: Any) -> _Stream:  # noqa: N802 - its name there
        return self.streams.setdefault("in", _Stream(**given))

    def RawOutputStream(self, **given: Any) -> _Stream:  # noqa: N802
        return self.streams.setdefault("out", _Stream(**given))

    def hear(self, pcm: bytes) -> None:
        self.streams["in"].given["callback"](pcm, len(pcm) // 2, None, None)

    def played(self, samples: int) -> bytes:
        buffer = bytearray(2 * samples)
        self.streams["out"].given["callback"](memoryview(buffer), samples, None, None)
        return bytes(buffer)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_by_microphone_both_ways_at_once(
    run: Run, house: VoiceStandIn, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_line, "LOOK_S", 0.05)
    after_barge_in: list[bytes] = []

    def talks(line: Connected) -> None:
        line.ready()
        wait_until(lambda: "in" in card.streams and card.streams["in"].is_open, what="the microphone")
        card.hear(b"\1\0" * 640)
        assert line.some_sound() == b"\1\0" * 640
        line.tell({"type": "speech_started"}, turn_started())
        tell_log(line, to=6)
        wait_until(lambda: card.played(4) == SOUNDS[0][:8], what="the answer to be played")
        card.hear(b"\2\0" * 640)
        assert line.some_sound() == b"\2\0" * 640
        line.tell({"type": "interrupted", "job_id": TURN, "heard_ms": 10}, LOG[-1], turn_done())
        wait_until(lambda: not devices[0]._to_play, what="silence")
        after_barge_in.append(card.played(4))
        ended.set()
        line.wait()

    ended, devices = threading.Event(), []
    enter = sound.Devices.__enter__

    def entered(self: sound.Devices) -> sound.Devices:
        devices.append(self)
        return enter(self)

    def interrupted(self: voice_line.VoiceLine) -> Iterator[Any]:
        for what in hear(self):
            yield what
            if what is None and ended.is_set():
                raise KeyboardInterrupt  # as Ctrl-C does

    hear = voice_line.VoiceLine.hear
    monkeypatch.setattr(sound.Devices, "__enter__", entered)
    monkeypatch.setattr(voice_line.VoiceLine, "hear", interrupted)
    monkeypatch.setenv("BACKCHANNEL_URL", house.url)
    house.scripts = [talks]
    result = run("talk")
    assert result.exit_code == 0, result.output
    assert "interrupted after 0.0 s" in result.stderr
    assert after_barge_in == [bytes(8)]
    assert not any(stream.is_open for stream in card.streams.values())
    assert "barge_in" not in house.connections[0].query


def test_without_portaudio_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ClientError, match=r"libportaudio2.*--file"):
        sound.Devices(print, OUTPUT_RATE)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ClientError, match=r"pip install sounddevice.*--file"):
        sound.Devices(print, OUTPUT_RATE)


def test_without_a_sound_card_it_says_so(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: Any) -> None:
        raise RuntimeError("Error querying device -1")

    monkeypatch.setattr(card, "RawInputStream", none)
    with pytest.raises(ClientError, match=r"no microphone.*--file"):
        sound.Devices(print, OUTPUT_RATE)


def test_the_address_of_a_socket() -> None:
    with Client("https://example.org:8443/base/", "key") as client:
        assert client.socket("/ws/voice") == ("wss://example.org:8443/base/ws/voice", {"X-API-Key": "key"})
    with Client("http://[::1]:8000") as client:
        assert client.socket("/ws/voice") == ("ws://[::1]:8000/ws/voice", {})
