"""An utterance that has ended becomes the job of a turn, once: who listens to the line after a dead ear finds it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

from config.queues import KINDS, MAX_PRIORITY, Kind
from config.settings import MIB
from storage import blobs, jobs, questions, queue, usage, voice_lines
from storage.database import is_duplicate, reading, transaction
from storage.jobs import NewJob
from storage.voice_lines import Claimed, Line
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.wav import write_wav


@dataclass(frozen=True, slots=True)
class Utterance:
    """`through`: the last entry of the line's stream that was heard when it ended. Times as voice_lines has them."""

    samples: Samples
    transcript: Transcript | None
    ended_ms: int
    through: str
    timings: dict[str, int]


def _key(line_id: str, number: int) -> str:
    return f"voice:{line_id}:{number}"


def catch_up(claimed: Claimed) -> Claimed:
    """A turn that was accepted, and its ear died before it said so."""
    while True:
        with reading() as session:
            row = jobs.find_keyed(session, claimed.line.owner_id, _key(claimed.line.id, claimed.turns + 1))
        if row is None:
            return claimed
        claimed = replace(claimed, turns=claimed.turns + 1, after=row.input["through"])
        voice_lines.forget_until(claimed.line.id, claimed.after, claimed.turns)


def accept(line: Line, number: int, said: Utterance) -> tuple[str, str] | None:
    """(the job, its conversation); None where another ear made this turn. Raises what refuses a chat: QueueFull,
    QuotaUsedUp, NotFound, Conflict."""
    digest, size = blobs.store(io.BytesIO(write_wav(said.samples, HEARING_RATE)), 1024 * MIB)
    options = {name: value for name, value in line.options.items() if name != "session_id"}
    given: dict[str, Any] = {
        "line": line.id,
        "through": said.through,
        "blob": digest,
        "blob_size": size,
        "duration_ms": len(said.samples) * 1000 // HEARING_RATE,
        "ended_ms": said.ended_ms,
        "output_rate": line.output_rate,
        "options": options,
        "timings": said.timings,
    }
    if said.transcript is not None:
        found = said.transcript
        given["transcript"] = {
            "text": found.text, "confidence": round(found.confidence, 3), "backend": found.backend,
        }  # fmt: skip
    try:
        with transaction() as session:
            jobs.check_room(session, KINDS[Kind.VOICE].queue, line.owner_id)
            usage.check(session, line.owner_id)
            conversation = questions.conversation_for(session, line.owner_id, line.options.get("session_id"))
            job = jobs.add(
                session,
                NewJob(
                    Kind.VOICE,
                    line.owner_id,
                    given,
                    MAX_PRIORITY,
                    serial_key=f"voice:{conversation.id}",
                    conversation_id=conversation.id,
                    idempotency_key=_key(line.id, number),
                    request_hash="",
                ),
            )
            queue.send_after_commit(session, [job])
            return job.id, conversation.id
    except Exception as error:
        if is_duplicate(error):
            return None
        raise
