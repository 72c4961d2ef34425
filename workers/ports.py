"""What tasks ask of workers: the ports and the plain data that crosses them.

Nothing here knows a database row, a queue or a web request. Adapters live beside this file, one per folder:
`llm/` (LanguageModel), `embedding/` (Embedder), `importers/` (Importer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]


# --- language models -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the prompt, in the order it was said."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved piece of an earlier conversation. `score` is cosine similarity, -1..1."""

    text: str
    conversation_id: str
    conversation_title: str
    message_id: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. temperature 0 is greedy and reproducible; seed None draws a fresh one."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    response_format: dict[str, Any] | None = (
        None  # {"type": "json_schema", "schema": {…}} or {"type": "grammar", "grammar": "GBNF"}
    )


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Everything a model needs for one answer.

    `resume_text` / `resume_tokens` are what an earlier attempt already produced: the answer continues after them, and
    the stream yields only what is new. `resume_tokens` is used when the same model produced it, else the text is.
    """

    messages: tuple[ChatMessage, ...]
    passages: tuple[Passage, ...] = ()
    sampling: Sampling = Sampling()
    resume_text: str = ""
    resume_tokens: tuple[int, ...] = ()
    owner: str = ""  # whose request it is: owners share an engine fairly


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer. `tokens` are the model's ids behind `text` (empty where a provider tells none)."""

    text: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Last item of a stream: why it ended and what it cost (counts include what was resumed)."""

    finish_reason: Literal["stop", "length", "cancelled"]
    prompt_tokens: int
    completion_tokens: int


class LanguageModel(Protocol):
    """A model that answers. `name` is what clients select and what is stored with the message."""

    name: str
    context_tokens: int  # prompt and answer together

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` by the model's own tokenizer (an estimate where there is none)."""
        ...

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        """Yield deltas, then exactly one Completion. `cancelled` is asked between tokens.

        Raises config.errors.BackchannelError: PromptTooLong, ModelUnavailable (retryable), BadRequest (bad grammar).
        """
        ...


# --- embeddings ------------------------------------------------------------------------------------------------------


class Embedder(Protocol):
    """Text to unit vectors. `name` changes whenever vectors stop being comparable."""

    name: str
    dimension: int
    max_tokens: int  # model input length; longer text is cut by the model, so chunks are kept below it

    def embed(self, texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
        """Shape (len(texts), dimension), L2-normalised. `urgent` (a search) goes before bulk work already waiting."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


# --- importers -------------------------------------------------------------------------------------------------------

Visibility = Literal["visible", "hidden", "tool", "reasoning"]


@dataclass(slots=True)
class ImportedMessage:
    """One node of a conversation tree, as the source had it.

    `content` is Markdown a person would read. Messages that are not part of what is shown (tool traffic, reasoning,
    hidden instructions) keep their text and say so in `visibility`. `parts` holds what `content` cannot (attachments,
    citations, raw content type) as JSON values.
    """

    native_id: str
    parent_native_id: str | None
    role: Role
    content: str
    visibility: Visibility = "visible"
    author_name: str | None = None
    model: str | None = None
    created_at: datetime | None = None  # aware, UTC
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ImportedConversation:
    """Every branch in `messages`, parents before children; the shown path ends at `current_native_id`."""

    source: str  # "chatgpt", "claude", …
    native_id: str
    title: str
    messages: list[ImportedMessage]
    current_native_id: str | None
    url: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    is_archived: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was not understood, in words for the ledger


@dataclass(slots=True)
class ImportFailure:
    """Something in the file that is not a readable conversation, and why, in words a person understands."""

    reason: str
    native_id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ImportItem:
    """One thing found in a file. `index` counts from 0 in file order and is the resume point;
    `bytes_done` / `bytes_total` (uncompressed) tell how far reading has come."""

    index: int
    found: ImportedConversation | ImportFailure
    bytes_done: int
    bytes_total: int


class Importer(Protocol):
    """Reads one source's files. No I/O of its own: it is given an open, seekable binary file."""

    source: str

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        """True if the content is this source's. Must not read the whole file; leaves the position anywhere."""
        ...

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        """Yield items from index `start` on, in a stable order, holding one conversation in memory at a time."""
        ...
