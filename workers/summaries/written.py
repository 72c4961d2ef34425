"""Summaries a language model writes: pieces that fit its window, then summaries of summaries, whatever the length.

    messages ──cut──▶ pieces ──PART──▶ summaries ──cut──▶ … ──JOIN──▶ … ──FINAL──▶ the summary
    all of them fit ─────────────────────────────────────────────────WHOLE──────▶ the summary

The model is taken for a few parts at a time: a chat with another model does not wait for a long conversation's end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Event

from config.errors import ProviderRefused, Unusable
from workers.embedding.chunking import split
from workers.ports import (
    ChatMessage,
    ChatRequest,
    Completion,
    Delta,
    LanguageModel,
    Sampling,
    SummaryRequest,
    SummaryStep,
)
from workers.summaries import prompts
from workers.summaries.plan import SEPARATOR_TOKENS, Item, Piece, cut, items_of

# Most tokens of a piece, however large the window: what ten new messages cost is at most one piece read again.
PIECE_TOKENS = 8000
# About 450 and 300 words. Less where the window is small, so that parts can be joined.
FINAL_TOKENS, PART_TOKENS = 600, 400
# The template's markers around two messages, title and dates.
MARGIN_TOKENS = 128
# Below this a piece is a sentence or two, and a summary of it no shorter than itself.
LEAST_PIECE_TOKENS = 96
# What a model may think before it writes, where its thoughts count as answer.
THINKING_TOKENS = 4000
# Parts on their way together: a local model decodes them in one batch, a remote one answers side by side. More would
# take slots that chats want.
TOGETHER = 2

Cancelled = Callable[[], bool]
UseModel = Callable[[], AbstractContextManager[LanguageModel]]


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens: of a piece, of a part's summary and of the final one, and what the model may think besides."""

    piece: int
    part: int
    final: int
    thinking: int

    @classmethod
    def of(cls, model: LanguageModel, instruction: str = "") -> Budget:
        """`instruction`: in place of ours for the final one. Raises Unusable when the model's window is too small for
        any of it."""
        window = model.context_tokens
        thinking = min(THINKING_TOKENS, window // 4) if "reasoning" in model.abilities else 0
        told = (*prompts.ALL, f"{prompts.OF_PARTS} {instruction}")
        around = max(model.count_tokens(text) for text in told) + model.count_tokens(prompts.ASK) + MARGIN_TOKENS
        final = min(FINAL_TOKENS, window // 4)
        piece = min(PIECE_TOKENS, window - final - thinking - around)
        if piece < LEAST_PIECE_TOKENS:
            raise Unusable(f"The model {model.name} reads {window} tokens at a time, which is too few to summarise.")
        return cls(piece, min(PART_TOKENS, piece // 4), final, thinking)


class WrittenSummarizer:
    def __init__(self, model: LanguageModel, use: UseModel, instruction: str | None = None) -> None:
        """`use` gives this model for a while; what is remembered of it here is plain data. `instruction`: somebody's
        own words for the summary that is shown."""
        self.name, self.provider = model.name, model.provider
        self._instruction = instruction
        self._budget = Budget.of(model, instruction or "")
        self._use = use

    def summarize(
        self, request: SummaryRequest, cancelled: Cancelled
    ) -> Generator[SummaryStep | Delta | Completion, None, None]:
        with self._use() as model:
            items = items_of(request.turns, model.count_tokens, self._budget.piece)
        instruction, phase = prompts.PART, "map"
        while len(pieces := self._cut(items, instruction, request.parts)) > 1:
            texts = yield from self._write_parts(request, pieces, instruction, phase, cancelled)
            if texts is None:
                yield Completion("cancelled", 0, 0)
                return
            items = self._as_items(pieces, texts)
            instruction, phase = prompts.JOIN, "reduce"
        yield SummaryStep(0, 1, "parts", "final")
        yield from self._write_whole(request, pieces[0], self._final(is_whole=phase == "map"), cancelled)

    def _final(self, *, is_whole: bool) -> str:
        if self._instruction is None:
            return prompts.WHOLE if is_whole else prompts.FINAL
        return self._instruction if is_whole else f"{prompts.OF_PARTS}\n\n{self._instruction}"

    def _cut(self, items: Sequence[Item], instruction: str, known: Mapping[str, str]) -> list[Piece]:
        return cut(items, self._budget.piece, known, made_by=f"{self.name}\0{self._budget.part}\0{instruction}")

    def _as_items(self, pieces: Sequence[Piece], texts: Sequence[str]) -> list[Item]:
        with self._use() as model:
            items = [
                Item(text, model.count_tokens(text) + SEPARATOR_TOKENS, *piece.days)
                for piece, text in zip(pieces, texts, strict=True)
                if text
            ]
        if not items:
            raise self._said_nothing()
        return items

    # --- parts

    def _write_parts(
        self, request: SummaryRequest, pieces: Sequence[Piece], instruction: str, phase: str, cancelled: Cancelled
    ) -> Generator[SummaryStep, None, list[str] | None]:
        """Yields a step whenever some parts are written, and returns the texts in order; None when cancelled."""
        digests = {piece.digest for piece in pieces}
        kept = {digest: request.parts[digest] for digest in digests & request.parts.keys()}
        texts = dict(kept)
        if phase == "reduce":  # a summary that stands alone is not summarised again
            texts |= {piece.digest: piece.text for piece in pieces if len(piece.items) == 1}
        yield SummaryStep(len(texts), len(digests), "parts", phase, kept)
        todo = list({piece.digest: piece for piece in pieces if piece.digest not in texts}.values())
        for start in range(0, len(todo), TOGETHER):
            group = todo[start : start + TOGETHER]
            asked = [
                self._ask(request, prompts.messages(instruction, piece.text, piece.days), self._budget.part)
                for piece in group
            ]
            written = self._write_together(asked, cancelled)
            new = {piece.digest: text for piece, text in zip(group, written, strict=True) if text is not None}
            texts |= new
            said = {digest: text for digest, text in new.items() if text}
            yield SummaryStep(len(texts), len(digests), "parts", phase, said)
            if len(new) < len(group):
                return None
        return [texts[piece.digest] for piece in pieces]

    def _write_together(self, asked: Sequence[ChatRequest], cancelled: Cancelled) -> list[str | None]:
        """The answers, None for one that was cancelled. The first error stops the others."""
        failed = Event()

        def write(request: ChatRequest) -> str | None:
            try:
                return self._write_part(model, request, lambda: failed.is_set() or cancelled())
            except BaseException:
                failed.set()
                raise

        with self._use() as model, ThreadPoolExecutor(len(asked), thread_name_prefix="summary") as pool:
            return list(pool.map(write, asked))

    def _write_part(self, model: LanguageModel, request: ChatRequest, cancelled: Cancelled) -> str | None:
        said: list[str] = []
        for item in model.stream(request, cancelled):
            if isinstance(item, Delta):
                said.append(item.text)
            elif item.finish_reason == "cancelled":
                return None
        return self._clipped(model, "".join(said).strip())

    def _clipped(self, model: LanguageModel, text: str) -> str:
        """At most a third of a piece, so that joining always makes fewer: a remote model's tokens are estimated."""
        limit = self._budget.piece // 3 - SEPARATOR_TOKENS
        if model.count_tokens(text) <= limit:
            return text
        return split(text, lambda texts: [model.count_tokens(one) for one in texts], limit)[0].text

    # --- the whole

    def _write_whole(
        self, request: SummaryRequest, piece: Piece, instruction: str, cancelled: Cancelled
    ) -> Iterator[Delta | Completion]:
        messages = prompts.messages(instruction, piece.text, piece.days, request.title)
        asked = replace(
            self._ask(request, messages, self._budget.final),
            resume_text=request.resume_text,
            resume_tokens=request.resume_tokens,
        )
        said = request.resume_text
        with self._use() as model:
            for item in model.stream(asked, cancelled):
                if isinstance(item, Delta):
                    said += item.text
                elif item.finish_reason != "cancelled" and not said.strip():
                    raise self._said_nothing()
                yield item

    def _ask(self, request: SummaryRequest, messages: tuple[ChatMessage, ...], max_tokens: int) -> ChatRequest:
        return ChatRequest(
            messages,
            sampling=Sampling(temperature=0, max_tokens=max_tokens + self._budget.thinking),
            owner=request.owner,
            job_id=request.job_id,
            work_class="summarize",
        )

    def _said_nothing(self) -> ProviderRefused:
        return ProviderRefused(f"The model {self.name} was asked for a summary and wrote nothing.")
