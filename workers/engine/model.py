"""A GGUF file's weights and vocabulary, without a context: what may be shared by several."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from config.errors import ModelUnavailable
from workers.engine import native
from workers.llm.library import llama_cpp

_GGUF_MAGIC = b"GGUF"

Progress = Callable[[float], bool]
_progress: ContextVar[Progress | None] = ContextVar("load_progress", default=None)


@contextmanager
def load_progress(progress: Progress) -> Iterator[None]:
    """Models that are loaded inside the block, by this thread, tell how far they are: 0 to 1, at most once per percent.
    Where `progress` answers False, loading ends with ModelUnavailable."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


class Model:
    def __init__(
        self, path: Path, *, name: str | None = None, n_gpu_layers: int = 0, without_weights: bool = False
    ) -> None:
        """`n_gpu_layers` −1 means all. `without_weights`: only looked at, in milliseconds, for its size and shape; it
        must not be decoded with. Raises ModelUnavailable."""
        self.name = name or path.stem
        self.handle: Any = _load(path, self.name, n_gpu_layers, without_weights)
        file = path.stat()
        self.identity = f"{self.name} {file.st_size} {file.st_mtime_ns} {llama_cpp.__version__}"
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.handle)
        self.size = int(llama_cpp.llama_vocab_n_tokens(self.vocabulary))
        self.parameters = int(llama_cpp.llama_model_n_params(self.handle))
        self.weights_bytes = int(llama_cpp.llama_model_size(self.handle))
        self.trained_tokens = int(llama_cpp.llama_model_n_ctx_train(self.handle))
        self.on_gpu = n_gpu_layers != 0 and bool(llama_cpp.llama_supports_gpu_offload())
        # Such models cannot go back to an earlier token.
        self.recurrent = bool(
            llama_cpp.llama_model_is_recurrent(self.handle) or llama_cpp.llama_model_is_hybrid(self.handle)
        )
        # SentencePiece models put a space before whatever they tokenise.
        self.adds_space = llama_cpp.llama_vocab_type(self.vocabulary) == llama_cpp.LLAMA_VOCAB_TYPE_SPM
        self.bos = self._text(llama_cpp.llama_vocab_bos(self.vocabulary))
        self.eos = self._text(llama_cpp.llama_vocab_eos(self.vocabulary))

    def close(self) -> None:
        if self.handle:
            llama_cpp.llama_model_free(self.handle)
        self.handle = None

    @property
    def chat_template(self) -> str | None:
        template = llama_cpp.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8", "replace") if template else None

    def control_spellings(self) -> Iterator[str]:
        for token in range(self.size):
            if llama_cpp.llama_vocab_get_attr(self.vocabulary, token) & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL:
                yield self._text(token)

    def cache_bytes_per_token(self, element_bytes: float) -> float:
        """An estimate from above: keys and values of every layer."""
        heads = max(llama_cpp.llama_model_n_head(self.handle), 1)
        width = llama_cpp.llama_model_n_embd(self.handle) / heads * llama_cpp.llama_model_n_head_kv(self.handle)
        return 2.0 * llama_cpp.llama_model_n_layer(self.handle) * width * element_bytes

    def tokenize(self, text: str, *, special: bool = False, begin: bool = False) -> list[int]:
        """`special`: control tokens' spellings become control tokens. `begin`: what the model wants in front."""
        if not text:
            return []
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            tokens = (llama_cpp.llama_token * size)()
            count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), tokens, size, begin, special)
            if count >= 0:
                return tokens[:count]
            size = -count  # llama.cpp answers a short buffer with the size it needs

    def knows(self, token: int) -> bool:
        """False for ids of another model, on which llama.cpp would end the process."""
        return 0 <= token < self.size

    def piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = native.token_to_piece(self.vocabulary, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def ends_answer(self, token: int) -> bool:
        return bool(native.vocab_is_eog(self.vocabulary, token))

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        return str(llama_cpp.llama_vocab_get_text(self.vocabulary, token).decode("utf-8", "replace"))


def _load(path: Path, name: str, n_gpu_layers: int, without_weights: bool) -> llama_cpp.llama_model_p:
    try:
        with path.open("rb") as file:
            if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
                raise ModelUnavailable(f"The model {name} cannot be loaded: its file is broken, or not in GGUF format.")
    except OSError as error:
        raise ModelUnavailable(f"The model {name} cannot be loaded: its file is broken or cannot be read.") from error
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = n_gpu_layers
    if without_weights:
        params.no_alloc = True
        params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # with a mapped file llama.cpp ends the process
    # Held until loading is over: llama.cpp has its address only.
    callback = llama_cpp.llama_progress_callback(_once_per_percent(_progress.get()))
    params.progress_callback = callback
    handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not handle:
        raise ModelUnavailable(
            f"The model {name} cannot be loaded: its file is broken, of an unknown kind, or larger than the memory."
        )
    return handle


def _once_per_percent(progress: Progress | None) -> Callable[[float, Any], bool]:
    told = -1

    def heard(fraction: float, _user_data: Any) -> bool:
        nonlocal told
        percent = int(fraction * 100)
        if progress is None or percent == told:
            return True
        told = percent
        return progress(fraction)

    return heard
