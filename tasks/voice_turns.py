"""Kind `voice`: one spoken turn. What was said, how it sounded, the question put to the conversation, and its answer
spoken piece by piece while the model is still writing it.

    transcript ─▶ question and its reply's job, kept together ─▶ emotion ─▶ follow the reply ─▶ speak ─▶ the end
                                                                              └── cut short: only what was heard stays

The reply is a job of its own in the generate worker. An attempt that follows a dead one finds in its own log what was
told and spoken, and in the reply's what there is to say.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import orjson

from config.errors import BackchannelError, ModelUnavailable
from config.logging import log
from config.queues import MAX_PRIORITY, Kind
from config.settings import get_settings
from storage import blobs, conversations, emotions, endings, jobs, questions, queue, spoken, voice_lines
from storage.database import Session, reading, transaction
from storage.events import NewEvent
from storage.jobs import NewJob
from storage.tables import Job, Message, utcnow
from storage.voice_lines import Cut
from tasks.base import job
from tasks.chats import reply
from tasks.checkpoints import Checkpoint
from tasks.embeddings import request_embedding
from tasks.emotions import feel
from tasks.heard import Spoken, heard_text
from tasks.reply_log import ReplyLog
from tasks.run import Cancelled, JobRun, Outcome
from tasks.spoken_answers import SpokenAnswer
from workers.ports import Feeling
from workers.voice import house
from workers.voice.fusion import fuse
from workers.voice.ports import Prosody, Samples
from workers.voice.sentences import SentenceSplitter
from workers.voice.wav import read_wav

FOLLOW_MS = 250  # how often a turn that waits for its reply looks whether it is still wanted
EMOTION_WAIT_S = 0.8  # for the words' emotion: nobody waits longer for the first sound because of a mood
CANCEL_WAIT_S = 10.0  # for a reply that was told to stop
_TOLD = frozenset({"transcript", "emotion", "sentence", "audio", "response"})
_NUMBERS = ("job_id", "sequence_number")

_beside = ThreadPoolExecutor(max_workers=8, thread_name_prefix="feel")

job(Kind.VOICE_REPLY)(reply)


class ReplyFailed(ModelUnavailable):
    """The reply's own error; it was tried often enough."""

    retryable = False

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message", "The answer failed."))
        self.code = error.get("code", self.code)  # type: ignore[misc]


@job(Kind.VOICE)
def turn(run: JobRun) -> Outcome:
    return Turn(run).take()


