"""Files, drafts and summaries go away and come back with their conversations."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from sqlmodel import select

from config.queues import Kind
from storage import blobs, conversations, drafts, files, messages, summaries
from storage.database import reading, transaction
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from storage.tables import LOCAL_OWNER
from tasks import imports as task
from tasks.base import bury_or_put_back
from tests import documents, factories
from tests.api.belongings import (
    NOTES,
    Client,
    attach,
    brought_in,
    digest_of,
    exported,
    extract_all,
    forget_everything,
    reasons,
    told,
    upkeep_later,
    zipped,
)  # fmt: skip
from tests.api.helpers import work
from tests.standins.s3 import S3, emptied

PICTURE = documents.png()


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
