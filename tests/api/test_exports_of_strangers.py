"""What strangers put in a zip of ours is not believed."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from config.settings import reset_settings
from storage import drafts
from storage.database import reading
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from tests import factories
from tests.api.belongings import (
    NOTES,
    Client,
    Json,
    attach,
    attached,
    brought_in,
    digest_of,
    line,
    named,
    reasons,
    zipped,
)  # fmt: skip


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


def test_a_digest_is_no_key_to_the_file_of_another(client: Client) -> None:
    """Whoever knows what a file's digest is has not got the file."""
    attach(client, factories.conversation(), "notes.txt", NOTES)
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
