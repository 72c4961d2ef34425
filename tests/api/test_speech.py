"""Recordings and texts over the API: taken or refused by what they are, and heard by nobody else."""

from __future__ import annotations

import io
import json
import wave
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from config.settings import MIB
from storage import backlog, blobs, files, presence, spoken
from storage.database import transaction
from storage.presence import WorkerPresence
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import Json, fields, job_ids, newest_job, problem, work
from tests.api.test_files import stored
from tests.tasks.speaking import Counting, five, speaker
from workers.voice import house
from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.wav import write_wav

__all__ = ["five", "speaker"]

Client = TestClient[Litestar]
ASYNC = {"prefer": "respond-async"}
TRANSCRIBE, SPEAK = "/api/voice/transcribe", "/api/voice/speak"


@pytest.fixture(autouse=True)
def parts(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens and who speaks in this process."""
    monkeypatch.setitem(house._parts, "transcriber", Counting())
    monkeypatch.setitem(house._parts, "speaker", speaker)


@pytest.fixture(scope="module")
def wav(five: Samples) -> bytes:
    return write_wav(five, HEARING_RATE)


def bring(client: httpx.Client, content: bytes, name: str = "said.wav", data: Any = None, **more: Any) -> Any:
    return client.post(TRANSCRIBE, files={"file": (name, content)}, data=data, headers={**ASYNC, **more})


# --- transcribing


def test_whoever_waits_gets_the_words(live: Listening, meanwhile: Any, wav: bytes) -> None:
    waiting: Future[Any] = meanwhile(live.client.post, TRANSCRIBE, files={"file": ("said.wav", wav)})
    job_id = newest_job("transcribe")
    work(job_id)
    response = waiting.result()
    assert response.status_code == 200
    body = response.json()
    assert (body["job_id"], len(body["segments"])) == (job_id, 5)
    assert body["text"].startswith(body["segments"][0]["text"])
    assert factories.load(job_id).result == {name: value for name, value in body.items() if name != "job_id"}


def test_a_recording_becomes_a_job(client: Client, wav: bytes) -> None:
    response = bring(client, wav, **{"idempotency-key": "one"})
    job = response.json()
    assert (response.status_code, job["kind"], job["status"]) == (202, "transcribe", "queued")
    assert bring(client, wav, **{"idempotency-key": "one"}).json()["id"] == job["id"]
    problem(bring(client, wav + b"\0\0", **{"idempotency-key": "one"}), 422)
    digest = factories.load(job["id"]).input["blob"]
    assert blobs.path(digest).read_bytes() == wav
    with transaction() as session:
        assert digest in backlog.needed_blobs(session)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, None),
        ({"phrases": '["open the door", " stop "]'}, ["open the door", "stop"]),
        ({"phrases": ["open the door", "stop"]}, ["open the door", "stop"]),
        ({"phrases": "stop"}, ["stop"]),
    ],
)
def test_phrases_go_with_it(client: Client, wav: bytes, given: Json, wanted: list[str] | None) -> None:
    job = bring(client, wav, data=given).json()
    if wanted is None:
        assert factories.load(job["id"]).input.get("phrases", []) == []
    else:
        assert factories.load(job["id"]).input["phrases"] == wanted


@pytest.mark.parametrize(
    "given", ["[1]", "[", '["a", ""]', '[["a"]]', json.dumps(["a"] * 1000), json.dumps(["a" * 1000]), "[" * 50_000]
)
def test_phrases_that_are_none_are_refused(client: Client, wav: bytes, given: str) -> None:
    problem(bring(client, wav, data={"phrases": given}), 422)
    assert job_ids() == []
    assert stored() == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"%PDF-1.4 and so on" + bytes(100), 415),
        (b"PK\x03\x04" + bytes(100), 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 415),
    ],
    ids=["empty", "pdf", "zip", "png"],
)
def test_what_is_no_recording_is_refused(client: Client, content: bytes, status: int) -> None:
    body = problem(bring(client, content), status)
    assert (job_ids(), stored()) == ([], [])
    if status == 415:
        assert "WAV" in body["detail"]


def test_what_only_the_decoder_knows_fails_in_words(live: Listening, meanwhile: Any) -> None:
    file = {"file": ("said.mp3", b"these are words, but not spoken ones" * 100)}
    waiting: Future[Any] = meanwhile(live.client.post, TRANSCRIBE, files=file)
    work(newest_job("transcribe"))
    problem(waiting.result(), 422)


def test_only_one_file_and_nothing_else(client: Client, wav: bytes) -> None:
    two = [("file", ("a.wav", wav)), ("file", ("b.wav", wav))]
    problem(client.post(TRANSCRIBE, files=two), 422)
    problem(bring(client, wav, data={"language": "en"}), 422)
    problem(client.post(TRANSCRIBE, data={"file": "no file"}, files={"phrases": ("a", b"b")}), 422)
    problem(client.post(TRANSCRIBE, json={"url": "https://example.org/a.wav"}), 415)
    assert stored() == []


def test_a_recording_that_is_too_large_is_refused(start: Start) -> None:
    client = start(VOICE_MAX_FILE_MB="1")
    just, over = (write_wav(np.zeros(size, np.int16), 16_000) for size in ((MIB - 44) // 2, MIB // 2))
    assert bring(client, just).status_code == 202
    problem(bring(client, over), 413)
    problem(bring(client, over * 3), 413)
    assert len(stored()) == 1


def test_without_voice_it_says_so(start: Start, wav: bytes) -> None:
    client = start(VOICE_ENABLED="false")
    assert "VOICE_ENABLED" in problem(bring(client, wav), 503)["detail"]
    problem(client.post(SPEAK, json={"text": "Hello"}), 503)


# --- speaking


def speak(live: Listening, meanwhile: Any, **body: Any) -> Json:
    waiting: Future[Any] = meanwhile(live.client.post, SPEAK, json={"text": "Hello there.", **body})
    work(newest_job("speak"))
    response = waiting.result()
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def test_a_text_is_spoken_and_fetched(live: Listening, meanwhile: Any) -> None:
    body = speak(live, meanwhile, sample_rate=16_000, speed=1.5)
    assert body["links"] == {"audio": f"/api/voice/speech/{body['job_id']}"}
    response = live.client.get(body["links"]["audio"])
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"].startswith("attachment; filename=")
    assert len(response.content) == body["size"]
    with wave.open(io.BytesIO(response.content)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        assert sound.getnframes() * 1000 // 16_000 == body["duration_ms"]
    assert live.client.head(body["links"]["audio"]).status_code == 200


def test_a_text_is_also_spoken_as_any_job(client: Client) -> None:
    job = client.post("/api/jobs", json={"kind": "speak", "input": {"text": "Hello"}}).json()
    assert factories.load(job["id"]).input == {"text": "Hello"}
    refused = client.post("/api/jobs", json={"kind": "speak", "input": {"text": ""}})
    assert fields(problem(refused, 422)) == {"input.text"}
    problem(client.post("/api/jobs", json={"kind": "transcribe", "input": {}}), 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "a" * 20_001}, "text"),
        ({"text": "a", "speed": 0.4}, "speed"),
        ({"text": "a", "speed": 2.1}, "speed"),
        ({"text": "a", "sample_rate": 7999}, "sample_rate"),
        ({"text": "a", "sample_rate": 48_001}, "sample_rate"),
        ({"text": "a", "voice": "v" * 101}, "voice"),
        ({"text": "a", "voice": "\0"}, "voice"),
        ({"text": "a", "pitch": 3}, "pitch"),
    ],
)
def test_what_cannot_be_spoken_is_refused(client: Client, body: Json, field: str) -> None:
    content = json.dumps(body)
    response = client.post(SPEAK, content=content, headers={"content-type": "application/json"})
    assert fields(problem(response, 422)) == {field}
    assert job_ids() == []


def test_an_unknown_voice_is_told_by_who_speaks(live: Listening, meanwhile: Any) -> None:
    waiting: Future[Any] = meanwhile(live.client.post, SPEAK, json={"text": "Hello", "voice": "nobody"})
    work(newest_job("speak"))
    assert "nobody" in problem(waiting.result(), 422)["detail"]


def test_there_is_nothing_to_be_heard_of_other_jobs(client: Client) -> None:
    waiting = client.post(SPEAK, json={"text": "Hello"}, headers=ASYNC).json()["id"]
    assert "queued" in problem(client.get(f"/api/voice/speech/{waiting}"), 409)["detail"]
    problem(client.get(f"/api/voice/speech/{factories.job()}"), 404)
    problem(client.get("/api/voice/speech/nothing"), 404)
    theirs = factories.job(Kind.SPEAK, factories.owner(), input={"text": "A secret."})
    work(theirs)
    assert factories.load(theirs).status == "succeeded"
    problem(client.get(f"/api/voice/speech/{theirs}"), 404)


def test_the_voices_are_those_of_the_voice_worker(client: Client) -> None:
    assert client.get("/api/voice/voices").json() == {"voices": [], "speaker": None, "transcriber": None}
    speaker = {"name": "espeak-ng", "state": "ready", "voices": ["en-us", "de"]}
    worker = WorkerPresence("voice", ["voice", "speech"], 2, models={"speaker": speaker})
    presence.report(worker)
    body = client.get("/api/voice/voices").json()
    assert body["voices"] == ["en-us", "de"]
    assert body["speaker"] == {"name": "espeak-ng", "state": "ready", "detail": None}
    worker.models = {
        "speaker": {"name": "default", "state": "failed", "detail": "It is not installed."},
        "transcriber": {"name": "pocketsphinx", "state": "loading"},
    }
    presence.report(worker)
    body = client.get("/api/voice/voices").json()
    assert (body["voices"], body["speaker"]["detail"], body["transcriber"]["state"]) == (
        [], "It is not installed.", "loading",
    )  # fmt: skip


# --- what was spoken, afterwards

EMOTION = {
    "primary_emotion": "joy", "confidence": 0.7, "scores": {"joy": 0.7}, "backend": "fusion",
    "text": {"primary_emotion": "joy", "confidence": 0.9, "weight": 0.6, "backend": "minilm"},
    "speech": {"arousal": 0.4, "confidence": 0.5, "pitch_hz": None, "backend": "prosody"},
}  # fmt: skip


def spoken_turn(conversation_id: str, **parts: Any) -> tuple[str, str]:
    """(message, file)"""
    message = factories.question(conversation_id, "How do I prune roses?")
    digest, size = blobs.store(io.BytesIO(write_wav(np.ones(1600, np.int16), 16_000)), MIB)
    with transaction() as session:
        file_id = spoken.add_audio(session, conversation_id, message.id, "spoken.wav", digest, size)
        spoken.note(session, message.id, voice={"duration_ms": 100, "file_id": file_id}, **parts)
    assert file_id is not None
    return message.id, file_id


def history(client: Client, conversation_id: str) -> Json:
    response = client.get(f"/api/sessions/{conversation_id}/history")
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def test_a_spoken_turn_brings_its_sound_and_its_emotion(client: Client) -> None:
    conversation_id = factories.conversation()
    message_id, file_id = spoken_turn(conversation_id, emotion=EMOTION, interrupted={"heard_ms": 3, "said": "…"})
    factories.question(conversation_id, "And in writing?")
    told = history(client, conversation_id)
    turn, written = told["turns"]
    assert (turn["emotion"], written["emotion"], written["voice"]) == (EMOTION, None, None)
    voice = turn["voice"]
    assert (voice["file_id"], voice["duration_ms"], voice["interrupted"]) == (file_id, 100, True)
    fetched = client.get(voice["audio_url"])
    assert (fetched.status_code, fetched.headers["content-type"], fetched.content[:4]) == (200, "audio/wav", b"RIFF")
    assert told["emotion_timeline"] == [{"timestamp": turn["timestamp"], "message_id": message_id, **EMOTION}]


def test_a_sound_that_was_removed_leaves_the_words(client: Client) -> None:
    conversation_id = factories.conversation()
    _, file_id = spoken_turn(conversation_id)
    address = history(client, conversation_id)["turns"][0]["voice"]["audio_url"]
    assert client.delete(f"/api/conversations/files/{file_id}").status_code == 204
    (turn,) = history(client, conversation_id)["turns"]
    assert turn["voice"] == {
        "file_id": None, "duration_ms": 100, "audio_url": None, "expires_at": None, "interrupted": False,
    }  # fmt: skip
    problem(client.get(address), 404)


def test_whoever_names_the_file_of_another_does_not_get_it(client: Client) -> None:
    _, theirs = spoken_turn(factories.conversation())
    mine = factories.conversation()
    message = factories.question(mine)
    with transaction() as session:
        spoken.note(session, message.id, voice={"duration_ms": 5, "file_id": theirs})
    assert history(client, mine)["turns"][0]["voice"]["audio_url"] is None


@pytest.mark.parametrize("rubbish", [5, "sad", [], {}, {"duration_ms": "long"}, {"primary_emotion": 7}])
def test_parts_that_came_from_anywhere_break_no_history(client: Client, rubbish: Any) -> None:
    conversation_id = factories.conversation()
    message = factories.question(conversation_id)
    with transaction() as session:
        spoken.note(session, message.id, voice=rubbish, emotion=rubbish)
    told = history(client, conversation_id)
    assert (told["turns"][0]["voice"], told["turns"][0]["emotion"], told["emotion_timeline"]) == (None, None, [])


def test_with_the_conversation_goes_what_was_spoken_in_it(client: Client) -> None:
    conversation_id = factories.conversation()
    _, file_id = spoken_turn(conversation_id)
    address = history(client, conversation_id)["turns"][0]["voice"]["audio_url"]
    assert client.delete(f"/api/sessions/{conversation_id}").status_code == 200
    problem(client.get(address), 404)
    with transaction() as session:
        assert files.find(session, file_id) is None
        needed = backlog.needed_blobs(session)
    assert len(stored()) == 1
    assert blobs.purge(needed, older_than_s=0, now_s=2e9) == 1


def test_an_export_brings_the_words_home_and_names_the_sound(client: Client) -> None:
    conversation_id = factories.conversation(title="Roses")
    spoken_turn(conversation_id, emotion=EMOTION)
    line = client.get("/api/export").text
    assert json.loads(line)["files"][0]["filename"] == "spoken.wav"
    somebody = factories.owner()
    digest, _ = blobs.store(io.BytesIO(line.encode()), MIB)
    job_id = factories.job(Kind.IMPORT, somebody, input={"blob": digest, "filename": "backchannel.jsonl"})
    work(job_id)
    assert factories.load(job_id).result["conversations"]["created"] == 1  # type: ignore[index]
    (copy,) = factories.all_conversations(somebody)
    (message,) = factories.all_messages(copy.id)
    assert message.parts["emotion"] == EMOTION
    with transaction() as session:
        assert spoken.audio_of(session, copy.id) == {}
        assert len(spoken.audio_of(session, conversation_id)) == 1
