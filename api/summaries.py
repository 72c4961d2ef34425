"""What a conversation is about, in a few words: asked for, read, and put right by a person."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath

from api.intake import AnyRequest, builder, submit
from api.schemas import SummarizeIn, SummaryIn, SummaryOptions
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from api.waiting import preference, respond
from config.errors import NotFound
from config.queues import Kind
from storage import conversations, summaries
from storage.database import Session, reading, transaction
from storage.tables import Conversation, Job, Summary

Json = dict[str, Any]


class SummaryController(Controller):
    path = "/api/conversations"
    tags = ["summaries"]  # noqa: RUF012

    @get("/{conversation_id:str}/imported_chat_summary", summary="The summary of a conversation")
    async def show(self, request: AnyRequest, conversation_id: FromPath[str]) -> Json:
        return await in_thread(_show, request.user.id, conversation_id)

    @post("/{conversation_id:str}/summary", status_code=202, summary="Have a conversation summarised")
    async def make(
        self, request: AnyRequest, conversation_id: FromPath[str], data: SummaryOptions | None = None
    ) -> Response[Json]:
        given = data or SummaryOptions()
        body = SummarizeIn.model_construct(conversation_id=conversation_id, **given.model_dump())
        build = builder(Kind.SUMMARIZE, body, request.user.id)
        job = await submit(request, Kind.SUMMARIZE, build, given.model_dump(mode="json"))
        return await respond(request, job, preference(request, default_wait_s=0), _made_json)

    @patch("/{conversation_id:str}/summary", summary="Write the summary yourself; no job replaces it unasked")
    async def edit(self, request: AnyRequest, conversation_id: FromPath[str], data: SummaryIn) -> Json:
        return await writing(_edit, request.user.id, conversation_id, data.summary)


def summary_json(session: Session, conversation: Conversation, summary: Summary) -> Json:
    """`stale`: the messages have changed since; `job_id`: of the job that is to write the next one."""
    job = summaries.job_of(session, conversation.id)
    return {
        "conversation_id": conversation.id,
        "summary": summary.text,
        "model": summary.model,
        "is_edited": summary.is_edited,
        "stale": summary.content_version < conversation.content_version,
        "created_at": iso(summary.created_at),
        "updated_at": iso(summary.updated_at),
        "job_id": job.id if job is not None else None,
    }


def _show(owner_id: str, conversation_id: str) -> Json:
    with reading() as session:
        conversation = conversations.get(session, conversation_id, owner_id)
        found = summaries.find(session, conversation.id)
        if found is not None:
            return summary_json(session, conversation, found)
        job = summaries.job_of(session, conversation.id)
    if job is not None:
        raise NotFound(f"There is no summary of this conversation yet; job {job.id} is to write it.")
    raise NotFound("There is no summary of this conversation yet; POST to its /summary has one written.")


def _made_json(session: Session, job: Job) -> Json:
    """The summary as it stands, and the job's own text where a person's was kept."""
    result = job.result or {}
    conversation = conversations.get(session, result["conversation_id"], job.owner_id)
    found = summaries.find(session, conversation.id)
    if found is None:
        raise NotFound("The summary is gone again.")
    proposal = {"proposal": result["summary"]} if result["kept"] else {}
    return {**summary_json(session, conversation, found), **proposal, "job_id": job.id}


def _edit(owner_id: str, conversation_id: str, text: str) -> Json:
    with transaction() as session:
        conversation = conversations.open_for_writing(session, conversation_id, owner_id)
        return summary_json(session, conversation, summaries.edit(session, conversation, text))
