"""Answers without a language model: says so, and quotes the sentences found that come closest to the question."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from config.catalogue import EXTRACTIVE
from config.errors import Unusable
from workers.embedding.chunking import sentences
from workers.ports import ChatRequest, Completion, Delta, Passage

MAX_QUOTES = 6
MAX_SPOKEN = 2
MAX_QUOTE_CHARS = 400

NOTICE = "No language model is loaded, so this answer only quotes what was found."
HELP = (
    "To get written answers, run `backchannel models pull`, or set `MODEL_PATH` to a GGUF file, `MODEL_REPO` to one on "
    "the hub, or a provider's key such as `OPENAI_API_KEY`, and restart."
)
FOUND = "These passages of your conversations come closest to your question:"
NOT_FOUND = "Nothing that fits your question was found in what was imported."

_TERM = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"\s*\S+|\s+$")


class ExtractiveAnswerer:
    """The answer depends on the request alone, so an interrupted one continues where it stopped. Words count as
    tokens."""

    name = provider = EXTRACTIVE
    abilities: frozenset[str] = frozenset()
    context_tokens = 131_072  # nothing limits it; history is not cut for its sake

    def __init__(self, problem: str | None = None) -> None:
        """`problem`: why the configured model is not there, as one sentence."""
        self.problem = problem

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        if request.sampling.response_format is not None:
            raise Unusable("A response format needs a language model, and none is loaded.")
        if request.tools or any(message.attachments for message in request.messages):
            raise Unusable("Tools and attachments need a language model, and none is loaded.")
        text, reason = _limited(self._answer(request), request)
        prompt_tokens = sum(self.count_tokens(message.content) for message in request.messages)
        said = request.resume_text
        for piece in _PIECE.findall(_rest(text, said)):
            if cancelled():
                reason = "cancelled"
                break
            said += piece
            yield Delta(piece)
        yield Completion(reason, prompt_tokens, self.count_tokens(said))

    def _answer(self, request: ChatRequest) -> str:
        question = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        quotes = _best_quotes(question, request.passages)
        if request.work_class == "voice":  # who listens wants to hear what was found, not how to install something
            return "\n\n".join((*quotes[:MAX_SPOKEN], NOTICE) if quotes else (NOT_FOUND, NOTICE))
        notice = " ".join(filter(None, (NOTICE, self.problem, HELP)))
        return "\n\n".join((notice, FOUND, *quotes) if quotes else (notice, NOT_FOUND))


def _limited(text: str, request: ChatRequest) -> tuple[str, Literal["stop", "length", "cancelled"]]:
    """The answer up to the first stop string, and no more words than asked for."""
    places = [place for place in (text.find(stop) for stop in request.sampling.stop if stop) if place >= 0]
    text = text[: min(places)] if places else text
    words = list(re.finditer(r"\S+", text))
    if len(words) > request.sampling.max_tokens:
        limit = request.sampling.max_tokens
        return text[: words[limit - 1].end()] if limit > 0 else "", "length"
    return text, "stop"


def _rest(text: str, said: str) -> str:
    """What is still to be said. When an earlier attempt said something else (it found other passages), the blocks it
    has not said."""
    if text.startswith(said):
        return text[len(said) :]
    new = [block for block in text.split("\n\n") if block not in said]
    return "".join(f"\n\n{block}" for block in new)


def _best_quotes(question: str, passages: Sequence[Passage]) -> list[str]:
    """Markdown quotes with their titles: the sentences that share most with the question, rare words counting more.
    Where none shares anything, the beginnings of the best passages: the search found them by meaning."""
    asked = set(_terms(question))
    frequency = Counter(term for passage in passages for term in set(_terms(passage.text)))
    weights = {term: math.log((len(passages) + 1) / count) for term, count in frequency.items() if term in asked}
    ranked: list[tuple[float, int, int, str]] = []
    for place, passage in enumerate(passages):
        for start, end in sentences(passage.text):
            terms = set(_terms(passage.text[start:end]))
            # fsum, because a sum over a set would round differently from process to process
            shared = math.fsum(weights.get(term, 0.0) for term in terms)
            score = shared / math.sqrt(4 + len(terms)) * (1 + max(passage.score, 0.0))
            if score > 0:
                ranked.append((-score, place, start, _quote(passage.text[start:end], passage)))
    if not ranked:
        ranked = [
            (-passage.score, place, start, _quote(passage.text[start:end], passage))
            for place, passage in enumerate(passages)
            for start, end in itertools.islice(sentences(passage.text), 1)
        ]
    return list(dict.fromkeys(quote for *_, quote in sorted(ranked)))[:MAX_QUOTES]


def _quote(sentence: str, passage: Passage) -> str:
    text = " ".join(sentence.split())
    if len(text) > MAX_QUOTE_CHARS:
        text = f"{text[:MAX_QUOTE_CHARS].rstrip()}…"
    return f"> {text}\n>\n> — {' '.join(passage.conversation_title.split()) or 'Untitled'}"


def _terms(text: str) -> Iterator[str]:
    """Lower-case words. Scripts without spaces give pairs of characters instead."""
    for word in _TERM.findall(text.casefold()):
        if word[0] >= "\u2e80" and len(word) > 1:
            yield from (word[place : place + 2] for place in range(len(word) - 1))
        else:
            yield word
