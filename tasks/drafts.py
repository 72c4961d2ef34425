"""Kind `draft`: what a conversation is to become, written by a model from all of it, or from its summary."""

from __future__ import annotations

import time
from typing import Any

import orjson

from config.catalogue import EXTRACTIVE, full_name
from config.errors import Conflict, PromptTooLong, ProviderRefused
from config.queues import Kind
from storage import drafts, usage
from storage.database import Session, reading
from storage.ids import new_id
from tasks.answering import waiting
from tasks.base import event_log, job
from tasks.checkpoints import Checkpoint
from tasks.draft_material import Material, Plan, find_memories, load, open_conversation
from tasks.draft_summaries import summarised
from tasks.embeddings import request_embedding
from tasks.run import JobRun, Outcome
from workers import registry
from workers.drafts import extractive
from workers.drafts import prompts as words
from workers.drafts.reading import DraftReader, JsonDraft, TextDraft
from workers.ports import ChatMessage, ChatRequest, Completion, Delta, LanguageModel, Sampling

SUGGESTION = "Have the conversation summarised first (accept_summarization), or choose a model with a larger window."


@job(Kind.DRAFT)
def write(run: JobRun) -> Outcome:
    started, kept = time.monotonic(), Checkpoint(run)
    run.restore_text()
    if "written" not in kept.values:
        _make(run, kept, load(run))
    return _outcome(run, kept.values["written"], round((time.monotonic() - started) * 1000))


def _make(run: JobRun, kept: Checkpoint, material: Material) -> None:
    memories = find_memories(run, kept, material)
    with registry.language_model(material.model, waiting(run)) as model:
        if model.provider == EXTRACTIVE:
            made = _quote(run, material, getattr(model, "problem", None))
            _keep_draft(run, kept, material.conversation.title, made)
            return
        name, plan = full_name(model.provider, model.name), Plan(model, material, memories)
        whole = plan.whole(model)
        text = whole if whole is not None else plan.summary(model)
    if text is None:
        text = _summary(run, kept, material, plan)
    with registry.language_model(name, waiting(run)) as model:
        if whole is None and not plan.fits(model, text):
            raise PromptTooLong(f"Even the conversation's summary is longer than what {model.name} can read.")
        title, completion = _stream(run, kept, model, plan, plan.messages(text, is_summary=whole is None))
        if not run.text.strip():
            raise ProviderRefused(f"The model {model.name} was asked for a draft and wrote nothing.")
        _keep_draft(run, kept, title or material.conversation.title, (model.name, completion))


def _summary(run: JobRun, kept: Checkpoint, material: Material, plan: Plan) -> str:
    """Raises PromptTooLong when nobody said that one may be made."""
    if not run.input.get("accept_summarization"):
        problem = f"The conversation is longer than what the model {plan.model_name} can read."
        run.emit("status", status="model_limit_conflict", message=problem, suggestion=SUGGESTION)
        raise PromptTooLong(f"{problem} {SUGGESTION}")
    return summarised(run, kept, material.conversation, material.turns, material.model)


# --- writing


def _stream(
    run: JobRun, kept: Checkpoint, model: LanguageModel, plan: Plan, asked: tuple[ChatMessage, ...]
) -> tuple[str, Completion]:
    """The description goes to the listeners as it comes; the title is kept before, for an attempt that goes on."""
    reader: DraftReader = JsonDraft() if plan.in_json else TextDraft()
    begun = kept.values.get("title")
    form = {"type": "json_schema", "schema": words.schema(bounded=plan.is_bounded)} if plan.in_json else None
    request = ChatRequest(
        asked,
        sampling=Sampling(temperature=0, max_tokens=plan.max_tokens, response_format=form),
        resume_text=reader.resume(begun, run.text) if begun is not None else "",
        owner=run.owner_id,
        job_id=run.id,
        work_class="summarize",
    )
    run.emit("status", status="generating", model=model.name)
    completion: Completion | None = None
    for item in model.stream(request, run.should_stop):
        for piece in reader.feed(item.text) if isinstance(item, Delta) else ():
            _show(run, kept, reader, piece)
        completion = item if isinstance(item, Completion) else completion
        run.check()
    assert completion is not None, "a stream ends with its completion"
    _show(run, kept, reader, reader.rest())
    return " ".join(kept.values["title"].split())[: drafts.MAX_TITLE_CHARS], completion


def _show(run: JobRun, kept: Checkpoint, reader: DraftReader, piece: str) -> None:
    if "title" not in kept.values:
        with kept.keep(title=(reader.title or "").replace("\0", "")):
            pass
    if piece := piece.replace("\0", ""):  # PostgreSQL holds none
        run.content(piece)


def _quote(run: JobRun, material: Material, problem: str | None) -> tuple[str, Completion]:
    text = extractive.description(material.turns, problem)
    if text.startswith(run.text):
        run.content(text[len(run.text) :])
    else:  # an earlier attempt quoted what was there then
        run.content("".join(f"\n\n{block}" for block in text.split("\n\n") if block not in run.text))
    return EXTRACTIVE, Completion("stop", 0, 0)


# --- the version


def _keep_draft(run: JobRun, kept: Checkpoint, title: str, made: tuple[str, Completion]) -> None:
    """One version, however often this is tried. What a person wrote meanwhile stays the active one."""
    model, completion = made
    written = {
        "version_id": new_id(),
        "model": model,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    with kept.keep(written=written) as session:
        conversation = open_conversation(session, run, lock=True)
        draft = drafts.find(session, conversation.id)
        now = drafts.active(session, draft) if draft is not None else None
        is_edited = now is not None and now.is_manual_edit and now.created_at > run.job.created_at
        drafts.add_version(
            session,
            conversation,
            title,
            run.text.strip(),
            by=run.owner_id,
            activate=not is_edited,
            id=written["version_id"],
            model=model,
            job_id=run.id,
        )
        request_embedding(session, run.owner_id)


def _outcome(run: JobRun, written: dict[str, Any], ms: int) -> Outcome:
    conversation_id = run.input["conversation_id"]
    with reading() as session:
        draft = drafts.find(session, conversation_id)
        if draft is None:
            raise Conflict("The conversation was deleted meanwhile.")
        told = drafts.as_json(session, draft)
    tell_update(run, told)

    def effect(session: Session) -> None:
        usage.add(session, run.owner_id, written["prompt_tokens"], written["completion_tokens"])

    result = {"conversation_id": conversation_id, "project_draft": told, **written, "response_ms": ms}
    return Outcome(result, effect)


def tell_update(run: JobRun, told: dict[str, Any]) -> None:
    """The event for a version; not again where an attempt that died has told it."""
    if run.attempt > 1:
        run.flush(2.0)
        for event in event_log().read(run.id):
            if event.type == "project_updated":
                earlier = orjson.loads(event.json)["project_draft"]
                if earlier["active_version_id"] == told["active_version_id"]:
                    return
    run.emit("project_updated", project_draft=told)
