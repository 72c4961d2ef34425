"""Emotion: a question to the index worker, where the embedding model is loaded anyway; no row, no trace."""

from __future__ import annotations

import math
from typing import Any

from config.celery import celery_app
from config.errors import BackchannelError, Unavailable
from config.logging import log
from config.queues import SEARCH_QUEUE
from config.settings import get_settings
from storage import emotions, queue
from storage.tables import Message
from tasks.answering import time_left_s
from tasks.run import JobRun
from workers import registry
from workers.ports import Feeling

EMOTION_TASK = "emotion.classify"
MAX_CHARS = 20_000  # what a classifier looks at of a text, and more


@celery_app.task(name=EMOTION_TASK)  # type: ignore[untyped-decorator]
def answer(question: dict[str, Any], reply_to: str) -> None:
    """Answer {text}."""
    try:
        queue.reply(reply_to, value=emotion_json(registry.emotion().classify(question["text"])))
    except BackchannelError as error:
        queue.reply(reply_to, error=error)
    except Exception:
        log.exception("an emotion was not found")
        queue.reply(reply_to, error=Unavailable("The emotion was not found; the log has the details."))


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
    found: dict[str, Any] = queue.ask(EMOTION_TASK, SEARCH_QUEUE, {"text": text[:MAX_CHARS]}, timeout_s)
    return found
