"""Kind `summarize`: what a conversation is about. Parts are kept as they are written, so that a later attempt goes on
behind them, and the next summary of a conversation that grew reads only what is new."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from config.errors import Conflict, Unavailable, Unusable
from config.prompts import SUMMARY
from config.queues import Kind
from storage import conversations, llm_defaults, messages, prompts, summaries, usage
from storage.database import Session, reading
from storage.tables import Conversation
from tasks.answering import waiting
from tasks.base import job
from tasks.run import JobRun, Outcome
from workers.ports import Completion, Delta, Summarizer, SummaryRequest, SummaryStep, Turn
from workers.summaries.choice import summarizer


@job(Kind.SUMMARIZE)
def summarize(run: JobRun) -> Outcome:
    started = time.monotonic()
    with reading() as session:
        conversation = _conversation(session, run)
        shown = messages.path(session, conversation.id)
        parts = summaries.parts(session, conversation.id)
        earlier = summaries.find(session, conversation.id)
        default = llm_defaults.resolve(session, run.owner_id, SUMMARY)
        instruction = prompts.custom(session, SUMMARY)
    turns = tuple(
        Turn("user" if message.role == "user" else "assistant", message.content, message.created_at)
        for message in shown
        if message.role in ("user", "assistant") and message.content.strip()
    )
    if not turns:
        raise Unusable("This conversation has no messages to summarise.")
    run.restore_text()
    chosen = summarizer(run.input.get("model"), default, waiting(run), instruction)
    run.emit("status", status="summarizing", model=chosen.name)
    writing = _Writing(run, conversation, earlier.place if earlier is not None else None)
    request = SummaryRequest(
        conversation.title,
        turns,
        parts,
        writing.place,
        resume_text=run.text,
        resume_tokens=tuple(run.resume_tokens),
        owner=run.owner_id,
        job_id=run.id,
    )
    completion = writing.write(chosen, request)
    return writing.outcome(chosen, completion, len(turns), round((time.monotonic() - started) * 1000))


def _conversation(session: Session, run: JobRun) -> Conversation:
    found = conversations.find(session, run.input["conversation_id"], run.owner_id)
    if found is None:
        raise Conflict("The conversation was deleted before it was summarised.")
    return found


class _Writing:
    """One attempt: keeps what the summariser tells to keep, and says what became of it."""

    def __init__(self, run: JobRun, conversation: Conversation, place: dict[str, Any] | None) -> None:
        """`place` is that of the summary there is; this job's own, where it has come further, goes before it."""
        checkpoint = run.job.checkpoint or {}
        self._run, self._id = run, conversation.id
        self.place: dict[str, Any] | None = checkpoint.get("place") or place
        # An attempt that goes on with a text tells of the messages that text was begun from.
        begun = checkpoint.get("version") if run.text else None
        self._version: int = begun or conversation.content_version
        self._used: set[str] = set()
        self._made = 0

    def write(self, chosen: Summarizer, request: SummaryRequest) -> Completion:
        completion: Completion | None = None
        with closing(chosen.summarize(request, self._run.should_stop)) as items:
            for item in items:
                if isinstance(item, SummaryStep):
                    self._keep(item, request)
                elif isinstance(item, Delta):
                    self._run.content(item.text, item.tokens)
                else:
                    completion = item
                self._run.check()
        assert completion is not None, "a summary ends with its completion"
        return completion

    def _keep(self, step: SummaryStep, request: SummaryRequest) -> None:
        new = {digest: text for digest, text in step.parts.items() if digest not in request.parts}
        self._used |= step.parts.keys()
        self._made += len(new)
        if new or step.phase == "final" or step.place not in (None, self.place):
            self.place = step.place or self.place
            with self._run.slice(checkpoint={"version": self._version, "place": self.place}) as session:
                self._require(session)
                summaries.keep_parts(session, self._id, new)
        self._run.emit_all({"type": "item", "phase": step.phase, "text": text} for text in new.values())
        self._run.progress(step.done, step.total, step.unit, step.phase)

    def _require(self, session: Session) -> None:
        """The conversation is there and stays until this transaction ends."""
        if not conversations.existing(session, {self._id}):
            raise Conflict("The conversation was deleted while it was summarised.")

    def outcome(self, chosen: Summarizer, completion: Completion, read: int, ms: int) -> Outcome:
        if self._run.progress_now:
            self._run.progress_now |= {"done": self._run.progress_now["total"]}  # the final text too
        text, replace_edited = self._run.text.strip(), bool(self._run.input.get("replace_edited"))
        with reading() as session:
            there = summaries.find(session, self._id)
        kept = there is not None and there.is_edited and not replace_edited
        result = {
            "conversation_id": self._id,
            "summary": text,
            "model": chosen.name,
            "kept": kept,  # a person's summary stands; this one is a proposal
            "finish_reason": completion.finish_reason,
            "messages": read,
            "parts": {"made": self._made, "reused": len(self._used) - self._made},
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "response_ms": ms,
        }
        values = {"text": text, "model": chosen.name, "content_version": self._version, "place": self.place}

        def effect(session: Session) -> None:
            self._require(session)
            written = summaries.write(session, self._id, replace_edited=replace_edited, **values)
            if written is kept:
                raise Unavailable("A person changed the summary at this very moment.")
            usage.add(session, self._run.owner_id, completion.prompt_tokens, completion.completion_tokens)
            if self._used:
                summaries.drop_parts(session, self._id, but=self._used)

        return Outcome(result, effect)
