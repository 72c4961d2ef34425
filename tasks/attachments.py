"""Files that questions were asked with: shown to a model that can look at them, told as text to one that cannot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from config.errors import BackchannelError
from config.settings import MIB, get_settings
from storage import attachments, files
from storage.database import reading
from storage.file_types import PDF
from storage.project_tables import FileAttachment
from storage.tables import Message
from tasks.run import JobRun
from workers.llm.prompt import quoted_file
from workers.llm.remote import ATTACHMENT_TOKENS, looks_at
from workers.ports import Attachment, ChatMessage, LanguageModel, Passage

Brought = dict[str, list[FileAttachment]]  # by the message that they came with

_POLL_S = 0.1
_NO_TEXT = "There is no text of it."


def brought_with(run: JobRun, model: LanguageModel, history: Sequence[Message]) -> Brought:
    """The files of people's messages. Those of the question that the model is to be told, and that are being read, are
    waited for: who brings a file and asks about it at once means what is in it."""
    asked = [message.id for message in history if message.role == "user"]
    until, told = time.monotonic() + get_settings().chat_wait_files_s, False
    while True:
        with reading() as session:
            found = attachments.of_messages(session, asked)
            unread = [file.id for file in found.get(history[-1].id, ()) if _is_to_be_told(model, file)]
            is_ready = not unread or not attachments.are_being_read(session, unread)
        if is_ready or time.monotonic() >= until:
            return found
        if not told:
            run.emit("status", status="reading_files")
            told = True
        run.check()
        time.sleep(_POLL_S)


def as_passages(brought: Brought, conversation_id: str) -> tuple[Passage, ...]:
    """For the answerer without a model, which quotes what fits the question. The newest first."""
    return tuple(
        Passage(text, conversation_id, file.filename, None, 0.0)
        for each in reversed(brought.values())
        for file in each
        if (text := _text(file))
    )


class Prompt:
    """What files may take of one prompt. Messages are given to it from the newest on, so that it is the oldest that
    come too late."""

    def __init__(self, run: JobRun, model: LanguageModel, room_tokens: int) -> None:
        settings = get_settings()
        self._run, self._model = run, model
        self._left = room_tokens
        self._files_left, self._bytes_left = settings.chat_attachments, settings.chat_attachments_mb * MIB
        self.shown_tokens = 0  # of files that are shown: no message's text holds them

    def with_files(self, message: ChatMessage, brought: Sequence[FileAttachment]) -> ChatMessage:
        shown: list[Attachment] = []
        texts = [message.content]
        for file in brought:
            attachment = self._attachment(file)
            if attachment is not None:
                shown.append(attachment)
            else:
                texts.append(self._told(file))
        return replace(message, content="\n\n".join(texts), attachments=tuple(shown))

    def _attachment(self, file: FileAttachment) -> Attachment | None:
        cost = ATTACHMENT_TOKENS
        if file.file_type == PDF:  # its pages count as pictures and as their text
            cost += 2 * self._model.count_tokens(file.extracted_text or "")
        if not _can_be_shown(self._model, file) or cost > self._left:
            return None
        if not self._files_left or file.file_size > self._bytes_left:
            return None
        try:
            data = b"".join(files.content(file.id))
        except BackchannelError as error:
            self._run.emit("status", status="file_unavailable", filename=file.filename, message=error.detail)
            return None
        self._files_left -= 1
        self._bytes_left -= len(data)
        self._left -= cost
        self.shown_tokens += cost
        return Attachment(file.file_type, data, file.filename)

    def _told(self, file: FileAttachment) -> str:
        text = _text(file) or f"({' '.join(filter(None, (_NO_TEXT, file.problem)))})"
        quoted = quoted_file(file.filename, text, self._model.count_tokens, self._left)
        self._left = max(0, self._left - self._model.count_tokens(quoted))
        return quoted


def _can_be_shown(model: LanguageModel, file: FileAttachment) -> bool:
    return looks_at(model, file.file_type, file.file_size)


def _is_to_be_told(model: LanguageModel, file: FileAttachment) -> bool:
    """And nothing is known of it yet, neither a text nor why there is none."""
    return not (_can_be_shown(model, file) or _text(file) or file.problem)


def _text(file: FileAttachment) -> str:
    return "\n\n".join(filter(None, (file.extracted_text, file.summary_text)))
