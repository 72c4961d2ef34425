"""Chat as FAITHH has it."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.params import FromQuery, Parameter

from api.intake import AnyRequest, chat_builder, submit
from api.schemas import ChatIn
from api.threads import reading as in_thread
from api.threads import writing
from api.views import message_json
from api.waiting import preference, respond
from config.queues import Kind
from config.settings import get_settings
from storage import answer_cache, conversations, messages, questions, users
from storage.database import Session, reading, transaction
from storage.tables import Job

Json = dict[str, Any]


class ChatController(Controller):
    path = "/api"
    tags = ["chat"]  # noqa: RUF012

    @post("/chat", status_code=200, summary="Say something and get the answer")
    async def chat(self, request: AnyRequest, data: ChatIn) -> Response[Json]:
        job = await submit(
            request, Kind.CHAT, chat_builder(request.user.id, data.message, data), data.model_dump(mode="json")
        )
        wish = preference(request, default_wait_s=get_settings().wait_max_s)
        return await respond(request, job, wish, _chat_json, cancel_on_disconnect=data.cancel_on_disconnect)

    @get("/chat/history", summary="The latest messages of a conversation")
    async def history(
        self,
        request: AnyRequest,
        limit: Annotated[int, Parameter(ge=1)] = 50,
        session_id: FromQuery[str | None] = None,
    ) -> Json:
        return await in_thread(_history, request.user.id, session_id, min(limit, get_settings().max_page))

    @delete("/chat/history", status_code=200, summary="Forget the messages of a conversation")
    async def clear(self, request: AnyRequest, session_id: FromQuery[str | None] = None) -> Json:
        removed = await writing(_clear, request.user.id, session_id)
        return {"success": True, "message": "Chat history cleared", "removed": removed}


def _chat_json(_session: Session, job: Job) -> Json:
    result = job.result or {}
    return {
        "success": True,
        "response": result["content"],
        "sources": result["sources"],
        "metadata": {
            "model": result["model"],
            "tokens": result["completion_tokens"],
            "prompt_tokens": result["prompt_tokens"],
            "response_time": result["response_ms"] / 1000,
            "rag_used": result["sources"] is not None,
            "finish_reason": result["finish_reason"],
        },
        "session_id": result["session_id"],
        "message_id": result["message_id"],
        "job_id": job.id,
        "cached": result.get("cached", False),
        **{name: result[name] for name in ("logprobs", "emotion") if name in result},
    }


def _history(owner_id: str, session_id: str | None, limit: int) -> Json:
    with reading() as session:
        if session_id is None:
            session_id = users.get(session, owner_id).current_conversation_id
            if session_id is None or conversations.find(session, session_id, owner_id) is None:
                return {"success": True, "messages": [], "total_count": 0, "session_id": None}
        conversation = conversations.get(session, session_id, owner_id)
        shown, total = messages.latest(session, conversation.id, limit)
    return {
        "success": True,
        "messages": [message_json(row) for row in shown],
        "total_count": total,
        "session_id": conversation.id,
    }


def _clear(owner_id: str, session_id: str | None) -> int:
    with transaction() as session:
        conversation = (
            conversations.open_for_writing(session, session_id, owner_id)
            if session_id
            else questions.current(session, owner_id)
        )
        removed = messages.clear(session, conversation.id)
        conversations.touch(session, conversation.id)
        answer_cache.forget_after_commit(session, owner_id)
        return removed
