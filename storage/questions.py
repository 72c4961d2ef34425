"""A question put to a conversation: its message and the job that answers it, in one transaction."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from config.queues import Kind
from storage import attachments, conversations, llm_defaults, messages, prompts, users
from storage.jobs import NewJob
from storage.tables import Conversation, Message


def ask(
    session: Session, owner_id: str, text: str, session_id: str | None, given: dict[str, Any], kind: Kind = Kind.CHAT
) -> tuple[Message, NewJob]:
    """`given`: how it is to be answered, as a chat's input has it. One conversation's answers are written one after the
    other. Raises NotFound, Conflict where the conversation is locked."""
    given = dict(given)
    if "model" not in given and (chosen := llm_defaults.resolve(session, owner_id, llm_defaults.CHAT)) is not None:
        given["model"] = chosen
    if "system" not in given and (written := prompts.custom(session, llm_defaults.CHAT)) is not None:
        given["system"] = written
    conversation = conversation_for(session, owner_id, session_id)
    if conversation.title == conversations.UNTITLED and not conversation.title_is_custom:
        conversation.title = " ".join(text.split())[:80]
        session.add(conversation)
    question = messages.add_question(session, conversation, text)
    attachments.claim(session, question)
    return question, NewJob(
        kind,
        owner_id,
        {"message_id": question.id, **given},
        serial_key=f"chat:{conversation.id}",
        conversation_id=conversation.id,
    )


def conversation_for(session: Session, owner_id: str, session_id: str | None) -> Conversation:
    """The named one, or the caller's current one; its row is locked."""
    if session_id is not None:
        return conversations.open_for_writing(session, session_id, owner_id)
    return current(session, owner_id)


def current(session: Session, owner_id: str) -> Conversation:
    """The caller's current conversation; a new one when there is none or it is locked or gone."""
    user = users.get_locked(session, owner_id)
    if user.current_conversation_id is not None:
        found = conversations.find(session, user.current_conversation_id, owner_id, lock=True)
        if found is not None and not found.is_locked:
            return found
    conversation = conversations.create(session, owner_id)
    users.set_current_conversation(session, owner_id, conversation.id)
    return conversation
