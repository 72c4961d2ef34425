"""What there is of conversations beside their messages; imports and exports of it."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from typing import Any

import orjson
from litestar import Litestar
from litestar.testing import TestClient
from sqlmodel import col, select

from config.queues import Kind
from storage import blobs, conversations, drafts, files, messages
from storage.database import reading, transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER, Conversation, Summary
from tests import factories
from tests.api.helpers import job_ids, work

Client = TestClient[Litestar]
Json = dict[str, Any]
NOTES = b"Herons stand in the reeds."


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def brought_in(data: bytes, owner_id: str = LOCAL_OWNER) -> Json:
    digest, _ = blobs.store(io.BytesIO(data), 10**9)
    job_id = factories.job(Kind.IMPORT, owner_id, input={"blob": digest, "filename": "x.zip"})
    work(job_id)
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return {name: number for name, number in job.result["conversations"].items() if number}


def reasons(client: Client) -> list[str | None]:
    """Of the newest import."""
    items = client.get(f"/api/imports/{job_ids('import')[0]}/items").json()["items"]
    return [item["reason"] for item in items]


def attach(client: Client, conversation_id: str, name: str, content: bytes) -> str:
    answer = client.post(f"/api/conversations/{conversation_id}/files", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    work(answer.json()["job_id"])
    file_id: str = answer.json()["id"]
    return file_id


def told() -> list[Json]:
    """All that there is of every conversation beside its messages, by its native id."""
    with reading() as session:
        rows = session.exec(select(Conversation).order_by(col(Conversation.native_id))).all()
        return [_told(session, row) for row in rows]


def _told(session: Any, row: Conversation) -> Json:
    draft = drafts.find(session, row.id)
    versions = drafts.page(session, draft, limit=99, offset=0)[0] if draft else []
    talk = session.get(Conversation, draft.chat_id) if draft and draft.chat_id else None
    summary = session.get(Summary, row.id)
    attached = files.page(session, row.id, limit=99, offset=0)[0]
    native = {message.id: message.native_id for message in messages.tree(session, row.id)}
    return {
        "is": (row.native_id, row.title, row.updated_at, row.has_attachments),
        "files": [
            (
                one.filename,
                one.file_type,
                one.file_size,
                one.digest,
                one.summary_text,
                one.created_at,
                native.get(one.message_id or ""),
                one.extracted_text,
            )
            for one in attached
        ],
        "versions": [
            (
                one.version_number,
                one.title,
                one.description,
                one.model,
                one.is_manual_edit,
                one.created_at,
                draft is not None and one.id == draft.active_version_id,
            )
            for one in versions
        ],
        "talk": talk.native_id if talk else None,
        "summary": (
            (summary.text, summary.model, summary.is_edited, summary.content_version >= row.content_version)
            if summary
            else None
        ),
    }


def forget_everything() -> None:
    with transaction() as session:
        for row in factories.all_conversations():
            if conversations.find(session, row.id, LOCAL_OWNER) is not None:
                conversations.remove(session, row.id, LOCAL_OWNER)
    upkeep_later()


def upkeep_later() -> None:
    """As the purge a day later: bytes that nobody needs leave the disk."""
    with reading() as session:
        needed = files.digests_on_disk(session)
    blobs.purge(needed, older_than_s=0, now_s=time.time() + 1)


def extract_all() -> None:
    for job in factories.all_jobs(Kind.EXTRACT):
        if job.status == "queued":
            work(job.id)


def exported(client: Client, **params: str) -> bytes:
    answer = client.get("/api/export", params={"format": "zip", **params})
    assert answer.headers["content-type"].startswith("application/zip")
    return answer.content


def zipped(entries: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def line(*told_files: Json, **more: Any) -> bytes:
    about = {"source": "backchannel", "native_id": "n1", "title": "Theirs"}
    said = [{"native_id": "m1", "role": "user", "content": "Hi.", "on_path": True}]
    made = {"format": "backchannel.conversation", "version": 1, "conversation": about, "messages": said}
    return orjson.dumps({**made, "files": list(told_files), **more}) + b"\n"


def named(content: bytes, filename: str = "notes.txt", **more: Any) -> Json:
    return {"filename": filename, "digest": digest_of(content), "file_type": "text/plain", **more}


def attached() -> list[tuple[str, str]]:
    with reading() as session:
        rows = session.exec(select(FileAttachment).order_by(col(FileAttachment.id)))
        return [(row.filename, row.digest) for row in rows]
