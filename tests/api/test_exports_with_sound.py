"""What was spoken goes away with its sound and comes back with it, and with no other."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import orjson
import pytest

from config.queues import Kind
from config.settings import MIB, reset_settings
from storage import blobs, conversations, files, spoken
from storage.database import reading, transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER, Conversation, Message
from tasks.files import store_leftovers
from tests import documents, factories
from tests.api.belongings import (
    Client,
    Json,
    attached,
    brought_in,
    digest_of,
    exported,
    forget_everything,
    line,
    named,
    reasons,
    upkeep_later,
    zipped,
)  # fmt: skip
from tests.api.helpers import work
from tests.standins.s3 import S3
from workers.voice.wav import write_wav

SOUND = write_wav(np.arange(1600, dtype=np.int16), 16_000)
NAME = "spoken-20260101-100000.wav"


def speak(conversation_id: str, content: bytes = SOUND, name: str = NAME) -> tuple[str, str]:
    """(message, file)"""
    message = factories.question(conversation_id, "How do I prune roses?")
    digest, size = blobs.store(io.BytesIO(content), MIB)
    with transaction() as session:
        file_id = spoken.add_audio(session, conversation_id, message.id, name, digest, size)
        spoken.note(session, message.id, voice={"duration_ms": 100, "transcriber": "t", "file_id": file_id})
    assert file_id is not None
    return message.id, file_id


def voice_of(native_id: str, owner_id: str = LOCAL_OWNER) -> Json | None:
    (message,) = (
        message
        for row in factories.all_conversations(owner_id)
        for message in factories.all_messages(row.id)
        if message.native_id == native_id
    )
    return spoken.of(message)


def sound_of(native_id: str, owner_id: str = LOCAL_OWNER) -> FileAttachment:
    """The file that a message names, which is this owner's and goes with this message."""
    voice = voice_of(native_id, owner_id)
    assert voice is not None
    with reading() as session:
        file = files.get(session, voice["file_id"], owner_id)
        message = session.get(Message, file.message_id)
    assert message is not None
    assert (message.native_id, message.conversation_id) == (native_id, file.conversation_id)
    return file


def versions() -> list[tuple[int, Any]]:
    with reading() as session:
        return [
            (row.content_version, row.updated_at)
            for one in factories.all_conversations()
            if (row := session.get(Conversation, one.id)) is not None
        ]


def test_sound_comes_back_with_its_message(client: Client) -> None:
    conversation = factories.conversation()
    (first, old), (second, _) = speak(conversation), speak(conversation, SOUND + bytes(320), "answer.wav")
    data = exported(client)
    forget_everything()
    assert brought_in(data) == {"created": 1}
    file = sound_of(first)
    assert file.id != old
    assert (file.filename, file.file_type, file.file_size, file.digest) == (
        NAME, "audio/wav", len(SOUND), digest_of(SOUND)
    )  # fmt: skip
    assert sound_of(second).digest == digest_of(SOUND + bytes(320))
    assert voice_of(first) == {"duration_ms": 100, "transcriber": "t", "file_id": file.id}
    assert file.read_at is not None
    assert factories.all_jobs(Kind.EXTRACT) == [], "there is nothing to read in it"
    upkeep_later()
    (turn, _) = client.get(f"/api/sessions/{file.conversation_id}/history").json()["turns"]
    fetched = client.get(turn["voice"]["audio_url"])
    assert (turn["voice"]["file_id"], fetched.headers["content-type"], fetched.content) == (file.id, "audio/wav", SOUND)


def test_bringing_it_in_again_changes_nothing(client: Client) -> None:
    message, file_id = speak(factories.conversation())
    data, before = exported(client), versions()
    for _ in range(2):
        brought_in(data)
        assert voice_of(message) == {"duration_ms": 100, "transcriber": "t", "file_id": file_id}
        assert versions() == before
    forget_everything()
    brought_in(data)
    file, before = sound_of(message), versions()
    assert brought_in(data) == {"unchanged": 1}
    again = exported(client)
    brought_in(again)
    assert (sound_of(message).id, versions()) == (file.id, before)
    assert attached() == [(NAME, digest_of(SOUND))]


def test_lines_alone_name_no_sound_and_the_zip_adds_it(client: Client) -> None:
    message, _ = speak(factories.conversation())
    data, lines = exported(client), client.get("/api/export").content
    forget_everything()
    assert brought_in(lines) == {"created": 1}
    assert voice_of(message) == {"duration_ms": 100, "transcriber": "t"}
    assert brought_in(data) == {"updated": 1}
    assert sound_of(message).digest == digest_of(SOUND)


def test_sound_that_was_removed_since_comes_back(client: Client) -> None:
    message, file_id = speak(factories.conversation())
    data = exported(client)
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
    brought_in(data)
    assert sound_of(message).id != file_id


def test_a_locked_conversation_takes_no_sound(client: Client) -> None:
    conversation = factories.conversation()
    message, file_id = speak(conversation)
    data = exported(client)
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
        conversations.get(session, conversation, LOCAL_OWNER, lock=True).is_locked = True
    before = voice_of(message)
    brought_in(data)
    assert (voice_of(message), attached()) == (before, [])


