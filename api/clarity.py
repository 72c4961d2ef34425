"""Sessions and text chat as ClarityMentor has them: a session is a conversation, its turns are what is shown of it."""

from __future__ import annotations

from typing import Annotated, Any

import redis
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, Parameter

from api import sessions
from api.intake import AnyRequest, chat_builder, submit
from api.schemas import MAX_OFFSET, TextChatIn
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from api.waiting import preference, respond
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, emotions, messages, presence, users
from storage.database import Session, reading, transaction
from storage.tables import Job, Message, utcnow

Json = dict[str, Any]


class ClarityController(Controller):
    path = "/api"
    tags = ["sessions"]  # noqa: RUF012

    @get("/health", summary="Are the models loaded?")
    async def health(self) -> Json:
        loaded = await in_thread(_models_loaded)
        return {"status": "healthy", "models_loaded": loaded, "timestamp": iso(utcnow())}

    @post("/sessions", status_code=201, summary="Open a conversation and make it the current one")
    async def open(self, request: AnyRequest) -> Json:
        return await writing(_open, request.user.id)

    @get("/sessions", summary="Your sessions, most recently changed first")
    async def list(
        self,
        request: AnyRequest,
        limit: Annotated[int, Parameter(ge=1)] = 50,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        return await in_thread(sessions.page, request.user.id, min(limit, get_settings().max_page), offset)

    @get("/sessions/{session_id:str}/history", summary="What was said in a session, and how it sounded")
    async def history(self, request: AnyRequest, session_id: FromPath[str]) -> Json:
        return await in_thread(_history, request.user.id, session_id)

    @delete("/sessions/{session_id:str}", status_code=200, summary="Delete a session and all that was said in it")
    async def remove(self, request: AnyRequest, session_id: FromPath[str]) -> Json:
        return await writing(sessions.remove, request.user.id, session_id)

    @post("/text-chat", status_code=200, summary="Say something in writing and get the answer")
    async def chat(self, request: AnyRequest, data: TextChatIn) -> Response[Json]:
        build = chat_builder(request.user.id, data.text, data.options())
        job = await submit(request, Kind.CHAT, build, data.model_dump(mode="json"))
        wish = preference(request, default_wait_s=get_settings().wait_max_s)
        return await respond(request, job, wish, _chat_json, cancel_on_disconnect=data.cancel_on_disconnect)


def _models_loaded() -> bool:
    """Whether the workers that answer and search say that theirs are."""
    try:
        workers = presence.present()
    except redis.RedisError:
        return False
    states = {role: worker.models[role]["state"] for worker in workers for role in _ROLES if role in worker.models}
    return all(states.get(role) == "ready" for role in _ROLES)


_ROLES = ("language", "embedding")


def _open(owner_id: str) -> Json:
    with transaction() as session:
        conversation = conversations.create(session, owner_id)
        users.set_current_conversation(session, owner_id, conversation.id)
    return {"session_id": conversation.id, "created_at": iso(conversation.created_at)}


def _history(owner_id: str, session_id: str) -> Json:
    with reading() as session:
        conversation = conversations.get(session, session_id, owner_id)
        shown = messages.path(session, session_id)
    turns = [_turn_json(message) for message in shown if message.role in ("user", "assistant")]
    timeline = [
        {"timestamp": turn["timestamp"], "message_id": turn["id"], **turn["emotion"]}
        for turn in turns
        if turn["emotion"]
    ]
    return {**sessions.session_json(conversation), "turns": turns, "emotion_timeline": timeline}


def _turn_json(message: Message) -> Json:
    return {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "emotion": emotions.of(message),
        "timestamp": iso(message.created_at),
    }


def _chat_json(_session: Session, job: Job) -> Json:
    result = job.result or {}
    return {
        "session_id": result["session_id"],
        "response": result["content"],
        "emotion": result.get("emotion"),
        "message_id": result["message_id"],
        "model": result["model"],
        "sources": result["sources"],
        "job_id": job.id,
    }
