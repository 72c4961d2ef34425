"""Files, drafts and summaries go away and come back with their conversations; what a zip says is not believed."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from typing import Any

import orjson
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlmodel import col, select

from config.queues import Kind
from config.settings import reset_settings
from storage import blobs, conversations, drafts, files, messages, summaries
from storage.database import reading, transaction
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from storage.tables import LOCAL_OWNER, Conversation, Summary
from tasks import imports as task
from tasks.base import bury_or_put_back
from tests import documents, factories
from tests.api.helpers import job_ids, work
from tests.standins.s3 import S3, emptied

Client = TestClient[Litestar]
Json = dict[str, Any]
NOTES, PICTURE = b"Herons stand in the reeds.", documents.png()


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


@pytest.fixture
def filled(client: Client) -> str:
    """A conversation with two files, of which one goes with a message, a draft of three versions, the talk about it,
    and a summary; its id."""
    conversation = factories.conversation(title="Marsh")
    question = factories.question(conversation, "Where are herons?")
    attach(client, conversation, "notes.txt", NOTES)
    picture = attach(client, conversation, "a “heron” & 世.png", PICTURE)
    with transaction() as session:
        files.write(session, picture, message_id=question.id, summary_text="A heron.")
        row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        for number in (1, 2, 3):
            drafts.add_version(
                session, row, f"Walk {number}", f"Step {number}.\n", by=LOCAL_OWNER, activate=number == 2, model="m"
            )
        talk = drafts.talk_of(session, row, LOCAL_OWNER)
        messages.add_question(session, talk, "Make it longer.")
        session.refresh(row)
        summaries.write(
            session, row.id, replace_edited=False, text="Of herons.", model="m", content_version=row.content_version
        )
    return conversation


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


def test_a_zip_brings_everything_back(client: Client, filled: str) -> None:
    before, data = told(), exported(client)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            "conversations.jsonl", f"files/{digest_of(NOTES)}", f"files/{digest_of(PICTURE)}"
        }  # fmt: skip
        assert archive.read(f"files/{digest_of(NOTES)}") == NOTES
    forget_everything()
    assert told() == []
    assert brought_in(data) == {"created": 2}
    extract_all()
    assert told() == before
    (file, _) = client.get(f"/api/conversations/{_marsh(client)}/files").json()["files"]
    url = client.get(file["links"]["download"], headers={"Accept": "application/json"}).json()["url"]
    assert client.get(url).content == NOTES


def _marsh(client: Client) -> str:
    rows = client.get("/api/conversations").json()["conversations"]
    found: str = next(row["id"] for row in rows if row["title"] == "Marsh")
    return found


def test_bringing_it_in_again_changes_nothing(client: Client, filled: str) -> None:
    before, data = told(), exported(client)
    for _ in range(2):
        brought_in(data)
        extract_all()
        assert told() == before
    forget_everything()
    brought_in(data)
    assert brought_in(data) == {"unchanged": 2}
    extract_all()
    assert told() == before
    with reading() as session:
        assert len(session.exec(select(FileAttachment)).all()) == 2
        assert len(session.exec(select(ProjectDraftVersion)).all()) == 3
        assert len(session.exec(select(ProjectDraft)).all()) == 1


def test_lines_alone_say_that_files_are_missing_and_the_zip_adds_them(client: Client, filled: str) -> None:
    before, data, lines = told(), exported(client), client.get("/api/export").content
    forget_everything()
    assert brought_in(lines) == {"created": 2}
    assert any("files are named but not in what was uploaded (2)" in (reason or "") for reason in reasons(client))
    assert brought_in(data) == {"updated": 1, "unchanged": 1}
    extract_all()
    assert told() == before
    with zipfile.ZipFile(io.BytesIO(exported(client, files="false"))) as archive:
        assert archive.namelist() == ["conversations.jsonl"]


def test_lines_may_stand_in_any_order(client: Client, filled: str) -> None:
    before = told()
    lines = client.get("/api/export").content.splitlines()
    with zipfile.ZipFile(io.BytesIO(exported(client))) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name.startswith("files/")}
    forget_everything()
    assert brought_in(zipped({"backup/x.jsonl": b"\n".join(lines[::-1]), **_inside("backup", kept)})) == {"created": 2}
    extract_all()
    assert told() == before


def _inside(folder: str, kept: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in kept.items()}


def zipped(entries: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_what_a_person_has_written_since_stays(client: Client, filled: str) -> None:
    data = exported(client)
    with transaction() as session:
        row = conversations.get(session, filled, LOCAL_OWNER, lock=True)
        drafts.add_version(session, row, "Mine", "My own words.", by=LOCAL_OWNER, is_manual_edit=True)
        summaries.edit(session, row, "My summary.")
    before = told()
    brought_in(data)
    assert told() == before


def test_a_locked_conversation_takes_nothing(client: Client, filled: str) -> None:
    data = exported(client)
    for file in client.get(f"/api/conversations/{filled}/files").json()["files"]:
        client.delete(file["links"]["self"])
    assert client.patch(f"/api/conversations/{filled}", json={"is_locked": True}).status_code == 200
    before = told()
    brought_in(data)
    assert told() == before
    assert any("locked" in (reason or "") for reason in reasons(client))


def test_files_of_a_bucket_are_taken_along(client: Client, bucket: S3) -> None:
    conversation = factories.conversation()
    attach(client, conversation, "notes.txt", NOTES)
    assert list(bucket.objects.values()) == [NOTES]
    upkeep_later()
    with zipfile.ZipFile(io.BytesIO(exported(client))) as archive:
        assert archive.read(f"files/{digest_of(NOTES)}") == NOTES
    emptied(bucket)
    with zipfile.ZipFile(io.BytesIO(exported(client))) as archive:
        assert archive.namelist() == ["conversations.jsonl"], "what cannot be had is left out, the rest is there"


def test_markdown_has_the_files_beside_it(client: Client, filled: str) -> None:
    content = client.get("/api/export", params={"format": "markdown"}).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        (text,) = (
            archive.read(name).decode() for name in archive.namelist() if "Marsh" in name and "draft" not in name
        )
        (notes,) = (name for name in archive.namelist() if name.endswith("notes.txt"))
        assert archive.read(notes) == NOTES
        assert all(name.startswith("backchannel/") and ".." not in name for name in archive.namelist())
    assert f"- {notes.removeprefix('backchannel/')}" in text
    assert "## Summary\n\nOf herons." in text
    assert "## Project draft: Walk 2\n\nStep 2." in text


# --- what strangers put in a zip


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


@pytest.mark.parametrize(
    ("told_file", "entries", "why"),
    [
        (named(NOTES), {}, "not in what was uploaded"),
        (named(NOTES), {f"files/{digest_of(NOTES)}": b"something else"}, "not the one that its digest names"),
        (named(NOTES), {f"other/{digest_of(NOTES)}": NOTES}, "not in what was uploaded"),
        (named(NOTES) | {"digest": "../../../etc/passwd"}, {}, "without a usable digest"),
        (named(NOTES) | {"digest": digest_of(NOTES).upper()}, {}, "without a usable digest"),
        (named(NOTES) | {"filename": None}, {}, "without a usable digest or name"),
        (named(b""), {f"files/{digest_of(b'')}": b""}, "The file is empty"),
        (named(b"MZ\0\1" * 9, "x.exe"), {f"files/{digest_of(b'MZ' + bytes([0, 1]))}": b""}, "not in what was uploaded"),
        (named(b"\0\1" * 9), {f"files/{digest_of(bytes([0, 1]) * 9)}": b"\0\1" * 9}, "is of no known kind"),
        (
            named(bytes(3 << 20)),
            {f"files/{digest_of(bytes(3 << 20))}": bytes(3 << 20)},
            "larger than 1 MiB",
        ),
    ],
)
def test_files_that_are_not_what_they_are_said_to_be(
    client: Client, settings: pytest.MonkeyPatch, told_file: Json, entries: dict[str, bytes], why: str
) -> None:
    settings.setenv("MAX_FILE_MB", "1")
    reset_settings()
    assert brought_in(zipped({"conversations.jsonl": line(told_file), **entries})) == {"created": 1}
    assert attached() == []
    (reason,) = reasons(client)
    assert why.lower() in (reason or "").lower()
    assert "passwd" not in (reason or "")


def test_names_are_no_paths(client: Client) -> None:
    names = [
        "../../up.txt",
        "/etc/absolute.txt",
        "C:\\dir\\back.txt",
        "bell\x07.txt",
        "x" * 5000 + ".txt",
        "..",
        "\u202etxt",
    ]
    contents = [f"{at} {name!r}".encode() for at, name in enumerate(names)]
    entries = {f"files/{digest_of(content)}": content for content in contents}
    told_files = [named(content, name) for content, name in zip(contents, names, strict=True)]
    assert brought_in(zipped({"conversations.jsonl": line(*told_files), **entries})) == {"created": 1}
    kept = [name for name, _ in attached()]
    assert kept[:3] == ["up.txt", "absolute.txt", "back.txt"]
    assert len(kept) == len(names)
    assert all("/" not in name and "\\" not in name and name.isprintable() and len(name) <= 200 for name in kept)


def test_a_digest_is_no_key_to_the_file_of_another(client: Client, filled: str) -> None:
    """Whoever knows what a file's digest is has not got the file."""
    stranger = factories.owner()
    for data in (line(named(NOTES)), zipped({"conversations.jsonl": line(named(NOTES)), "files/x": NOTES})):
        brought_in(data, stranger)
        with reading() as session:
            assert session.exec(select(FileAttachment).where(col(FileAttachment.owner_id) == stranger)).all() == []


