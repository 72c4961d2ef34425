"""The summary that a draft is made from where the conversation is too long for the model."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from config.errors import Conflict
from config.prompts import SUMMARY
from storage import conversations, prompts, summaries
from storage.database import Session, reading
from storage.tables import Conversation
from tasks.answering import waiting
from tasks.checkpoints import Checkpoint
from tasks.run import JobRun
from workers.ports import Delta, SummaryRequest, SummaryStep, Turn
from workers.summaries.choice import summarizer


def summarised(
    run: JobRun, kept: Checkpoint, conversation: Conversation, turns: tuple[Turn, ...], default: str | None
) -> str:
    """Written as a `summarize` job writes it, part by part, and kept as the conversation's summary, unless a person
    has written that."""
    if "summary" in kept.values:
        return str(kept.values["summary"])
    with reading() as session:
        there = summaries.find(session, conversation.id)
        parts = summaries.parts(session, conversation.id)
        instruction = prompts.custom(session, SUMMARY)
    chosen = summarizer(run.input.get("model"), default, waiting(run), instruction)
    run.emit("status", status="summarizing", model=chosen.name)
    place = there.place if there is not None else None
    request = SummaryRequest(conversation.title, turns, parts, place, owner=run.owner_id, job_id=run.id)
    said: list[str] = []
    with closing(chosen.summarize(request, run.should_stop)) as items:
        for item in items:
            if isinstance(item, SummaryStep):
                place = item.place or place
                with run.slice() as session:
                    _lock(session, run, conversation.id)
                    summaries.keep_parts(session, conversation.id, item.parts)
                run.progress(item.done, item.total, item.unit, item.phase)
            elif isinstance(item, Delta):
                said.append(item.text)
            run.check()
    text = "".join(said).strip()
    values: dict[str, Any] = {"model": chosen.name, "content_version": conversation.content_version, "place": place}
    with kept.keep(summary=text) as session:
        _lock(session, run, conversation.id)
        summaries.write(session, conversation.id, replace_edited=False, text=text, **values)
    return text


def _lock(session: Session, run: JobRun, conversation_id: str) -> None:
    """Nobody else keeps parts of this conversation's summary meanwhile."""
    if conversations.find(session, conversation_id, run.owner_id, lock=True) is None:
        raise Conflict("The conversation was deleted while it was summarised.")
