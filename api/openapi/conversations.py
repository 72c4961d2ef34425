"""Conversations and their messages; summaries; search; imports and exports."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from api.openapi.jobs import Job, job
from api.openapi.shapes import (
    Count,
    Id,
    Media,
    Model,
    No,
    Object,
    Operation,
    Paged,
    Score,
    Seconds,
    Sent,
    Text,
    Time,
    Title,
    eg,
    ok,
)

LINK = "https://chatgpt.com/share/68a1b2c3-0000-8000-8000-000000000000"
Source = Annotated[str, eg("chatgpt")]


class Passage(TypedDict):
    conversation_id: Id
    title: Title
    message_id: Id | None
    text: Text
    score: Score


class Message(TypedDict):
    id: Id
    role: Annotated[str, eg("assistant")]
    content: Text
    parent_id: Id | None
    visibility: Annotated[Literal["visible", "hidden", "tool", "reasoning"], eg("visible")]
    on_path: Annotated[bool, eg(True, "On the branch that is shown")]
    author_name: Annotated[str | None, eg(None)]
    model: Model | None
    tokens: Count | None
    prompt_tokens: Count | None
    response_time: Seconds | None
    sources: list[Passage] | None
    timestamp: Time | None
    job_id: Id | None
    parts: Object


class Conversation(TypedDict):
    id: Id
    source: Source
    native_id: Annotated[str, eg("68a1b2c3-0000-8000-8000-000000000000")]
    url: Annotated[str | None, eg(LINK)]
    title: Title
    model: Model | None
    is_archived: No
    is_locked: No
    has_attachments: No
    indexed: Annotated[bool, eg(True, "Whether search knows all of it")]
    created_at: Time
    updated_at: Time
    import_date: Time | None


class ConversationWithMessages(Conversation):
    messages: list[Message]


class ConversationList(Paged):
    conversations: list[Conversation]


class Summary(TypedDict):
    conversation_id: Id
    summary: Annotated[str, eg("When and how roses are pruned.")]
    model: Model | None
    is_edited: No
    stale: Annotated[bool, eg(False, "The messages have changed since")]
    created_at: Time
    updated_at: Time
    job_id: Annotated[Id | None, eg(None, "Of the job that is to write the next one")]


class MadeSummary(Summary):
    proposal: NotRequired[Annotated[str, eg("Roses.", "The job's text, where a person's was kept")]]


# --- search


class Hit(TypedDict):
    conversation_id: Id
    title: Title
    source: Source
    url: Annotated[str | None, eg(LINK)]
    created_at: Time
    updated_at: Time
    why: Annotated[str, eg("words", "url, title, words, meaning or date")]
    score: Score
    kind: Annotated[str | None, eg("message")]
    message_id: Id | None
    file_id: Annotated[Id | None, eg(None)]
    filename: Annotated[str | None, eg(None)]
    draft_id: Annotated[Id | None, eg(None)]
    draft_title: Annotated[str | None, eg(None)]
    role: Annotated[str | None, eg("assistant")]
    snippet: Text | None
    highlights: Annotated[list[Any], eg([[0, 5]], "Where the words stand in the snippet")]


class Period(TypedDict):
    since: Time
    until: Time


class Found(Paged):
    query: Annotated[str, eg("prune roses")]
    results: list[Hit]
    period: Annotated[Period | None, eg(None, "The time that the query named")]
    degraded: Annotated[str | None, eg(None, "What could not be asked, if anything")]


class PassageFound(TypedDict):
    text: Text
    conversation_id: Id
    title: Title
    message_id: Id | None
    score: Score


class PassagesFound(TypedDict):
    success: Literal[True]
    query: Annotated[str, eg("prune roses")]
    results: list[PassageFound]
    count: Annotated[int, eg(1)]
    degraded: Annotated[str | None, eg(None, "What could not be asked, if anything")]


# --- imports


class ImportItem(TypedDict):
    item_index: Annotated[int, eg(0)]
    status: Annotated[Literal["created", "updated", "unchanged", "skipped", "failed"], eg("created")]
    reason: Annotated[str | None, eg(None)]
    title: Title | None
    native_id: Annotated[str | None, eg("68a1b2c3-0000-8000-8000-000000000000")]
    conversation_id: Id | None
    messages: Count


class ImportItems(Paged):
    items: list[ImportItem]


class SlackImported(TypedDict):
    id: Id
    message: Annotated[str, eg("The conversation was imported.")]


class ShareLink(TypedDict):
    url: Annotated[str, eg(LINK)]


_STATES = Media(
    "text/event-stream",
    'data: {"type":"state","state":"importing"}\n\ndata: {"type":"content","content":"# Roses"}\n\n'
    'data: {"type":"done","conversation":{},"project_draft":null}\n\n',
)
_LINES = Media(
    "application/x-ndjson",
    '{"type":"state","state":"importing"}\n{"type":"done","conversation":{},"project_draft":null}\n',
)
_EXPORTED = Media("application/x-ndjson", '{"source":"chatgpt","title":"Roses","messages":[]}\n')

OPERATIONS: dict[str, Operation] = {
    "GET /api/conversations": ok(ConversationList),
    "GET /api/conversations/{conversation_id}": ok(ConversationWithMessages),
    "PATCH /api/conversations/{conversation_id}": ok(Conversation, sent={"title": "Roses in winter"}),
    "DELETE /api/conversations/{conversation_id}": ok(None, status=204),
    "GET /api/conversations/{conversation_id}/imported_chat_summary": ok(Summary),
    "POST /api/conversations/{conversation_id}/summary": job(MadeSummary, sent={"replace_edited": False}),
    "PATCH /api/conversations/{conversation_id}/summary": ok(Summary, 409, sent={"summary": "On pruning roses."}),
    "GET /api/search": ok(Found),
    "POST /api/rag_search": ok(PassagesFound, sent={"query": "prune roses", "n_results": 5}),
    "POST /api/imports": job(Job, 507, sent=Sent({"url": LINK}, shape=ShareLink, form=())),
    "GET /api/imports/{job_id}/items": ok(ImportItems),
    "POST /api/conversations/import": job((_STATES, _LINES, Job), 404, 409, sent={"url": LINK}),
    "POST /api/conversations/import-slack": job(SlackImported, 403, sent={"url": LINK, "user_id": "ana@example.org"}),
    "GET /api/export": ok((_EXPORTED, Media("application/zip", binary=True))),
}
