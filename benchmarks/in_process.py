"""Models in a process of their own (see benchmarks.processes.Peer), and talkers who are threads beside them: the
resident engine behind `workers.llm.local`, and `Llama` under a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.talk import Heard, Talk

Messages = list[tuple[str, str]]
# Yields the pieces of an answer and fills in what it cost; the last argument asks whether to give up.
Answering = Callable[[Messages, Talk, Heard, Callable[[], bool]], Iterator[str]]

_answering: Answering | None = None


def facts() -> dict[str, Any]:
    import llama_cpp

    return {"gpu": bool(llama_cpp.llama_supports_gpu_offload()), "version": llama_cpp.__version__}


def make_model(path: str) -> None:
    """Random weights in the shape of a real small model, Q8_0, that never end an answer by themselves."""
    import llama_cpp

    from tests.gguf_model import SHAPE_135M, make_tiny_model

    shape: Any = SHAPE_135M
    half = make_tiny_model(Path(f"{path}.f16"), endless=True, half=True, context_length=2048, **shape)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(str(half).encode(), path.encode(), params):
        raise RuntimeError("the model could not be quantised")
    half.unlink()


def open_engine(path: str, context: int, slots: int, batch: int, threads: int) -> None:
    from workers.engine.engine import EngineOptions
    from workers.engine.runner import RunnerOptions
    from workers.llm.local import LocalModel
    from workers.ports import ChatMessage, ChatRequest, Completion, Sampling

    options = EngineOptions(runner=RunnerOptions(slots=slots, batch=batch))
    model = LocalModel(Path(path), n_ctx=context, n_threads=threads, n_gpu_layers=-1, options=options)

    def answer(messages: Messages, talk: Talk, heard: Heard, stopped: Callable[[], bool]) -> Iterator[str]:
        said = tuple(ChatMessage(role, text) for role, text in messages)  # type: ignore[arg-type]
        sampling = Sampling(temperature=0, max_tokens=talk.tokens)
        request = ChatRequest(said, sampling=sampling, work_class=talk.work)  # type: ignore[arg-type]
        for item in model.stream(request, stopped):
            if isinstance(item, Completion):
                heard.prompt_tokens, heard.tokens = item.prompt_tokens, item.completion_tokens
            else:
                yield item.text

    _open(answer)


def open_llama(path: str, context: int, batch: int, threads: int) -> None:
    import llama_cpp

    llama = llama_cpp.Llama(
        path, n_ctx=context, n_batch=batch, n_threads=threads, n_threads_batch=threads, n_gpu_layers=-1,
        flash_attn=True, verbose=False,
    )  # fmt: skip
    lock = threading.Lock()

    def answer(messages: Messages, talk: Talk, heard: Heard, stopped: Callable[[], bool]) -> Iterator[str]:
        said: Any = [{"role": role, "content": text} for role, text in messages]
        with lock:
            pieces: Any = llama.create_chat_completion(said, temperature=0, max_tokens=talk.tokens, stream=True)
            for piece in pieces:
                choice = piece["choices"][0]
                if choice["finish_reason"] == "length":
                    heard.tokens = talk.tokens
                if text := choice["delta"].get("content"):
                    yield text
                if stopped():
                    return

    _open(answer)


def _open(answering: Answering) -> None:
    global _answering  # noqa: PLW0603
    _answering = answering


def converse(talks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Every talk in a thread, all at once; what each heard."""
    assert _answering is not None
    party = _Party(_answering, [Talk(**talk) for talk in talks])
    return [[asdict(heard) for heard in answers] for answers in party.run()]


class _Party:
    def __init__(self, answering: Answering, talks: list[Talk]) -> None:
        self._answering, self._talks = answering, talks
        self._left = sum(not talk.beside for talk in talks)
        self._silent = len(talks) - self._left  # of what is beside
        self._lock, self._begun, self._over = threading.Lock(), threading.Event(), threading.Event()
        self._failures: list[Exception] = []

    def run(self) -> list[list[Heard]]:
        heard: list[list[Heard]] = [[] for _ in self._talks]
        if not self._silent:
            self._begun.set()
        threads = [
            threading.Thread(target=self._talk, args=(talk, answers))
            for talk, answers in zip(self._talks, heard, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return heard

    def _talk(self, talk: Talk, answers: list[Heard]) -> None:
        try:
            if not talk.beside:
                self._begun.wait()
                time.sleep(talk.after_s)
            self._ask_all(talk, answers)
        except Exception as error:
            self._failures.append(error)
            self._begun.set()
        with self._lock:
            self._left -= not talk.beside
            if self._left == 0:
                self._over.set()

    def _ask_all(self, talk: Talk, answers: list[Heard]) -> None:
        given_up = self._over.is_set if talk.beside else lambda: False
        messages: Messages = []
        for question in talk.questions:
            messages = [*(messages if talk.follow_up else []), ("user", question)]
            heard = Heard(time.monotonic())
            answers.append(heard)
            for piece in self._answering(messages, talk, heard, given_up):
                heard.times.append(time.monotonic())
                heard.text += piece
                if talk.beside and len(heard.times) == 1:
                    self._one_began()
            if given_up():
                return
            heard.ended = time.monotonic()
            messages.append(("assistant", heard.text))

    def _one_began(self) -> None:
        with self._lock:
            self._silent -= 1
            if self._silent == 0:
                self._begun.set()
