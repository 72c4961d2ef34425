"""Kind `chat`: history and passages in, an answer out, token by token."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from config.catalogue import EXTRACTIVE
from config.errors import Conflict, Unavailable
from config.logging import log
from config.queues import Kind
from config.settings import get_settings
from storage import answer_cache, conversations, messages, usage
from storage.answer_cache import Ticket
from storage.database import Session, reading
from storage.ids import new_id
from storage.tables import Message
from tasks import attachments
from tasks.answer_cache import say_again, worth_keeping
from tasks.answering import PROMPT_MARGIN, chat_class, time_left_s, waiting, write_answer
from tasks.attachments import Brought
from tasks.base import job
from tasks.embeddings import request_embedding
from tasks.emotions import emotion_of
from tasks.run import JobRun, Outcome
from tasks.search import Retrieval, retrieve
from workers import registry
from workers.llm.prompt import fit_history
from workers.ports import ChatMessage, ChatRequest, Completion, LanguageModel, Passage, Sampling


@job(Kind.CHAT)
def reply(run: JobRun) -> Outcome:
    started = time.monotonic()
    time_left_s(run)
    question, history = _load(run)
    emotion = emotion_of(run, question)
    with registry.language_model(run.input.get("model"), waiting(run)) as model:
        passages = _passages(run, question.content)
        brought = attachments.brought_with(run, model, history)
        run.restore_text()
        request = _request(run, model, history, brought, passages)
        completion, ticket = say_again(run, model, request)
        more: dict[str, Any] = {"cached": True} if completion is not None else {}
        if completion is None:
            run.emit("status", status="generating_response", model=model.name)
            completion = write_answer(run, model, request)
    if emotion is not None:
        more["emotion"] = emotion
    ms = round((time.monotonic() - started) * 1000)
    return _outcome(run, question, model, passages, completion, ms, more, ticket)


def _load(run: JobRun) -> tuple[Message, list[Message]]:
    with reading() as session:
        question = messages.get(session, run.input["message_id"])
        if question is None:
            raise Conflict("The question was deleted before it was answered.")
        return question, messages.before(session, question)


def _passages(run: JobRun, question: str) -> tuple[Passage, ...]:
    """Retrieved once and kept with the job, so that every attempt answers from the same sources."""
    if not run.input.get("use_rag"):
        return ()
    kept = (run.job.checkpoint or {}).get("passages")
    if kept is None:
        run.emit("status", status="retrieving")
        settings = get_settings()
        try:
            found = retrieve(
                Retrieval(run.owner_id, question, settings.rag_passages, not_in=run.job.conversation_id),
                min(settings.chat_wait_retrieval_s, time_left_s(run) or math.inf),
            )
        except Unavailable as error:
            log.warning("answering without sources", reason=error.detail)
            run.emit("status", status="retrieval_unavailable", message=error.detail)
            return ()
        kept = [asdict(passage) for passage in found]
        with run.slice(checkpoint={"passages": kept}):
            pass
    return tuple(Passage(**passage) for passage in kept)


def _request(
    run: JobRun, model: LanguageModel, history: list[Message], brought: Brought, passages: tuple[Passage, ...]
) -> ChatRequest:
    given = {name: run.input[name] for name in Sampling.__dataclass_fields__ if run.input.get(name) is not None}
    given["stop"] = tuple(given.get("stop", ()))
    sampling = Sampling(**{"max_tokens": get_settings().chat_max_tokens, **given})
    quoted = sum(model.count_tokens(passage.text) for passage in passages)
    # The answer may use what it asked for, but never more than half the window at the history's cost.
    room = model.context_tokens - min(sampling.max_tokens, model.context_tokens // 2) - quoted - PROMPT_MARGIN
    if model.provider == EXTRACTIVE:
        passages += attachments.as_passages(brought, run.job.conversation_id or "")
        brought = {}
    return ChatRequest(
        _messages(run, model, history, brought, room),
        passages,
        sampling,
        resume_text=run.text,
        resume_tokens=tuple(run.resume_tokens),
        owner=run.owner_id,
        job_id=run.id,
        work_class=chat_class(run),
        deadline_s=time_left_s(run),
    )


def _messages(
    run: JobRun, model: LanguageModel, history: list[Message], brought: Brought, room: int
) -> tuple[ChatMessage, ...]:
    """As much of the history as fits, with the files that were brought; these take half the room at most."""
    prompt = attachments.Prompt(run, model, room // 2)
    said: list[ChatMessage] = []
    for message in reversed(history):
        if message.role in ("user", "assistant") and message.content:
            one = ChatMessage("user" if message.role == "user" else "assistant", message.content)
            said.insert(0, prompt.with_files(one, brought.get(message.id, ())))
    system = [ChatMessage("system", run.input["system"])] if run.input.get("system") else []
    fitted, dropped = fit_history([*system, *said], model.count_tokens, room - prompt.shown_tokens)
    if dropped:
        run.emit("status", status="history_shortened", dropped_messages=dropped)
    return fitted


def _outcome(
    run: JobRun,
    question: Message,
    model: LanguageModel,
    passages: tuple[Passage, ...],
    completion: Completion,
    ms: int,
    more: dict[str, Any],
    ticket: Ticket | None,
) -> Outcome:
    sources = [_source(passage) for passage in passages] if run.input.get("use_rag") else None
    answer_id = new_id()
    result: dict[str, Any] = {
        "message_id": answer_id,
        "session_id": question.conversation_id,
        "content": run.text,
        "model": model.name,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "response_ms": ms,
        "sources": sources,
        **more,
    }
    if run.logprobs:
        result["logprobs"] = run.logprobs

    def effect(session: Session) -> None:
        messages.add_answer(
            session,
            question,
            run.text,
            message_id=answer_id,
            model=model.name,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            response_ms=ms,
            sources=sources,
            job_id=run.id,
        )
        cost = (0, 0) if "cached" in more else (completion.prompt_tokens, completion.completion_tokens)
        usage.add(session, run.owner_id, *cost)
        conversations.touch(session, question.conversation_id)
        request_embedding(session, run.owner_id)
        if ticket is not None and (kept := worth_keeping(run.text, completion)) is not None:
            answer_cache.put_after_commit(session, ticket, kept)

    return Outcome(result, effect)


def _source(passage: Passage) -> dict[str, Any]:
    return {
        "conversation_id": passage.conversation_id,
        "title": passage.conversation_title,
        "message_id": passage.message_id,
        "text": passage.text,
        "score": round(passage.score, 4),
    }
