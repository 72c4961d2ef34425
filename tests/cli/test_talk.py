"""`backchannel talk`: a question goes out whole, an answer comes back once, whatever happens to the connection."""

from __future__ import annotations

import json
import sys
import threading
import types
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from cli import sound, talk, voice_line
from cli.client import Client, ClientError
from cli.talk import OUTPUT_RATE
from tests.cli.conftest import Run
from tests.cli.voice_stand_in import SESSION, TURN, Connected, VoiceStandIn, numbered, voice_stand_in
from tests.servers import wait_until
from workers.voice.ports import HEARING_RATE
from workers.voice.wav import write_wav

Json = dict[str, Any]
Ask = Callable[..., Result]
SOUNDS = [bytes([number, 0]) * 400 for number in (1, 2, 3)]
QUESTION = (np.sin(np.arange(HEARING_RATE) / 20) * 8000).astype(np.int16)
TIMINGS = {"vad_ms": 600, "stt_ms": 210, "first_audio_ms": 900, "total_ms": 1900}
EMOTION = {"primary_emotion": "joy", "confidence": 0.71, "backend": "fusion", "scores": {"joy": 0.71}}


@pytest.fixture
def house() -> Iterator[VoiceStandIn]:
    with voice_stand_in() as made:
        yield made


@pytest.fixture
def ask(run: Run, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """`backchannel talk --file` with a second of sound."""
    monkeypatch.setenv("BACKCHANNEL_URL", house.url)
    monkeypatch.setattr(voice_line, "LOOK_S", 0.05)
    recording = tmp_path / "question.wav"
    recording.write_bytes(write_wav(QUESTION, HEARING_RATE))

    def begin(*args: str | Path, file: Path = recording) -> Result:
        return run("talk", "--file", file, *args)

    return begin


def audio(index: int) -> Json:
    about = {"index": index, "sample_rate": OUTPUT_RATE, "samples": 400, "duration_ms": 18, "backend": "espeak-ng"}
    return {"type": "audio", **about}


# What a turn's log holds; sound follows each `audio` on the line.
LOG = numbered(
    {"type": "started", "attempt": 1},
    {"type": "status", "status": "transcribing", "message": "Transcribing..."},
    {"type": "transcript", "text": "how do I prune roses", "confidence": 0.83, "backend": "pocketsphinx"},
    {"type": "emotion", "data": EMOTION},
    {"type": "response", "text": "Prune them", "final": False},
    audio(0),
    audio(1),
    {"type": "sentence", "text": "Prune them in winter. ", "start": 0, "end": 22, "start_ms": 0, "end_ms": 36},
    {"type": "response", "text": "Prune them in winter. Yes.", "final": True},
    audio(2),
    {"type": "sentence", "text": "Yes.", "start": 22, "end": 26, "start_ms": 36, "end_ms": 54},
    {"type": "done", "response": {"timings": TIMINGS}},
)


def turn_started(after: int = 0, job_id: str = TURN) -> Json:
    return {"type": "turn_started", "job_id": job_id, "after": after, "session_id": SESSION}


def turn_done(status: str = "succeeded", job_id: str = TURN) -> Json:
    return {"type": "turn_done", "job_id": job_id, "status": status, "timings": TIMINGS}


def tell_log(line: Connected, after: int = 0, to: int = len(LOG)) -> None:
    for event in LOG[after:to]:
        line.tell(event)
        if event["type"] == "audio":
            line.sound(SOUNDS[event["index"]])


def answers(line: Connected) -> None:
    line.ready()
    assert line.question() == QUESTION.tobytes()
    line.tell({"type": "speech_started"}, {"type": "partial_transcript", "text": "how do"}, {"type": "speech_ended"})
    line.tell(turn_started())
    tell_log(line)
    line.tell(turn_done())
    line.wait()


def goes_on(line: Connected) -> None:
    after = int(line.query["after"])
    line.ready()
    line.tell(turn_started(after))
    tell_log(line, after)
    line.tell(turn_done() if after < len(LOG) else {**turn_done(), "status": None, "timings": None})
    line.wait()


def written(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (OUTPUT_RATE, 1, 2)
        return file.readframes(file.getnframes())


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


# --- a connection that is cut


@pytest.mark.parametrize("number", range(1, len(LOG) + 1))
def test_cut_in_the_middle_of_an_answer_it_goes_on_behind(
    ask: Ask, house: VoiceStandIn, tmp_path: Path, number: int
) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        tell_log(line, to=number)
        line.cut()

    house.scripts = [breaks, goes_on]
    out = tmp_path / "answer.wav"
    result = ask("--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.replace("\n", "") == "> how do I prune rosesPrune them in winter. Yes."
    assert written(out) == b"".join(SOUNDS)
    assert "hearing the rest of the answer" in result.stderr
    assert house.connections[1].query.items() >= {"job_id": TURN, "after": str(number), "session_id": SESSION}.items()


def test_sound_that_was_cut_in_half_comes_again(ask: Ask, house: VoiceStandIn, tmp_path: Path) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        tell_log(line, to=6)
        line.tell(LOG[6])
        line.sound(SOUNDS[1][:300])
        line.cut()

    house.scripts = [breaks, goes_on]
    out = tmp_path / "answer.wav"
    assert ask("--out", out).exit_code == 0
    assert house.connections[1].query["after"] == "6"
    assert written(out) == b"".join(SOUNDS)


def test_cut_while_it_is_asked_it_asks_again(ask: Ask, house: VoiceStandIn) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.some_sound()
        line.cut()

    house.scripts = [breaks, answers]
    result = ask("--real-time")
    assert (result.exit_code, "once more" in result.stderr) == (0, True)


def test_a_turn_that_began_while_nobody_listened_is_found(ask: Ask, house: VoiceStandIn) -> None:
    house.jobs = [{"id": TURN[:-1] + "0", "kind": "voice"}]

    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"})
        house.jobs = [{"id": TURN, "kind": "voice"}, *house.jobs]
        line.cut()

    def silent(line: Connected) -> None:
        line.ready()
        line.wait()

    house.scripts = [breaks, silent, goes_on]
    result = ask()
    assert result.exit_code == 0, result.output
    assert house.connections[2].query.items() >= {"job_id": TURN, "after": "0"}.items()


def test_sound_that_is_no_longer_kept_is_done_without(ask: Ask, house: VoiceStandIn, tmp_path: Path) -> None:
    def forgets(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell(turn_started(), *LOG[:6])
        line.tell({"type": "status", "status": "sound_gone", "message": "This sound is gone.", "job_id": TURN})
        tell_log(line, 6)
        line.tell(turn_done())
        line.wait()

    house.scripts = [forgets]
    out = tmp_path / "answer.wav"
    assert ask("--out", out).exit_code == 0
    assert written(out) == SOUNDS[1] + SOUNDS[2]


# --- what goes wrong


def fails(result: Result, *words: str) -> None:
    """In one sentence, on stderr."""
    assert result.exit_code in (1, 2), result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(("Error: ", "No answer: ")), result.stderr
    assert all(word in last for word in words), last
    assert "Traceback" not in result.output


def test_a_turn_that_failed_is_no_answer(ask: Ask, house: VoiceStandIn) -> None:
    def broken(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        error = {"type": "error", "code": "model_unavailable", "message": "No model.", "retryable": False}
        line.tell(*numbered(error))
        line.tell(turn_done("failed"))
        line.wait()

    house.scripts = [broken]
    result = ask()
    assert (result.exit_code, "No answer: No model." in result.stderr) == (1, True)


def test_an_utterance_that_is_refused_is_no_answer(ask: Ask, house: VoiceStandIn) -> None:
    def full(line: Connected) -> None:
        line.ready()
        line.question()
        error = {"type": "error", "code": "quota_used_up", "message": "Enough for today.", "retryable": True}
        line.tell({"type": "speech_started"}, error)
        line.wait()

    house.scripts = [full]
    result = ask()
    assert (result.exit_code, "Enough for today." in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4401, "Sign in."), (4404, "There is no conversation."), (4408, "You do not take what is sent to you.")],
)
def test_a_line_that_is_refused_says_why(ask: Ask, house: VoiceStandIn, code: int, reason: str) -> None:
    def refuses(line: Connected) -> None:
        line.tell({"type": "error", "code": "x", "message": reason, "retryable": False})
        line.close(code, reason[:10])

    house.scripts = [refuses]
    fails(ask(), reason)
    assert len(house.connections) == 1


def test_a_server_that_is_full_is_waited_for(ask: Ask, house: VoiceStandIn) -> None:
    house.scripts = [lambda line: line.close(4429, "As many people are speaking as may."), answers]
    result = ask()
    assert (result.exit_code, "As many people are speaking" in result.stderr) == (0, True)


def test_who_may_not_is_told_before_anything_is_sent(ask: Ask, house: VoiceStandIn) -> None:
    house.refuses = (401, "You are not signed in.")
    fails(ask(), "not signed in", "--api-key")
    assert house.connections == []


def test_nobody_is_there(ask: Ask, house: VoiceStandIn) -> None:
    fails(ask("--url", "http://127.0.0.1:9"), "does not answer")


def test_something_else_is_there(ask: Ask, house: VoiceStandIn) -> None:
    def babbles(line: Connected) -> None:
        line.tell([1, 2])  # type: ignore[arg-type]
        line.wait()

    house.scripts = [babbles]
    fails(ask(), "does not speak as Backchannel does")


def test_a_server_that_says_nothing_is_not_waited_for_without_end(
    ask: Ask, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "QUIET_S", 0.2)
    house.scripts = [lambda line: (line.ready(), line.wait())]  # type: ignore[func-returns-value]
    fails(ask(), "doctor")


def test_why_a_turn_waits_is_told(ask: Ask, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "LOOK_S", 0.0)
    looked = threading.Event()

    def slow(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        assert looked.wait(20)
        tell_log(line)
        line.tell(turn_done())
        line.wait()

    look = talk.Waiting.look

    def noticed(self: Any, job: Json) -> None:
        look(self, job)
        looked.set()

    monkeypatch.setattr(talk.Waiting, "look", noticed)
    house.scripts = [slow]
    result = ask()
    assert (result.exit_code, "Waiting: the model is loading." in result.stderr) == (0, True)


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "sound"), (b"no sound" * 50, "sound"), (write_wav(QUESTION[:0], 16_000), "sound")]
)
def test_a_file_that_is_no_sound(ask: Ask, house: VoiceStandIn, tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "rubbish.wav"
    file.write_bytes(content)
    fails(ask(file=file), word)
    assert house.connections == []


def test_paths_that_cannot_be(ask: Ask, run: Run, tmp_path: Path) -> None:
    fails(ask(file=tmp_path / "missing.wav"), "--file")
    fails(ask("--out", tmp_path / "no" / "folder.wav"), "--out")
    fails(ask("--out", tmp_path), "--out")


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
