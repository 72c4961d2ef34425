"""What our own export brings beside the messages: files, the draft with its versions, the summary. Each is added where
it is missing; what is here stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.errors import TooLarge, UnreadableImport, Unusable, WrongMedia
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, conversations, drafts, files, jobs, messages, queue, summaries
from storage.conversations import Upserted
from storage.database import Session, reading
from storage.file_types import WAV, is_wav, recognise, safe_name
from storage.filters import OWN_SOURCE
from storage.ids import new_id
from storage.jobs import NewJob
from storage.project_tables import FileAttachment
from storage.spoken import VOICE
from storage.tables import Conversation, utcnow
from tasks.run import JobRun
from workers.importers.belongings import Belongings, ImportedFile, ImportedSummary, ImportedVersion
from workers.importers.ports import ImportedConversation

LOCKED = "the conversation is locked here, so what the file has of it besides is left out"


@dataclass(frozen=True, slots=True)
class Received:
    """A file whose bytes lie on disk; `id`: what it will be known by; `file_type`: by its content."""

    id: str
    told: ImportedFile
    filename: str
    file_type: str
    size: int


def receive(run: JobRun, found: ImportedConversation) -> list[Received]:
    """The files that the conversation has not got, on disk. What cannot be taken is noted. Bytes are always asked for:
    whoever only knows a digest is not given the file of somebody else. Messages that were spoken are told which file is
    their sound."""
    assert found.belongings is not None
    if not found.belongings.files:
        return []
    with reading() as session:
        known = files.known(session, run.owner_id, found.source, found.native_id)
    said = _spoken(found)
    here: dict[tuple[str, str], files.Known | None] = {**known}
    received, missing = [], 0
    for file in found.belongings.files:
        run.check()
        name = safe_name(file.filename)
        voice = said.get(file.message_native_id or "") if file.file_type == WAV else None
        if (file.digest, name) not in here:
            one = None
            try:
                if file.open is None:
                    missing += 1
                else:
                    one = _stored(file, name, is_sound=voice is not None)
                    received.append(one)
            except (TooLarge, Unusable, WrongMedia, UnreadableImport) as error:
                found.notes.append(f"“{name}” was left out: {error.detail[0].lower()}{error.detail[1:].rstrip('.')}")
            here[file.digest, name] = files.Known(one.id, one.file_type) if one else None
        kept = here[file.digest, name]
        if voice is not None and kept is not None and kept.file_type == WAV:
            voice["file_id"] = kept.id
    if missing:
        found.notes.append(f"files are named but not in what was uploaded ({missing}): only our zip has them")
    return received


def _spoken(found: ImportedConversation) -> dict[str, dict[str, Any]]:
    """Message → what it says of its sound."""
    told = {message.native_id: message.parts.get(VOICE) for message in found.messages}
    return {native_id: voice for native_id, voice in told.items() if isinstance(voice, dict)}


def _stored(file: ImportedFile, name: str, *, is_sound: bool) -> Received:
    """Raises TooLarge, Unusable, WrongMedia and UnreadableImport."""
    assert file.open is not None
    settings = get_settings()
    limit = settings.voice_max_file_mb if is_sound else settings.max_file_mb
    digest, size = blobs.store(file.open(), limit * MIB, expected=file.digest)
    if size == 0:
        raise Unusable("The file is empty.")
    with blobs.path(digest).open("rb") as opened:
        if is_sound and not is_wav(opened):
            raise WrongMedia("The file is called the sound of a message and is no WAV file.")
        file_type = WAV if is_sound else recognise(opened, name, file.file_type)
    return Received(new_id(), file, name, file_type, size)


def add(
    session: Session, owner_id: str, done: Upserted, belongings: Belongings, received: list[Received]
) -> tuple[bool, list[str]]:
    """Whether anything was added, and what was left out. The conversation was written in this transaction."""
    conversation = conversations.get(session, done.conversation_id, owner_id, lock=True)
    session.refresh(conversation)
    if conversation.is_locked and done.status != "created":
        return False, [LOCKED] if received else []
    added = [
        *(_add_file(session, conversation, file) for file in received),
        *(_add_versions(session, conversation, belongings.versions)),
    ]
    _join_talk(session, conversation, belongings)
    if belongings.summary is not None:
        added += _add_summary(session, conversation, belongings.summary)
    return bool(added), []


def _add_file(session: Session, conversation: Conversation, received: Received) -> FileAttachment:
    """With the job that reads it, as an upload has one; there is nothing to read in sound."""
    told = received.told
    file = files.bring_back(
        session,
        conversation,
        id=received.id,
        filename=received.filename,
        file_size=received.size,
        file_type=received.file_type,
        digest=told.digest,
        summary_text=told.summary_text,
        message_id=messages.id_of(session, conversation.id, told.message_native_id),
        created_at=told.created_at or utcnow(),
        read_at=utcnow() if received.file_type == WAV else None,
    )
    if file.read_at is not None:
        return file
    new = NewJob(
        Kind.EXTRACT,
        conversation.owner_id,
        {"file_id": file.id},
        serial_key=files.serial_key(file.id),
        conversation_id=conversation.id,
    )
    queue.send_after_commit(session, [jobs.add(session, new)])
    return file


def _add_versions(session: Session, conversation: Conversation, told: list[ImportedVersion]) -> list[ImportedVersion]:
    """Behind those that are here; the active one stays so."""
    if not told:
        return []
    draft = drafts.find(session, conversation.id)
    here = drafts.contents(session, draft) if draft is not None else set()
    cut = {(one.title[: drafts.MAX_TITLE_CHARS], one.description, one.created_at): one for one in told}
    fresh = {content: one for content, one in cut.items() if content not in here}
    for (title, description, created_at), one in fresh.items():
        drafts.add_version(
            session,
            conversation,
            title,
            description,
            by=conversation.owner_id,
            activate=one.is_active and not here,
            is_manual_edit=one.is_manual_edit,
            model=one.model,
            created_at=created_at,
        )
    return list(fresh.values())


def _join_talk(session: Session, conversation: Conversation, belongings: Belongings) -> None:
    """A draft and the talk about it find each other, whichever line comes first."""
    about: Conversation | None = conversation
    talk: Conversation | None = conversation
    if belongings.draft_of is not None:
        about = conversations.with_identity(session, conversation.owner_id, *belongings.draft_of)
    elif belongings.talk is not None:
        talk = conversations.with_identity(session, conversation.owner_id, OWN_SOURCE, belongings.talk)
    draft = drafts.find(session, about.id) if about is not None else None
    if draft is not None and draft.chat_id is None and talk is not None and talk is not about:
        draft.chat_id = talk.id
        session.add(draft)
        session.flush()


def _add_summary(session: Session, conversation: Conversation, told: ImportedSummary) -> list[ImportedSummary]:
    if summaries.find(session, conversation.id) is not None:
        return []
    session.refresh(conversation)
    version = conversation.content_version - (0 if told.is_current else 1)
    made = told.created_at or utcnow()
    times = {"created_at": made, "updated_at": told.updated_at or made}
    values = {"text": told.text, "model": told.model, "is_edited": told.is_edited, "content_version": version}
    summaries.write(session, conversation.id, replace_edited=False, **values, **times)
    return [told]
