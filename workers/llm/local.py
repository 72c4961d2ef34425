"""A GGUF model in this process through llama.cpp, one answer at a time."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from config.errors import ModelUnavailable, PromptTooLong
from workers.llm.answer import AnswerText, kept_tokens
from workers.llm.grammar import grammar_of
from workers.llm.library import llama_cpp
from workers.llm.prompt import with_passages
from workers.llm.sampling import TokenSampler
from workers.llm.template import ChatTemplate
from workers.ports import ChatRequest, Completion, Delta

_GGUF_MAGIC = b"GGUF"
_PREFILL = 256  # tokens between two looks at `cancelled` while the prompt is read: about 1 s for a 7B model on a CPU
_LOCK_POLL_S = 0.05


class LocalModel:
    """Answers of several threads wait for each other; the cache of the last one's prompt is reused."""

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        n_ctx: int = 8192,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
    ) -> None:
        """`n_ctx` tokens of prompt and answer together, cut to what the model was trained for; 0 takes all of that.
        `n_gpu_layers` −1 means all. Raises ModelUnavailable."""
        self.name = name or path.stem
        self._llama = _load(path, self.name, n_ctx, n_threads, n_gpu_layers)
        self._lock = threading.Lock()
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._llama.model)
        trained = llama_cpp.llama_model_n_ctx_train(self._llama.model)
        self.context_tokens = min(self._llama.n_ctx(), trained or self._llama.n_ctx())
        self._template = self._chat_template()
        # SentencePiece models put a space before whatever they tokenise.
        self._adds_space = llama_cpp.llama_vocab_type(self._vocabulary) == llama_cpp.LLAMA_VOCAB_TYPE_SPM

    def close(self) -> None:
        with self._lock:
            self._llama.close()

    def count_tokens(self, text: str) -> int:
        return len(self._tokenize(text))

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        prompt = self._prompt(request)
        resumed, shown = self._resumed(request)
        grammar = grammar_of(request.sampling.response_format)
        while not self._lock.acquire(timeout=_LOCK_POLL_S):
            if cancelled():
                yield Completion("cancelled", len(prompt), len(resumed))
                return
        try:
            with TokenSampler(self._llama, request.sampling, grammar) as sampler:
                sampler.follow(resumed)
                answer = AnswerText(request.sampling.stop, already=shown)
                yield from self._generate(prompt, resumed, request.sampling.max_tokens, answer, sampler, cancelled)
        finally:
            self._lock.release()

    def _generate(
        self,
        prompt: list[int],
        resumed: list[int],
        max_tokens: int,
        answer: AnswerText,
        sampler: TokenSampler,
        cancelled: Callable[[], bool],
    ) -> Iterator[Delta | Completion]:
        produced = len(resumed)
        limit = min(max_tokens, self.context_tokens - len(prompt))
        todo: Sequence[int] = ()
        if not answer.stopped and produced < limit:
            todo = self._after_cached([*prompt, *resumed])
        while not answer.stopped and produced < limit:
            if not self._decode(todo, cancelled):
                # What is held back stays unsaid: a later attempt that resumes here finds whole tokens.
                yield Completion("cancelled", len(prompt), produced)
                return
            token = sampler.draw()
            if token is None or llama_cpp.llama_vocab_is_eog(self._vocabulary, token):
                break
            produced += 1
            todo = (token,)
            delta = answer.feed(token, self._piece(token))
            if delta is not None:
                yield delta
        rest = answer.finish()
        if rest is not None:
            yield rest
        ended_by_length = produced >= limit and not answer.stopped
        yield Completion("length" if ended_by_length else "stop", len(prompt), produced)

    def _decode(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> bool:
        for start in range(0, len(tokens), _PREFILL):
            if cancelled():
                return False
            try:
                self._llama.eval(tokens[start : start + _PREFILL])
            except RuntimeError as error:  # what the cache holds now is unknown
                self._forget()
                raise ModelUnavailable(f"The model {self.name} failed while answering.") from error
        return True

    def _after_cached(self, tokens: list[int]) -> list[int]:
        """What is left to decode after the longest beginning that the cache still holds. At least the last token is:
        its logits are wanted."""
        llama = self._llama
        cached, common = llama.n_tokens, 0
        limit = min(cached, len(tokens) - 1)
        while common < limit and llama.input_ids[common] == tokens[common]:
            common += 1
        if common < cached:
            memory = llama_cpp.llama_get_memory(llama.ctx)
            # A sliding window has forgotten the beginning, and recurrent models cannot go back at all.
            whole = llama_cpp.llama_memory_seq_pos_min(memory, 0) <= 0
            if not whole or not llama_cpp.llama_memory_seq_rm(memory, 0, common, -1):
                self._forget()
                common = 0
        llama.n_tokens = common
        return tokens[common:]

    def _forget(self) -> None:
        self._llama.n_tokens = 0
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._llama.ctx), True)

    def _prompt(self, request: ChatRequest) -> list[int]:
        text = self._template.render(with_passages(request.messages, request.passages))
        bos = _token_text(self._vocabulary, self._llama.token_bos())
        tokens = self._tokenize(text, special=True, begin=not (bos and text.startswith(bos)))
        if len(tokens) >= self.context_tokens:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens; the model {self.name} reads "
                f"{self.context_tokens} together with its answer."
            )
        return tokens

    def _resumed(self, request: ChatRequest) -> tuple[list[int], str]:
        """The tokens an earlier attempt is continued after, and the text that was shown for them."""
        pieces = [self._piece(token) for token in request.resume_tokens]
        text = request.resume_text or b"".join(pieces).decode("utf-8", "replace")
        count, spelled = kept_tokens(pieces, text)
        rest = text[spelled:]
        if self._adds_space:
            rest = rest.removeprefix(" ")
        return [*request.resume_tokens[:count], *self._tokenize(rest)], text

    def _tokenize(self, text: str, *, special: bool = False, begin: bool = False) -> list[int]:
        return self._llama.tokenize(text.encode("utf-8", "replace"), add_bos=begin, special=special) if text else []

    def _piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length  # llama.cpp answers a short buffer with the size it needs

    def _chat_template(self) -> ChatTemplate:
        control = (
            _token_text(self._vocabulary, token)
            for token in range(self._llama.n_vocab())
            if llama_cpp.llama_vocab_get_attr(self._vocabulary, token) & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        )
        return ChatTemplate(
            self._llama.metadata.get("tokenizer.chat_template"),
            bos=_token_text(self._vocabulary, self._llama.token_bos()),
            eos=_token_text(self._vocabulary, self._llama.token_eos()),
            control=control,
        )


def _token_text(vocabulary: llama_cpp.llama_vocab_p, token: int) -> str:
    return str(llama_cpp.llama_vocab_get_text(vocabulary, token).decode("utf-8", "replace")) if token >= 0 else ""


def _load(path: Path, name: str, n_ctx: int, n_threads: int | None, n_gpu_layers: int) -> llama_cpp.Llama:
    threads = n_threads or max(1, (os.cpu_count() or 2) - 1)
    try:
        with path.open("rb") as file:
            if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
                raise ModelUnavailable(f"The model {name} cannot be loaded: the file is not in GGUF format.")
        return llama_cpp.Llama(
            str(path),
            n_ctx=-(-n_ctx // 256) * 256,  # llama.cpp rounds up; the Python side would keep too small an array
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=n_gpu_layers,
            verbose=False,
        )
    except OSError as error:
        raise ModelUnavailable(f"The model {name} cannot be loaded: its file cannot be read.") from error
    except ModelUnavailable:
        raise
    except Exception as error:  # ValueError, AssertionError, jinja2's errors: whatever the file made llama_cpp do
        raise ModelUnavailable(
            f"The model {name} cannot be loaded: the file is broken or of an unknown kind."
        ) from error
