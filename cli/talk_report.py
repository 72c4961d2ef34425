"""What is said in a talk: shown as it comes, and kept for whoever wants it as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click

from cli.client import Client
from cli.output import duration, note, printable
from cli.voice_line import Sound

Json = dict[str, Any]
_TIMINGS = {
    "vad_ms": "pause", "stt_ms": "words", "emotion_ms": "emotion", "first_token_ms": "first word",
    "first_audio_ms": "first sound", "total_ms": "all",
}  # fmt: skip


@dataclass
class Turn:
    job_id: str
    status: str | None = None
    transcript: Json | None = None
    emotion: Json | None = None
    response: str = ""
    error: Json | None = None
    interrupted: bool = False
    timings: Json | None = None
    sound: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def was_answered(self) -> bool:
        return self.status == "succeeded" and bool(self.response)

    def as_json(self) -> Json:
        return {name: value for name, value in vars(self).items() if name != "sound"}


class Report:
    """What was said and answered goes to stdout, everything beside it to stderr."""

    def __init__(self, client: Client, quiet: bool) -> None:
        self.turns: dict[str, Turn] = {}
        self.session_id: str | None = None
        self._quiet = quiet
        self._in_line = False
        self._begun = self._ended = 0  # utterances
        self._nothing_heard = False

    @property
    def is_over(self) -> bool:
        """Whether all that was said is answered."""
        return self._begun <= self._ended and (self._ended > 0 or self._nothing_heard)

    @property
    def was_answered(self) -> bool:
        return any(turn.was_answered for turn in self.turns.values())

    @property
    def sound(self) -> bytes:
        return b"".join(bytes(turn.sound) for turn in self.turns.values())

    def as_json(self) -> Json:
        return {"session_id": self.session_id, "turns": [turn.as_json() for turn in self.turns.values()]}

    def ask_again(self) -> None:
        self._begun = self._ended = 0

    def take(self, what: Json | Sound | None) -> None:
        if isinstance(what, Sound):
            self._turn(what.job_id).sound += what.pcm
        elif what is not None:
            self._count(what)
            self._keep(what)
            if not self._quiet:
                self._show(what)

    def _turn(self, job_id: str) -> Turn:
        return self.turns.setdefault(job_id, Turn(job_id))

    def _count(self, event: Json) -> None:
        match event["type"]:
            case "speech_started":
                self._begun += 1
            case "turn_done":
                self._ended += 1
            case "error" if "job_id" not in event:  # what was said was refused
                self._ended += 1
            case "status" if event.get("status") == "nothing_heard":
                self._nothing_heard = True

    def _keep(self, event: Json) -> None:
        if "job_id" not in event:
            return
        if event["type"] == "turn_started":
            self.session_id = event.get("session_id") or self.session_id
            if not event["after"]:
                self.turns[event["job_id"]] = Turn(event["job_id"])
        turn = self._turn(event["job_id"])
        match event["type"]:
            case "transcript":
                turn.transcript = {name: event[name] for name in ("text", "confidence", "backend")}
            case "emotion":
                turn.emotion = event["data"]
            case "response":
                turn.response = event["text"]
            case "interrupted":
                turn.interrupted, turn.response = True, event.get("text", turn.response)
            case "error":
                turn.error = {name: event.get(name) for name in ("code", "message")}
            case "reset":
                turn.sound.clear()
            case "done":
                turn.status, turn.timings = "succeeded", event["response"].get("timings")
            case "turn_done":  # without them where the end was told before a cut
                turn.status, turn.timings = event["status"] or turn.status, event.get("timings") or turn.timings

    # --- shown

    def _show(self, event: Json) -> None:
        match event["type"]:
            case "status" if event.get("message"):
                self._note(event["message"])
            case "partial_transcript":
                self._note(f"… {event['text']}")
            case "transcript" if event["text"]:
                self.end_line()
                click.echo(f"> {printable(event['text'])}")
                self._note(f"[{event['backend']}, confidence {event['confidence']:.2f}]")
            case "emotion" if event["data"]:
                told = event["data"]
                self._note(f"[{told['primary_emotion']}, confidence {told['confidence']:.2f}, {told.get('backend')}]")
            case "sentence":
                self._in_line = True
                click.echo(printable(event["text"]), nl=False)
            case "interrupted":
                self._note(f"— interrupted after {duration(event.get('heard_ms'))} —")
            case "reset":
                self._note("— the server lost what it had said; the answer starts over —")
            case "error":
                self._note(f"No answer: {event['message']}")
            case "turn_done":
                self._note(" · ".join(_timings(event.get("timings") or {})))

    def _note(self, sentence: str) -> None:
        self.end_line()
        if sentence:
            note(sentence)

    def end_line(self) -> None:
        if self._in_line:
            click.echo()
            self._in_line = False


def _timings(timings: Json) -> list[str]:
    return [f"{name} {duration(timings[key])}" for key, name in _TIMINGS.items() if key in timings]