def test_the_sound_of_a_long_answer_is_no_upload(client: Client, settings: pytest.MonkeyPatch) -> None:
    long = write_wav(np.zeros(MIB, np.int16), 22_050)
    message, _ = speak(factories.conversation(), SOUND)
    with zipfile.ZipFile(io.BytesIO(exported(client))) as archive:
        told = archive.read("conversations.jsonl").replace(digest_of(SOUND).encode(), digest_of(long).encode())
    forget_everything()
    settings.setenv("MAX_FILE_MB", "1")
    settings.setenv("VOICE_MAX_FILE_MB", "3")
    reset_settings()
    brought_in(zipped({"x.jsonl": told, f"files/{digest_of(long)}": long}))
    assert sound_of(message).file_size == len(long)


def test_sound_goes_to_the_bucket_and_back(client: Client, bucket: S3) -> None:
    message, _ = speak(factories.conversation())
    store_leftovers()
    for job in factories.all_jobs(Kind.EXTRACT):
        work(job.id)
    assert list(bucket.objects.values()) == [SOUND]
    data = exported(client)
    forget_everything()
    brought_in(data)
    assert sound_of(message).digest == digest_of(SOUND)


# --- what strangers say of sound


def said(voice: object, *told: Json, native_id: str = "m1") -> bytes:
    message = {"native_id": native_id, "role": "user", "content": "Hi.", "on_path": True, "parts": {"voice": voice}}
    return line(*told, messages=[message])


def wav(content: bytes = SOUND, name: str = NAME, **more: Any) -> Json:
    return named(content, name, **{"file_type": "audio/wav", "message_native_id": "m1", **more})


def test_an_id_that_is_told_is_never_believed(client: Client) -> None:
    mine = factories.conversation()
    _, theirs = speak(mine)
    stranger = factories.owner()
    for owner_id in (stranger, LOCAL_OWNER):
        for data in (said({"duration_ms": 1, "file_id": theirs}), said({"duration_ms": 1, "file_id": theirs}, wav())):
            brought_in(data, owner_id)
            assert voice_of("m1", owner_id) == {"duration_ms": 1}
    brought_in(zipped({"x.jsonl": said({"duration_ms": 1, "file_id": theirs}, wav()),
                       f"files/{digest_of(SOUND)}": SOUND}), stranger)  # fmt: skip
    assert sound_of("m1", stranger).id != theirs


@pytest.mark.parametrize(
    ("voice", "told", "content", "why"),
    [
        (None, wav(), SOUND, "is a wav file"),
        ("loud", wav(), SOUND, "is a wav file"),
        ({}, wav(message_native_id="m2"), SOUND, "is a wav file"),
        ({}, wav(message_native_id=None), SOUND, "is a wav file"),
        ({}, wav(file_type="text/plain"), SOUND, "is a wav file"),
        ({}, wav(documents.png()), documents.png(), "is no wav file"),
        ({}, wav(b"RIFF"), b"RIFF", "is no wav file"),
        ({}, wav(b"<svg/>", "a.svg"), b"<svg/>", "is no wav file"),
        ({}, wav(b""), b"", "the file is empty"),
        ({}, wav(), b"something else", "not the one that its digest names"),
        ({}, wav(bytes(2 * MIB)), bytes(2 * MIB), "larger than 1 mib"),
    ],
)
def test_what_is_no_sound_of_a_message(
    client: Client, settings: pytest.MonkeyPatch, voice: object, told: Json, content: bytes, why: str
) -> None:
    settings.setenv("VOICE_MAX_FILE_MB", "1")
    reset_settings()
    data = zipped({"x.jsonl": said(voice, told), f"files/{told['digest']}": content})
    assert brought_in(data) == {"created": 1}
    assert (voice_of("m1"), attached()) == (voice, [])
    (reason,) = reasons(client)
    assert why in (reason or "").lower()


def test_a_picture_is_nobodys_voice(client: Client) -> None:
    """One that is here under the name and the digest that are told."""
    picture = documents.png()
    entries = {f"files/{digest_of(picture)}": picture}
    honest = {"file_type": "image/png", "message_native_id": "m1"}
    brought_in(zipped({"x.jsonl": said({}, wav(picture, "a.png", **honest)), **entries}))
    brought_in(zipped({"x.jsonl": said({}, wav(picture, "a.png")), **entries}))
    assert attached() == [("a.png", digest_of(picture))]
    assert voice_of("m1") == {}


def test_one_sound_may_be_that_of_two_messages(client: Client) -> None:
    told = [orjson.loads(said({}, wav(), native_id=name)) for name in ("m1", "m2")]
    both = told[0] | {"messages": [one["messages"][0] for one in told]}
    both["files"] = [wav(), wav(message_native_id="m2")]
    brought_in(zipped({"x.jsonl": orjson.dumps(both), f"files/{digest_of(SOUND)}": SOUND}))
    assert voice_of("m1") == voice_of("m2") == {"file_id": sound_of("m1").id}
