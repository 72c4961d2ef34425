"""What tasks ask of workers: the ports and the plain data that crosses them.

Nothing here knows a database row, a queue or a web request. Adapters live beside this file, one per folder:
`llm/` (LanguageModel), `summaries/` (Summarizer), `embedding/` (Embedder), `rerank/` (Reranker), `emotion/` (Emotion).
Importers and the parts of the voice have ports of their own: `importers/ports.py`, `voice/ports.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]


# --- language models -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message to models that can look at it. `mime_type`: image/png, application/pdf, …"""

    mime_type: str
    data: bytes = field(repr=False)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may ask for. `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model asked for. `id` names it in the message that carries the result."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the prompt, in the order it was said.

    An assistant's message may hold `tool_calls`; each is answered by a message of role `tool` with its `tool_call_id`.
    """

    role: Role
    content: str
    attachments: tuple[Attachment, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


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
    """How the next token is drawn. temperature 0 is greedy and reproducible; seed None draws a fresh one.

    A provider that lacks one of these leaves it out; what changes the meaning (`response_format`) it refuses instead.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    # {"type": "json_schema", "schema": {…}}, {"type": "json_object"} or {"type": "grammar", "grammar": "GBNF"}
    response_format: dict[str, Any] | None = None
    repeat_penalty: float = 1.0  # 1 is none
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[str, float] | None = None  # by the model's own token id, written as a string: JSON has no other
    logprobs: int | None = None  # alternatives told with each token; None: no log-probabilities at all


# Who goes first where a model serves many: the first before the last.
WorkClass = Literal["voice", "chat", "summarize", "batch"]


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
    job_id: str = ""  # under which its place in an engine's queue is told
    work_class: WorkClass = "chat"
    deadline_s: float | None = None  # from now; an answer that is not complete then ends with DeadlineExceeded
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithms under the model's own distribution, before temperature and cuts. `token` is its text where
    the model knows it as text only; of ids, `spellings` are the bytes: the token's own, then those in `top`."""

    token: int | str
    logprob: float
    top: tuple[tuple[int | str, float], ...] = ()
    spellings: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer. `tokens` are the model's ids behind `text` (empty where a provider tells none);
    `logprobs`, where they were asked for, has one for each of its tokens."""

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Last item of a stream: why it ended and what it cost (counts include what was resumed)."""

    finish_reason: Literal["stop", "length", "cancelled", "tool_calls", "content_filter"]
    prompt_tokens: int
    completion_tokens: int
    tool_calls: tuple[ToolCall, ...] = ()
    cached_tokens: int | None = None  # of the prompt's, those that cost little; None where it is not told
    reasoning_tokens: int | None = None  # of the completion's, those that were not shown


class LanguageModel(Protocol):
    """A model that answers. `name` is what clients select and what is stored with the message."""

    name: str
    provider: str  # "local", "extractive", or the provider's name in config/models.toml
    context_tokens: int  # prompt and answer together
    abilities: frozenset[str]  # of config.catalogue.ABILITIES

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` by the model's own tokenizer (an estimate from above where there is none)."""
        ...

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        """Yield deltas, then exactly one Completion. `cancelled` is asked between tokens, and while nothing comes.

        Raises config.errors.BackchannelError: PromptTooLong, ModelUnavailable and ProviderUnavailable (retryable),
        ProviderRefused, DeadlineExceeded, Unusable (a bad grammar, a tool or a picture for a model without that
        ability).
        """
        ...


# --- summaries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a conversation as a summariser reads it."""

    role: Role
    content: str
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """A conversation and what is left of earlier work on it: `parts` (digest → text), `place` (where an external
    summariser stands), and the text an earlier attempt already yielded, which is continued as a ChatRequest's is."""

    title: str
    turns: tuple[Turn, ...]
    parts: Mapping[str, str] = field(default_factory=dict)
    place: dict[str, Any] | None = None
    resume_text: str = ""
    resume_tokens: tuple[int, ...] = ()
    owner: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class SummaryStep:
    """How far it has come. `parts` and `place` are to be kept: a later attempt and the next summary begin there. Parts
    that were used again are told too; whatever was never told is of no more use."""

    done: int
    total: int
    unit: str
    phase: str
    parts: Mapping[str, str] = field(default_factory=dict)
    place: dict[str, Any] | None = None


class Summarizer(Protocol):
    """Says what a conversation is about. `name` is stored with the summary; `provider` as a LanguageModel's."""

    name: str
    provider: str

    def summarize(
        self, request: SummaryRequest, cancelled: Callable[[], bool]
    ) -> Generator[SummaryStep | Delta | Completion, None, None]:
        """Yield steps, then the summary's text in deltas, then exactly one Completion. Close it when you leave early.

        Raises what LanguageModel.stream raises; PromptTooLong never for the length of the conversation.
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


# --- reranking -------------------------------------------------------------------------------------------------------


class Reranker(Protocol):
    """Reads a query and a passage together. Thread-safe."""

    name: str

    def score(self, query: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[float] | None:
        """How well each text answers the query, 0 to 1; of a long one, by its beginning. `cancelled` is asked every few
        texts: None then. Raises ModelUnavailable."""
        ...


# --- emotions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Feeling:
    """What a text sounds like: each label's share, 1 in all, and who says so."""

    scores: dict[str, float]
    backend: str

    @property
    def label(self) -> str:
        return max(self.scores, key=lambda label: self.scores[label])

    @property
    def confidence(self) -> float:
        return self.scores[self.label]


class Emotion(Protocol):
    """The emotion of what somebody wrote. Labels: anger, disgust, fear, joy, neutral, sadness, surprise, or what the
    model of the settings has. Thread-safe."""

    name: str
    labels: tuple[str, ...]

    def classify(self, text: str) -> Feeling:
        """Of a long text, by its beginning."""
        ...
