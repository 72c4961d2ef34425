"""Chat in the words of each seed, the sessions it is held in, and what FAITHH's window shows beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict

from api.openapi.conversations import Conversation, Message, Passage
from api.openapi.jobs import Job, job
from api.openapi.shapes import (
    Count,
    Done,
    Id,
    Milliseconds,
    Model,
    No,
    Operation,
    Paged,
    Percent,
    Seconds,
    Text,
    Time,
    Title,
    Yes,
    eg,
    ok,
)

_ASKED = {"use_rag": True, "temperature": 0.7, "max_tokens": 400}


class Emotion(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # of speech it says more

    primary_emotion: Annotated[str, eg("curiosity")]
    confidence: Annotated[float, eg(0.71)]
    scores: Annotated[dict[str, float], eg({"curiosity": 0.71, "neutral": 0.2})]
    backend: Annotated[str, eg("lexicon")]


class TokenLogprob(TypedDict):
    token: Annotated[str, eg("Prune")]
    logprob: Annotated[float, eg(-0.12)]


class Extras(TypedDict):
    logprobs: NotRequired[Annotated[list[dict[str, Any]], eg([], "Where they were asked for: one for each token")]]
    emotion: NotRequired[Emotion | None]


class AnswerMetadata(TypedDict):
    model: Model
    tokens: Count | None
    prompt_tokens: Count | None
    response_time: Seconds
    rag_used: Yes
    finish_reason: Annotated[str, eg("stop")]


class ChatAnswer(Extras):
    success: Literal[True]
    response: Text
    sources: list[Passage] | None
    metadata: AnswerMetadata
    session_id: Id
    message_id: Id
    job_id: Id
    cached: No


class TextChatAnswer(TypedDict):
    session_id: Id
    response: Text
    emotion: Emotion | None
    message_id: Id
    model: Model
    sources: list[Passage] | None
    job_id: Id


class PromptAnswer(Extras):
    response: Text
    session_id: Id
    message_id: Id
    model: Model
    cached: No
    tokens: Count | None
    prompt_tokens: Count | None
    response_time: Seconds
    finish_reason: Annotated[str, eg("stop")]
    sources: list[Passage] | None
    timestamp: Time
    job_id: Id


class History(TypedDict):
    success: Literal[True]
    messages: list[Message]
    total_count: Count
    session_id: Id | None


class Cleared(Done):
    removed: Count


# --- sessions


class OpenedSession(TypedDict):
    session_id: Id
    created_at: Time


class Session(OpenedSession):
    title: Title
    updated_at: Time


class CountedSession(Session):
    message_count: Count


class SessionList(Paged):
    sessions: list[CountedSession]


class Voice(TypedDict):
    file_id: Annotated[Id | None, eg("019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10", "Null where the sound is not kept")]
    duration_ms: Milliseconds
    audio_url: Annotated[str | None, eg("/api/files/019a9c5e-…?expires=1795254600&signature=…")]
    expires_at: Annotated[Time | None, eg("2026-11-21T09:35:00.000Z", "When the address does")]
    interrupted: Annotated[bool, eg(False, "Somebody talked over it: it says what was heard")]


class Turn(TypedDict):
    id: Id
    role: Annotated[Literal["user", "assistant"], eg("user")]
    content: Annotated[str, eg("How do I prune roses?")]
    emotion: Emotion | None
    voice: Annotated[Voice | None, eg(None, "Of what was spoken")]
    timestamp: Time | None


class Sounded(Emotion):
    timestamp: Time | None
    message_id: Id


class SessionHistory(Session):
    turns: list[Turn]
    emotion_timeline: list[Sounded]


class PocketSession(Conversation):
    session_id: Id
    messages: list[Message]


class Deleted(Done):
    session_id: Id


# --- FAITHH's window


class SessionFigures(TypedDict):
    message_count: Count
    token_count: Count
    session_start: Time
    session_duration: Seconds
    avg_response_time: Seconds
    last_activity: Time
    session_id: Id | None


class SessionStats(TypedDict):
    success: Literal[True]
    stats: SessionFigures


class Faithh(TypedDict):
    status: Annotated[str, eg("online", "online, busy or offline")]
    activity: Annotated[str, eg("idle", "idle, thinking or responding")]
    last_active: Time
    overridden_until: NotRequired[Time]


class PulseMetrics(TypedDict):
    cpu_usage: Percent
    memory_usage: Percent
    active_connections: Count


class Pulse(TypedDict):
    status: Annotated[str, eg("online", "online, warning or error")]
    activity: Annotated[str, eg("monitoring", "monitoring or idle")]
    last_active: Time
    reasons: Annotated[list[str], eg([], "In words, what is wrong")]
    metrics: PulseMetrics
    overridden_until: NotRequired[Time]


class Faces(TypedDict):
    faithh: Faithh
    pulse: Pulse


class Avatars(TypedDict):
    success: Literal[True]
    avatars: Faces


class AvatarSet(Done):
    updated: Annotated[str, eg("faithh")]
    status: NotRequired[Annotated[str, eg("busy")]]
    activity: NotRequired[Annotated[str, eg("thinking")]]
    expires_in: Annotated[int, eg(30, "Seconds")]


class OfAKind(TypedDict):
    files: Count
    size: Count


class Changed(TypedDict):
    files: Count
    names: Annotated[list[str], eg(["docs/guide.md"])]


class Changes(TypedDict):
    since: Time | None
    added: Changed
    changed: Changed
    removed: Changed


class WorkspaceFile(TypedDict):
    path: Annotated[str, eg("docs/guide.md")]
    kind: Annotated[str, eg("document")]
    size: Count
    modified_at: Time


class Workspace(TypedDict):
    success: Literal[True]
    timestamp: Time
    workspace: Annotated[str | None, eg("garden")]
    configured: Yes
    message: NotRequired[Annotated[str, eg("No workspace is set; WORKSPACE_DIR names the folder.")]]
    total_files: Count
    total_size: Count
    by_kind: Annotated[dict[str, OfAKind], eg({"document": {"files": 3, "size": 5120}})]
    complete: Annotated[bool, eg(True, "Whether all of it was looked at")]
    passed_over: Annotated[Any, eg(0)]
    changes: Changes
    files: list[WorkspaceFile]
    job: NotRequired[Job]


OPERATIONS: dict[str, Operation] = {
    "POST /api/chat": job(ChatAnswer, 404, sent={"message": "How do I prune roses?", **_ASKED}),
    "GET /api/chat/history": ok(History, 404),
    "DELETE /api/chat/history": ok(Cleared, 404, 409),
    "POST /api/text-chat": job(TextChatAnswer, 404, sent={"text": "How do I prune roses?", **_ASKED}),
    "POST /chat": job(PromptAnswer, 404, sent={"prompt": "How do I prune roses?", **_ASKED}),
    "GET /chat/history": ok(SessionList),
    "GET /chat/history/{session_id}": ok(PocketSession),
    "DELETE /chat/history/{session_id}": ok(Deleted, 409),
    "POST /api/sessions": ok(OpenedSession, status=201),
    "GET /api/sessions": ok(SessionList),
    "GET /api/sessions/{session_id}/history": ok(SessionHistory),
    "DELETE /api/sessions/{session_id}": ok(Deleted, 409),
    "GET /api/session/stats": ok(SessionStats),
    "POST /api/session/reset": ok(Done),
    "GET /api/avatar/state": ok(Avatars),
    "POST /api/avatar/state": ok(AvatarSet, sent={"character": "faithh", "status": "busy", "activity": "thinking"}),
    "GET /api/workspace/scan": ok(Workspace, 409),
}
