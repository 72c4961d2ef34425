"""What jobs about a draft write besides their own rows. They share a serial key: one at a time works on a draft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.schemas import DraftChatIn, DraftIn, ProjectIn
from config.errors import BadRequest, Conflict, Unusable
from config.prompts import PROJECT_DRAFT_CHAT
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, drafts, files, llm_defaults, messages, projects
from storage.database import Session
from storage.jobs import NewJob
from storage.project_tables import FileAttachment
from storage.tables import Conversation

Json = dict[str, Any]
MAX_PROJECT_TITLE_CHARS = 80  # Linear's


def about_draft(owner_id: str, body: DraftIn | DraftChatIn | ProjectIn, **common: Any) -> Callable[[Session], NewJob]:
    """Raises NotFound, and Conflict for a locked conversation; before anything is written."""

    def build(session: Session) -> NewJob:
        conversation = conversations.open_for_writing(session, body.conversation_id, owner_id)
        match body:
            case DraftIn():
                kind, given = Kind.DRAFT, {"model": body.model, "accept_summarization": body.accept_summarization}
            case DraftChatIn():
                kind, given = Kind.DRAFT_CHAT, _question(session, conversation, body)
            case ProjectIn():
                kind, given = Kind.PROJECT, _project(session, conversation, body)
        return NewJob(
            kind,
            owner_id,
            {"conversation_id": conversation.id, **given},
            serial_key=drafts.serial_key(conversation.id),
            conversation_id=conversation.id,
            **common,
        )

    return build


def _question(session: Session, conversation: Conversation, body: DraftChatIn) -> Json:
    """The person's message, at the end of the talk."""
    owner_id = conversation.owner_id
    attached = [_attachment(session, conversation, file_id) for file_id in dict.fromkeys(body.attachment_ids)]
    talk = drafts.talk_of(session, conversation, owner_id)
    question = messages.add_question(session, talk, body.message)
    for file in attached:
        files.write(session, file.id, message_id=question.id)
    if attached:
        told = [{"id": file.id, "name": file.filename, "mime_type": file.file_type} for file in attached]
        question.parts = {"attachments": told}
        session.add(question)
    conversations.touch(session, talk.id)
    model = body.model or llm_defaults.resolve(session, owner_id, PROJECT_DRAFT_CHAT)
    return {"message_id": question.id, "model": model, "attachment_ids": [file.id for file in attached]}


def _attachment(session: Session, conversation: Conversation, file_id: str) -> FileAttachment:
    file = files.get(session, file_id, conversation.owner_id)
    if file.conversation_id != conversation.id:
        raise Unusable("A message about a draft can carry files of its own conversation only.")
    return file


def _project(session: Session, conversation: Conversation, body: ProjectIn) -> Json:
    """Raises BadRequest for what Linear does not take, Conflict where Linear is not set up."""
    if not get_settings().linear_access_key.get_secret_value():
        raise Conflict("Linear is not set up here: set LINEAR_ACCESS_KEY.")
    title, description = body.title, body.description
    if title is None or description is None:
        draft = drafts.active(session, drafts.get(session, conversation.id))
        assert draft is not None, "a draft that is there has an active version"
        title, description = title or draft.title, description or draft.description
    title = " ".join(title.split())
    if len(title) > MAX_PROJECT_TITLE_CHARS:
        raise BadRequest(f"A project's title has at most {MAX_PROJECT_TITLE_CHARS} characters; this has {len(title)}.")
    if projects.find(session, conversation.id) is not None:
        raise Conflict("There is a project of this conversation already.")
    return {"title": title, "description": description}
