"""Project drafts, the talk about one, the project that comes of it; files of conversations."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from api.openapi.conversations import Message
from api.openapi.jobs import EVENTS, Job, job
from api.openapi.shapes import (
    Bytes,
    Done,
    Id,
    Media,
    Model,
    No,
    Operation,
    Paged,
    Sent,
    Text,
    Time,
    Yes,
    eg,
    ok,
)

_DRAFT = "/api/conversations/{conversation_id}/project-draft"
_FILES = "/api/conversations/files/{file_id}"
Heading = Annotated[str, eg("A rose garden")]
Description = Annotated[str, eg("## Goal\n\nRoses along the south wall.")]


class DraftVersion(TypedDict):
    id: Id
    project_draft_id: Id
    version_number: Annotated[int, eg(1)]
    title: Heading
    description: Description
    is_manual_edit: No
    model: Model | None
    job_id: Id | None
    created_by_user_id: Id | None
    created_at: Time


class Draft(TypedDict):
    id: Id
    conversation_id: Id
    title: Heading | None
    description: Description | None
    active_version_id: Id | None
    active_version: DraftVersion | None
    created_by_user_id: Id | None
    created_at: Time
    updated_at: Time


class MadeDraft(Draft):
    job_id: Id


class ListedVersion(DraftVersion):
    is_active: Yes


class DraftVersions(Paged):
    versions: list[ListedVersion]


DraftDiff = TypedDict(
    "DraftDiff",
    {
        "from": DraftVersion,
        "to": DraftVersion,
        "diff": Annotated[str, eg("--- version 1\n+++ version 2\n@@ -1 +1 @@\n-# Roses\n+# A rose garden")],
    },
)


class SaidMessage(Message):
    sequence_number: Annotated[int, eg(1)]
    project_draft_id: Id | None


class DraftTalk(Paged):
    messages: list[SaidMessage]
    chat_id: Id | None
    is_locked: No


class DraftReply(TypedDict):
    message_id: Id


class Project(TypedDict):
    id: Id
    conversation_id: Id
    linear_project_id: Annotated[str, eg("b3d2c1a0-1111-4222-8333-444455556666")]
    linear_url: Annotated[str, eg("https://linear.app/acme/project/a-rose-garden")]
    title: Heading
    description: Description
    created_by_user_id: Id | None
    created_at: Time


# --- files


class FileLinks(TypedDict):
    self: Annotated[str, eg("/api/conversations/files/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10")]
    download: Annotated[str, eg("/api/conversations/files/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10/download")]


class File(TypedDict):
    id: Id
    conversation_id: Id
    message_id: Annotated[Id | None, eg(None)]
    filename: Annotated[str, eg("roses.pdf")]
    file_size: Bytes
    file_type: Annotated[str, eg("application/pdf")]
    processed: Annotated[bool, eg(True, "Whether it was read")]
    has_text: Yes
    summary_text: Annotated[str | None, eg(None)]
    problem: Annotated[str | None, eg(None, "Why it holds no text, or not all of it")]
    created_at: Time
    job_id: Id | None
    links: FileLinks


class FileWithText(File):
    extracted_text: Text | None


class FileList(Paged):
    files: list[File]


class Uploaded(Done):
    filename: Annotated[str, eg("roses.pdf")]
    size: Bytes
    session_id: Id
    file: File


class SignedAddress(TypedDict):
    url: Annotated[str, eg("/api/files/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10?expires=1795254600&signature=…")]
    expires_at: Time


ANY_FILE = Media("*/*", binary=True)

OPERATIONS: dict[str, Operation] = {
    f"GET {_DRAFT}": ok(Draft),
    f"POST {_DRAFT}": job(MadeDraft, 409, sent={"accept_summarization": True}),
    f"PATCH {_DRAFT}": ok(Draft, 409, sent={"title": "A rose garden", "description": "Roses along the south wall."}),
    f"GET {_DRAFT}/versions": ok(DraftVersions),
    f"POST {_DRAFT}/versions/{{version_id}}/activate": ok(Draft, 409),
    f"GET {_DRAFT}/versions/{{from_id}}/diff/{{to_id}}": ok(DraftDiff),
    f"GET {_DRAFT}/chat": ok(DraftTalk),
    f"POST {_DRAFT}/chat/stream": job((EVENTS, dict[str, Any]), 409, sent={"message": "Add a pergola to the plan."}),
    "GET /api/conversations/{conversation_id}/project": ok(Project),
    "POST /api/conversations/{conversation_id}/project": job(Project, 409, sent={"title": "A rose garden"}),
    "POST /api/conversations/{conversation_id}/files": Operation(
        {201: File, 200: File, 202: Job}, Sent(form=()), (409, 507), makes_job=True
    ),
    "GET /api/conversations/{conversation_id}/files": ok(FileList),
    f"GET {_FILES}": ok(FileWithText),
    f"GET {_FILES}/download": Operation({200: SignedAddress, 307: None}, headers={"Location": "Where the file is"}),
    f"DELETE {_FILES}": ok(None, status=204),
    "POST /api/upload": Operation(
        {200: Uploaded, 202: Job}, Sent(form=("session_id",)), (404, 409, 507), makes_job=True
    ),
    "GET /api/files/{file_id}": Operation({200: ANY_FILE, 307: None}, errors=(403,)),
    "GET /images/{name}": Operation({200: Media("image/*", binary=True), 304: None}),
}