class Turn:
    def __init__(self, run: JobRun) -> None:
        self._run, self._kept = run, Checkpoint(run)
        self._options: dict[str, Any] = run.input.get("options", {})
        self._timings: dict[str, int] = dict(run.input.get("timings", {}))
        self._answer = self._new_answer()
        self._emotion: dict[str, Any] | None = None
        self._is_told: set[str] = set()

    def take(self) -> Outcome:
        self._recall()
        transcript = self._transcript()
        if not transcript["text"]:
            self._run.emit("status", status="not_understood", message="I did not catch that.")
            return Outcome({"transcript": transcript, "understood": False, "timings": self._timings})
        reply_id = self._ask(transcript)
        self._emotion = self._feel(transcript)
        try:
            return self._speak(transcript, reply_id)
        except Cancelled:
            self._stop(reply_id)
            raise

    def _new_answer(self) -> SpokenAnswer:
        answer = SpokenAnswer(
            self._run, self._run.input["output_rate"], self._options, self._timings, self._since_speech
        )
        self._run.before_anew = answer.keep_again
        return answer

    def _recall(self) -> None:
        """What earlier attempts told."""
        if self._run.attempt == 1:
            return
        for event in self._run.logged():
            if event.type == "reset":
                self._is_told.clear()
                self._run.lasting.clear()
                self._answer = self._new_answer()
            if event.type in _TOLD:
                fields = orjson.loads(event.json)
                self._is_told.add(event.type)
                self._run.lasting.append(NewEvent({key: fields[key] for key in fields if key not in _NUMBERS}))
                if event.type == "emotion":
                    self._emotion = fields["data"]
                self._answer.recall(event.type, fields)

    # --- what was said, and how

    def _transcript(self) -> dict[str, Any]:
        found: dict[str, Any] | None = self._run.input.get("transcript") or self._kept.values.get("transcript")
        if "transcript" not in self._is_told:
            self._run.emit("status", status="transcribing", message="Transcribing...")
        if found is None:
            found = self._listen_again()
        if "transcript" not in self._is_told:
            self._run.tell("transcript", **found)
        return found

    def _listen_again(self) -> dict[str, Any]:
        """Where the ear left it to the turn."""
        started = time.monotonic()
        utterance = house.transcriber().utterance()
        try:
            utterance.feed(self._samples())
            heard = utterance.finish()
        finally:
            utterance.close()
        self._timings["stt_ms"] = _since(started)
        found = {"text": heard.text, "confidence": round(heard.confidence, 3), "backend": heard.backend}
        with self._kept.keep(transcript=found):
            pass
        return found

    def _samples(self) -> Samples:
        """At HEARING_RATE; none where the sound is gone."""
        try:
            return read_wav(blobs.path(self._run.input["blob"]))[0]
        except BackchannelError:
            return np.zeros(0, np.int16)

    def _feel(self, transcript: dict[str, Any]) -> dict[str, Any] | None:
        """Told once, kept with the question. No turn fails for want of it."""
        if "emotion" in self._is_told:
            return self._emotion
        started = time.monotonic()
        self._run.emit("status", status="detecting_emotion", message="Detecting emotion...")
        asked = _beside.submit(feel, transcript["text"], EMOTION_WAIT_S)
        prosody: Prosody | None = None
        feeling: Feeling | None = None
        try:
            prosody = house.speech_emotion().hear(self._samples())
        except Exception:
            log.exception("how it was said is not known")
        try:
            told = asked.result()
            feeling = Feeling(told["scores"], told["backend"])
        except BackchannelError as error:
            log.warning("the words' emotion is not known", reason=error.detail)
        found = fuse(feeling, transcript["confidence"], prosody).as_json()
        self._timings["emotion_ms"] = _since(started)
        with self._run.slice() as session:
            question = session.get(Message, self._kept.values["question_id"])
            if question is not None:
                emotions.keep(session, question, found)
        self._run.tell("emotion", data=found)
        return found

    # --- the question

    def _ask(self, transcript: dict[str, Any]) -> str:
        """The id of the reply's job: the one that was asked for, unless that came to nothing."""
        kept = self._kept.values
        with reading() as session:
            earlier = session.get(Job, kept["reply_id"]) if "reply_id" in kept else None
        if earlier is not None and earlier.status not in ("failed", "cancelled"):
            return earlier.id
        with self._run.slice() as session:
            if earlier is not None:
                question_id, new = str(kept["question_id"]), _again(earlier)
            else:
                question_id, new = self._question(session, transcript)
            asked = jobs.add(session, new)
            queue.send_after_commit(session, [asked])
            values = kept | {"question_id": question_id, "reply_id": asked.id, "session_id": new.conversation_id}
            jobs.fence(session, self._run.id, self._run.attempt, checkpoint=values)
        self._kept.values = values
        return asked.id

    def _question(self, session: Session, transcript: dict[str, Any]) -> tuple[str, NewJob]:
        """Its message, with the sound, and the job that is to answer it."""
        message, new = questions.ask(
            session,
            self._run.owner_id,
            transcript["text"],
            self._run.job.conversation_id,
            {name: value for name, value in self._options.items() if name not in ("voice", "speed")},
            Kind.VOICE_REPLY,
        )
        about: dict[str, Any] = {
            "duration_ms": self._run.input["duration_ms"],
            "transcriber": transcript["backend"],
            "confidence": transcript["confidence"],
        }
        if get_settings().voice_keep_audio:
            digest, size = self._run.input["blob"], self._run.input["blob_size"]
            name = f"spoken-{_stamp()}.wav"
            about["file_id"] = spoken.add_audio(session, message.conversation_id, message.id, name, digest, size)
        spoken.note(session, message.id, voice=about)
        return message.id, replace(new, priority=MAX_PRIORITY)

    # --- the answer

    def _speak(self, transcript: dict[str, Any], reply_id: str) -> Outcome:
        self._run.emit("status", status="generating_response", message="Generating response...")
        answer, written = self._answer, ReplyLog(self._run.id, reply_id)
        splitter, fed = SentenceSplitter(), 0
        while True:
            cut = written.read(FOLLOW_MS)
            self._run.check()
            if cut is None and written.text and "first_token_ms" not in self._timings:
                self._timings["first_token_ms"] = self._since_speech()
                cut = written.read_on()
            answer.text = written.text
            pieces = splitter.feed(written.text[fed:])
            fed = max(fed, len(written.text))
            if written.has_ended and written.error is None:
                pieces += splitter.flush()
            if pieces:
                answer.respond(final=written.has_ended)
            for piece in pieces:
                cut = cut or voice_lines.find_cut(self._run.id)
                if cut is None:
                    answer.say(piece)
            if cut is not None:
                return self._cut_short(cut, transcript, reply_id, written)
            if written.has_ended:
                break
        if written.error is not None:
            raise ReplyFailed(written.error)
        if written.was_cancelled:
            raise Cancelled
        answer.respond(final=True)
        return self._outcome(transcript, reply_id, written.result)

    def _cut_short(self, cut: Cut, transcript: dict[str, Any], reply_id: str, written: ReplyLog) -> Outcome:
        self._stop(reply_id)
        deadline = time.monotonic() + CANCEL_WAIT_S
        while not written.has_ended and time.monotonic() < deadline:
            written.read(FOLLOW_MS, heed_cut=False)
            self._run.check()
        self._answer.text = written.text
        heard_ms = self._answer.ms if cut.heard_ms is None else min(cut.heard_ms, self._answer.ms)
        heard = heard_text(written.text, self._answer.spoken, heard_ms)
        self._run.emit("interrupted", heard_ms=heard_ms, text=heard)
        return self._outcome(transcript, reply_id, written.result, heard_ms)

    def _stop(self, reply_id: str) -> None:
        with transaction() as session:
            endings.cancel(session, reply_id, self._run.owner_id)

    def _outcome(
        self, transcript: dict[str, Any], reply_id: str, replied: dict[str, Any], heard_ms: int | None = None
    ) -> Outcome:
        """`heard_ms`: where it was cut short."""
        answer, kept = self._answer, self._kept.values
        heard = None if heard_ms is None else heard_text(answer.text, answer.spoken, heard_ms)
        model = replied.get("model") or ""
        self._timings["total_ms"] = self._since_speech()
        pieces = [list(astuple(piece)) for piece in answer.spoken]
        result: dict[str, Any] = {
            "session_id": kept["session_id"],
            "question_id": kept["question_id"],
            "message_id": replied.get("message_id"),
            "transcript": transcript,
            "understood": True,
            "emotion": self._emotion,
            "response": answer.text if heard is None else heard,
            "model": model,
            "sources": replied.get("sources"),
            "sample_rate": self._run.input["output_rate"],
            "spoken": pieces,
            "reply_job_id": reply_id,
            "interrupted": heard is not None,
            "heard_ms": heard_ms,
            "timings": self._timings,
        }
        cut = {} if heard_ms is None else {"interrupted": {"heard_ms": heard_ms, "said": answer.text}}
        stored = answer.store() if get_settings().voice_keep_audio else None

        def effect(session: Session) -> None:
            message_id = result["message_id"]
            if heard is not None:
                conversations.find(session, kept["session_id"], self._run.owner_id, lock=True)
                message_id = spoken.cut_answer(session, kept["question_id"], reply_id, heard, model)
                request_embedding(session, self._run.owner_id)
            if message_id is None:
                return
            about: dict[str, Any] = {"duration_ms": answer.ms}
            if stored is not None:
                name = f"answer-{_stamp()}.wav"
                about["file_id"] = spoken.add_audio(session, kept["session_id"], message_id, name, *stored)
            spoken.note(session, message_id, voice=about, **cut)

        return Outcome(result, effect)

    def _since_speech(self) -> int:
        return max(0, voice_lines.now_ms() - int(self._run.input["ended_ms"]))


