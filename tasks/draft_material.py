"""What a draft is made from: the conversation, what is remembered of the person, and how much a model can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from config.errors import BackchannelError, Conflict, PromptTooLong, Unusable
from config.logging import log
from config.prompts import PROJECT_DRAFT
from config.settings import get_settings
from storage import conversations, llm_defaults, messages, prompts, summaries
from storage.database import Session, reading
from storage.tables import Conversation, Summary
from tasks.answering import PROMPT_MARGIN
from tasks.checkpoints import Checkpoint
from tasks.run import JobRun
from workers import mem0
from workers.drafts import extractive
from workers.drafts import prompts as words
from workers.ports import ChatMessage, LanguageModel, Turn
from workers.summaries.plan import SEPARATOR_TOKENS

# About 1,500 words; less where the window is small, and what the model thinks besides.
DRAFT_TOKENS, THINKING_TOKENS = 2000, 4000


@dataclass(frozen=True, slots=True)
class Material:
    """What a draft is made from, as it was when the attempt began."""

    conversation: Conversation
    turns: tuple[Turn, ...]
    summary: Summary | None
    instruction: str
    model: str | None  # by name; None: what is there


def load(run: JobRun) -> Material:
    with reading() as session:
        conversation = open_conversation(session, run)
        default = llm_defaults.resolve(session, run.owner_id, PROJECT_DRAFT)
        material = Material(
            conversation,
            turns_of(session, conversation.id),
            summaries.find(session, conversation.id),
            prompts.active(session, PROJECT_DRAFT),
            run.input.get("model") or default,
        )
    if not material.turns:
        raise Unusable("This conversation has no messages to make a draft from.")
    return material


def open_conversation(session: Session, run: JobRun, *, lock: bool = False) -> Conversation:
    """Raises Conflict when it is gone or locked."""
    found = conversations.find(session, run.input["conversation_id"], run.owner_id, lock=lock)
    if found is None:
        raise Conflict("The conversation was deleted meanwhile.")
    if found.is_locked:
        raise Conflict("This conversation is locked.")
    return found


def turns_of(session: Session, conversation_id: str) -> tuple[Turn, ...]:
    return tuple(
        Turn("user" if message.role == "user" else "assistant", message.content, message.created_at)
        for message in messages.path(session, conversation_id)
        if message.role in ("user", "assistant") and message.content.strip()
    )


def find_memories(run: JobRun, kept: Checkpoint, material: Material) -> list[str]:
    """Asked for once, so that every attempt writes from the same ones. Without them a draft is written all the same."""
    settings = get_settings()
    if "memories" in kept.values or not settings.mem0_api_url:
        return list(kept.values.get("memories", ()))
    run.emit("status", status="extracting_chat_keywords")
    query = extractive.query(material.conversation.title, material.turns)
    run.emit("status", status="retrieving_memories")
    try:
        found = mem0.search(settings, query)
    except BackchannelError as error:
        log.warning("a draft without memories", reason=error.detail)
        run.emit("status", status="memories_unavailable", message=error.detail)
        found = []
    with kept.keep(memories=found):
        pass
    return found


class Plan:
    """How much the model can read, and what it is asked; plain data, as the model may be away between two uses."""

    def __init__(self, model: LanguageModel, material: Material, memories: Sequence[str]) -> None:
        """Raises PromptTooLong where not even the instructions fit."""
        self._material, self._memories = material, memories
        self.model_name, window = model.name, model.context_tokens
        self.in_json, self.is_bounded = "json_schema" in model.abilities, "grammar" in model.abilities
        self.max_tokens = min(DRAFT_TOKENS, window // 4)
        self.max_tokens += min(THINKING_TOKENS, window // 4) if "reasoning" in model.abilities else 0
        around = sum(model.count_tokens(message.content) for message in self.messages("", is_summary=True))
        self._room = window - self.max_tokens - around - PROMPT_MARGIN
        if self._room <= 0:
            raise PromptTooLong(f"The model {model.name} reads {window} tokens, which the instructions alone fill.")

    def whole(self, model: LanguageModel) -> str | None:
        """The conversation, if the model can read all of it."""
        left, said = self._room, words.as_said(self._material.turns)
        for text in said:
            left -= model.count_tokens(text) + SEPARATOR_TOKENS
            if left < 0:
                return None
        return "\n\n".join(said)

    def summary(self, model: LanguageModel) -> str | None:
        """The summary there is, if it speaks of the conversation as it is."""
        summary, conversation = self._material.summary, self._material.conversation
        if summary is None or summary.content_version < conversation.content_version:
            return None
        return summary.text if self.fits(model, summary.text) else None

    def fits(self, model: LanguageModel, text: str) -> bool:
        return model.count_tokens(text) <= self._room

    def messages(self, text: str, *, is_summary: bool) -> tuple[ChatMessage, ...]:
        material = self._material
        return words.messages(
            material.instruction,
            material.conversation.title,
            text,
            is_summary=is_summary,
            memories=self._memories,
            in_json=self.in_json,
        )
