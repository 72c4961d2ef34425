"""Emotion: a question to the index worker, where the embedding model is loaded anyway; no row, no trace."""

from __future__ import annotations

import math
from typing import Any

from config.errors import BackchannelError
from config.logging import log
from config.settings import get_settings
from storage import emotions, enquiries
from storage.tables import Message
from tasks.answering import time_left_s
from tasks.enquiries import answers_to
from tasks.run import JobRun
from workers import registry
from workers.ports import Feeling

EMOTION = "emotion.classify"
MAX_CHARS = 20_000  # what a classifier looks at of a text, and more


@answers_to(EMOTION)
def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer {text}."""
    return emotion_json(registry.emotion().classify(asked["text"]))


def emotion_json(feeling: Feeling) -> dict[str, Any]:
    return {
        "primary_emotion": feeling.label,
        "confidence": round(feeling.confidence, 4),
        "scores": {label: round(share, 4) for label, share in feeling.scores.items()},
        "backend": feeling.backend,
    }


def emotion_of(run: JobRun, question: Message) -> dict[str, Any] | None:
    """Of a question whose asker wants to know (`emotion`): found once, kept with it and told. No chat fails for want of
    it."""
    if not run.input.get("emotion"):
        return None
    found = emotions.of(question)
    if found is None:
        wait_s = min(get_settings().chat_wait_emotion_s, time_left_s(run) or math.inf)
        try:
            found = feel(question.content, wait_s)
        except BackchannelError as error:
            log.warning("answering without the emotion", reason=error.detail)
            run.emit("status", status="emotion_unavailable", message=error.detail)
            return None
        with run.slice() as session:
            emotions.keep(session, question, found)
    run.emit("status", status="emotion", emotion=found)
    return found


def feel(text: str, timeout_s: float) -> dict[str, Any]:
    """The emotion of a text as JSON, by way of the index worker. Raises Unavailable."""
    found: dict[str, Any] = enquiries.ask(EMOTION, {"text": text[:MAX_CHARS]}, timeout_s)
    return found
