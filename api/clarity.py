"""Sessions and text chat as ClarityMentor has them: a session is a conversation, its turns are what is shown of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import redis
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, Parameter

from api import sessions
from api.files import address_here
from api.intake import AnyRequest, chat_builder, submit
from api.schemas import MAX_OFFSET, TextChatIn
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from api.waiting import preference, respond
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, emotions, messages, presence, spoken, users
from storage.database import Session, reading, transaction
from storage.tables import Job, Message, utcnow

Json = dict[str, Any]


class ClarityController(Controller):
    path = "/api"
    tags = ["sessions"]  # noqa: RUF012

    @get("/health", summary="Are the models loaded?")
    async def health(self) -> Json:
        return {"status": "healthy", **await in_thread(_models), "timestamp": iso(utcnow())}

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


def _models() -> Json:
    """As the workers that have them say. Loaded is what is ready; a speaker that failed is not waited for: it is an
    optional part, and without it everything else is served. Names stay inside: one may be a path."""
    roles = _ROLES + (_VOICE_ROLES if get_settings().voice_enabled else ())
    try:
        workers = presence.present()
    except redis.RedisError:
        workers = []
    told = {role: worker.models[role] for worker in workers for role in roles if role in worker.models}
    parts = {role: _part_json(told.get(role, {"state": "missing"})) for role in roles}
    waited_for = [part for role, part in parts.items() if (role, part["state"]) != ("speaker", "failed")]
    return {"models_loaded": all(part["state"] == "ready" for part in waited_for), "models": parts}


def _part_json(told: Json) -> Json:
    return {"state": told["state"], "detail": told.get("detail")}


_ROLES = ("language", "embedding")
_VOICE_ROLES = ("transcriber", "speaker", "speech_emotion", "voice_activity")


def _open(owner_id: str) -> Json:
    with transaction() as session:
        conversation = conversations.create(session, owner_id)
        users.set_current_conversation(session, owner_id, conversation.id)
    return {"session_id": conversation.id, "created_at": iso(conversation.created_at)}


def _history(owner_id: str, session_id: str) -> Json:
    with reading() as session:
        conversation = conversations.get(session, session_id, owner_id)
        shown = messages.path(session, session_id)
        sounds = spoken.audio_of(session, session_id)
    expires = int(time.time()) + get_settings().file_url_s
    turns = [
        _turn_json(message, sounds.get(message.id), expires)
        for message in shown
        if message.role in ("user", "assistant")
    ]
    timeline = [
        {"timestamp": turn["timestamp"], "message_id": turn["id"], **turn["emotion"]}
        for turn in turns
        if turn["emotion"]
    ]
    return {**sessions.session_json(conversation), "turns": turns, "emotion_timeline": timeline}


def _turn_json(message: Message, file_id: str | None, expires: int) -> Json:
    return {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "emotion": _emotion_json(message),
        "voice": _voice_json(message, file_id, expires),
        "timestamp": iso(message.created_at),
    }


def _emotion_json(message: Message) -> Json | None:
    """An import may have brought anything under its name."""
    found: Any = emotions.of(message)
    is_one = isinstance(found, dict) and isinstance(found.get("primary_emotion"), str) and "confidence" in found
    return found if is_one else None


def _voice_json(message: Message, file_id: str | None, expires: int) -> Json | None:
    """`file_id`: of its sound, where that is kept."""
    found: Any = spoken.of(message)
    ms = found.get("duration_ms") if isinstance(found, dict) else None
    if not isinstance(ms, int):
        return None
    return {
        "file_id": file_id,
        "duration_ms": ms,
        "audio_url": address_here(file_id, expires) if file_id else None,
        "expires_at": iso(datetime.fromtimestamp(expires, UTC)) if file_id else None,
        "interrupted": "interrupted" in message.parts,
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
