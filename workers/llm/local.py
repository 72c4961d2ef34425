"""A GGUF model in this process: chat requests become token prompts, and the resident engine answers them together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from config.catalogue import LOCAL, LOCAL_ABILITIES
from config.errors import PromptTooLong, Unusable
from workers.engine.engine import Engine, EngineOptions
from workers.engine.sequence import Priority, Prompt
from workers.llm import tools
from workers.llm.answer import kept_tokens
from workers.llm.grammar import grammar_of
from workers.llm.prompt import with_passages
from workers.llm.template import ChatTemplate
from workers.ports import ChatRequest, Completion, Delta, WorkClass

_PRIORITIES: dict[WorkClass, Priority] = {
    "voice": Priority.VOICE,
    "chat": Priority.CHAT,
    "summarize": Priority.SUMMARIZE,
    "batch": Priority.BATCH,
}


class LocalModel:
    """Answers of several threads are decoded together."""

    provider = LOCAL
    abilities = LOCAL_ABILITIES

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        n_ctx: int = 8192,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
        options: EngineOptions | None = None,
    ) -> None:
        """`n_ctx` tokens of prompt and answer together, cut to what the model was trained for; 0 takes all of that.
        `n_gpu_layers` −1 means all. Raises ModelUnavailable."""
        options = options or EngineOptions()
        threads = n_threads or max(1, (os.cpu_count() or 2) - 1)
        options = replace(options, runner=replace(options.runner, context_tokens=n_ctx, threads=threads))
        self.engine = Engine.load(path, options, name=name, n_gpu_layers=n_gpu_layers)
        self._model = self.engine.model
        self.name = self.engine.name
        self.context_tokens = self.engine.context_tokens
        self._template = ChatTemplate(
            self._model.chat_template,
            bos=self._model.bos,
            eos=self._model.eos,
            control=self._model.control_spellings(),
        )

    def close(self) -> None:
        self.engine.close()

    def count_tokens(self, text: str) -> int:
        return len(self._model.tokenize(text))

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        if not tools.uses_tools(request):
            yield from self.engine.submit(self.prompt(request)).stream(cancelled)
            return
        answer = self.engine.submit(self.prompt(tools.in_words(request)))
        yield from tools.told(answer.stream, request, cancelled) if request.tools else answer.stream(cancelled)

    def prompt(self, request: ChatRequest) -> Prompt:
        """The request in the model's own tokens. Raises PromptTooLong, Unusable."""
        if any(message.attachments for message in request.messages):
            raise Unusable(f"The model {self.name} cannot do that: it reads text only.")
        resumed, shown = self._resumed(request)
        return Prompt(
            self._tokens(request),
            resumed=resumed,
            shown=shown,
            sampling=request.sampling,
            grammar=grammar_of(request.sampling.response_format),
            priority=_PRIORITIES[request.work_class],
            owner=request.owner,
            job_id=request.job_id,
            deadline_s=request.deadline_s,
        )

    def _tokens(self, request: ChatRequest) -> tuple[int, ...]:
        text = self._template.render(with_passages(request.messages, request.passages))
        bos = self._model.bos
        tokens = self._model.tokenize(text, special=True, begin=not (bos and text.startswith(bos)))
        if len(tokens) >= self.context_tokens:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens; the model {self.name} reads "
                f"{self.context_tokens} together with its answer."
            )
        return tuple(tokens)

    def _resumed(self, request: ChatRequest) -> tuple[tuple[int, ...], str]:
        """The tokens an earlier attempt is continued after, and the text that was shown for them."""
        tokens = list(itertools.takewhile(self._model.knows, request.resume_tokens))
        pieces = [self._model.piece(token) for token in tokens]
        text = request.resume_text or b"".join(pieces).decode("utf-8", "replace")
        count, spelled = kept_tokens(pieces, text)
        rest = text[spelled:]
        if self._model.adds_space:
            rest = rest.removeprefix(" ")
        return (*tokens[:count], *self._model.tokenize(rest)), text
