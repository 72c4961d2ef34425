"""Recordings that become text, and texts that become recordings."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from api.openapi.jobs import job
from api.openapi.shapes import Bytes, Id, Media, Milliseconds, Operation, Sent, eg, ok

Confidence = Annotated[float, eg(0.86, "0..1, as sure as the backend is able to be")]
Backend = Annotated[str, eg("whisper/base.en")]
Rate = Annotated[int, eg(22_050, "Samples a second")]
Voice = Annotated[str, eg("en-us")]


class Segment(TypedDict):
    start_ms: Milliseconds
    end_ms: Milliseconds
    text: Annotated[str, eg("How do I prune roses?")]
    confidence: Confidence


class Transcription(TypedDict):
    text: Annotated[str, eg("How do I prune roses?")]
    backend: Backend
    confidence: Annotated[Confidence | None, eg(0.86, "Null where nothing was said")]
    duration_ms: Milliseconds
    segments: list[Segment]
    problem: Annotated[str | None, eg(None, "Why not all of it was heard")]
    job_id: Id


class SpeechLinks(TypedDict):
    audio: Annotated[str, eg("/api/voice/speech/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10")]


class Speech(TypedDict):
    blob: Annotated[str, eg("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "Its SHA-256")]
    size: Bytes
    duration_ms: Milliseconds
    sample_rate: Rate
    backend: Annotated[str, eg("espeak-ng")]
    voice: Voice
    links: SpeechLinks
    job_id: Id


class VoicePart(TypedDict):
    name: Annotated[str, eg("espeak-ng")]
    state: Annotated[Literal["loading", "ready", "failed"], eg("ready")]
    detail: Annotated[str | None, eg(None, "Why it failed")]


class Voices(TypedDict):
    voices: Annotated[list[Voice], eg(["en-us", "en-gb"], "The first speaks when none is asked for")]
    speaker: VoicePart | None
    transcriber: VoicePart | None


OPERATIONS: dict[str, Operation] = {
    "POST /api/voice/transcribe": job(Transcription, 409, 507, sent=Sent(form=("phrases",))),
    "POST /api/voice/speak": job(Speech, 409, 507, sent={"text": "Prune them in late winter.", "speed": 1.1}),
    "GET /api/voice/speech/{job_id}": ok(Media("audio/wav", binary=True), 409),
    "GET /api/voice/voices": ok(Voices),
}