def test_the_same_file_told_twice_is_one(client: Client) -> None:
    entries = {"conversations.jsonl": line(named(NOTES), named(NOTES)), f"files/{digest_of(NOTES)}": NOTES}
    brought_in(zipped(entries))
    brought_in(zipped(entries))
    assert attached() == [("notes.txt", digest_of(NOTES))]


@pytest.mark.parametrize(
    "more",
    [
        {"files": 7}, {"files": [7, None, {}]}, {"draft": []}, {"draft": {"versions": [{}, 7, {"title": 1}]}},
        {"draft": {"talk": "n1"}}, {"draft_of": {"source": "backchannel", "native_id": "n1"}}, {"draft_of": "x"},
        {"summary": {"text": 7}}, {"summary": {"text": "S", "created_at": "never", "is_current": "yes"}},
        {"draft": {"versions": [{"title": "T" * 9000, "description": "a\0b", "created_at": 1735689600}]}},
        {"draft": {"versions": [{"title": None, "description": "d", "created_at": "2025-01-01", "is_active": 1}] * 3}},
    ],
)  # fmt: skip
def test_belongings_of_any_shape_lose_no_conversation(client: Client, more: Json) -> None:
    data = line(**more)
    assert brought_in(data) == {"created": 1}
    assert factories.shown(factories.all_conversations()[0].id) == ["Hi."]
    brought_in(data)
    with reading() as session:
        found = session.exec(select(ProjectDraftVersion)).all()
        assert len(found) <= 1
        assert all(len(one.title) <= drafts.MAX_TITLE_CHARS for one in found)
        assert all(one.chat_id is None for one in session.exec(select(ProjectDraft)))


def test_a_killed_import_attaches_each_file_once(client: Client, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, data = told(), exported(client)
    forget_everything()
    digest, _ = blobs.store(io.BytesIO(data), 10**9)
    job_id = factories.job(Kind.IMPORT, input={"blob": digest, "filename": "x.zip"})
    monkeypatch.setattr(task, "SLICE_CONVERSATIONS", 1)

    class Killed(BaseException):
        pass

    def dies(self: Any, ledger: Any) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(task._Slice, "_tell", dies)
        with pytest.raises(Killed):
            work(job_id)
    bury_or_put_back(factories.load(job_id))
    factories.change(job_id, run_after=None)
    work(job_id)
    extract_all()
    assert told() == before


def test_upkeep_keeps_what_was_brought_back(client: Client, filled: str) -> None:
    data = exported(client)
    forget_everything()
    brought_in(data)
    upkeep_later()
    assert blobs.path(digest_of(NOTES)).read_bytes() == NOTES
