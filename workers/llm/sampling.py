"""Draws the next token: llama.cpp's samplers, and a grammar when there is one."""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from config.errors import Unusable
from workers.llm.library import llama_cpp
from workers.ports import Sampling

_SEEDS = 0xFFFFFFFF  # this value itself means "random" to llama.cpp


class TokenSampler:
    """One answer's sampler. Native memory: close it, or use it in a `with` block."""

    def __init__(self, model: llama_cpp.Llama, sampling: Sampling, grammar: str | None) -> None:
        self._context = model.ctx
        self._size = model.n_vocab()
        self._grammar: Any = None
        self._chain: Any = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for part in _parts(sampling):
            llama_cpp.llama_sampler_chain_add(self._chain, part)
        if grammar is not None:
            vocabulary = llama_cpp.llama_model_get_vocab(model.model)
            text = grammar.encode("utf-8", "replace")
            self._grammar = llama_cpp.llama_sampler_init_grammar(vocabulary, text, b"root")
            if not self._grammar:
                self.close()
                raise Unusable("The grammar cannot be read: it needs a rule named root, and every rule defined.")

    def __enter__(self) -> TokenSampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler:
                llama_cpp.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def follow(self, tokens: Sequence[int]) -> None:
        """Take tokens drawn by an earlier attempt: the grammar moves on, the random numbers behind them are used up."""
        for token in tokens:
            _apply(self._chain, _candidates((llama_cpp.llama_token_data * 1)()))
            if self._grammar:
                if not self._allowed(token):
                    raise Unusable("The beginning of this answer does not follow the requested response format.")
                llama_cpp.llama_sampler_accept(self._grammar, token)

    def draw(self) -> int | None:
        """The next token after the last one decoded; None when the grammar allows nothing more."""
        token: int | None = llama_cpp.llama_sampler_sample(self._chain, self._context, -1)
        if not self._grammar:
            return token
        # Asking the grammar about one token is cheap, about the whole vocabulary is not.
        assert token is not None
        if not self._allowed(token):
            token = self._draw_allowed()
        # Accepting what the grammar forbids aborts the process.
        if token is not None:
            llama_cpp.llama_sampler_accept(self._grammar, token)
        return token

    def _allowed(self, token: int) -> bool:
        array = _candidates((llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0)))
        _apply(self._grammar, array)
        return bool(array.data[0].logit != -math.inf)

    def _draw_allowed(self) -> int | None:
        data = (llama_cpp.llama_token_data * self._size)()
        view = np.ctypeslib.as_array(data)
        view["id"] = np.arange(self._size)
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        view["logit"] = np.ctypeslib.as_array(logits, shape=(self._size,))
        array = _candidates(data)
        _apply(self._grammar, array)
        if not np.isfinite(view["logit"]).any():
            return None
        _apply(self._chain, array)
        return int(array.data[array.selected].id)


def _parts(sampling: Sampling) -> Iterator[Any]:
    if sampling.temperature <= 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    yield llama_cpp.llama_sampler_init_top_k(sampling.top_k)
    yield llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1)
    yield llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1)
    yield llama_cpp.llama_sampler_init_temp(sampling.temperature)
    yield llama_cpp.llama_sampler_init_dist(seed)


def _candidates(data: Any) -> Any:
    pointer = ctypes.cast(data, ctypes.POINTER(llama_cpp.llama_token_data))  # keeps `data` alive
    return llama_cpp.llama_token_data_array(pointer, len(data), -1, False)


def _apply(sampler: Any, candidates: Any) -> None:
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