def _again(earlier: Job) -> NewJob:
    """A reply that came to nothing, asked for once more."""
    return NewJob(
        Kind.VOICE_REPLY,
        earlier.owner_id,
        earlier.input,
        MAX_PRIORITY,
        serial_key=earlier.serial_key,
        conversation_id=earlier.conversation_id,
    )


def cut_afterwards(job_id: str, owner_id: str, heard_ms: int) -> None:
    """For an answer that was stopped after its turn had ended, while its sound was still being heard."""
    with transaction() as session:
        row = jobs.get(session, job_id, owner_id)
        result = row.result or {}
        if row.status != "succeeded" or not result.get("understood") or result["interrupted"]:
            return
        heard = heard_text(result["response"], [Spoken(*piece) for piece in result["spoken"]], heard_ms)
        if heard == result["response"].rstrip():
            return
        conversations.find(session, result["session_id"], owner_id, lock=True)
        answer = spoken.answer_of(session, result["reply_job_id"])
        if answer is None or "interrupted" in answer.parts:
            return
        message_id = spoken.cut_answer(session, result["question_id"], result["reply_job_id"], heard, result["model"])
        if message_id is not None:
            spoken.note(session, message_id, interrupted={"heard_ms": heard_ms, "said": result["response"]})
            request_embedding(session, owner_id)


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _stamp() -> str:
    return utcnow().strftime("%Y%m%d-%H%M%S")
