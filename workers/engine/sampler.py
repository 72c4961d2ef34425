"""Draws one answer's tokens from the logits of a batch: a chain of llama.cpp's samplers, and a grammar beside it."""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import Unusable
from workers.engine import native
from workers.engine.model import Model
from workers.engine.sequence import Prompt
from workers.llm.library import llama_cpp
from workers.ports import TokenLogprob

_SEEDS = 0xFFFFFFFF  # this value itself means "random" to llama.cpp
_PENALTY_WINDOW = 64


class Sampler:
    """Native memory: close it."""

    def __init__(self, model: Model, prompt: Prompt) -> None:
        """Raises Unusable for a grammar that makes no sense, or that what is resumed does not follow."""
        self._model = model
        self._logprobs = prompt.sampling.logprobs
        self._grammar: Any = None
        self._chain: Any = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for part in _parts(model, prompt):
            llama_cpp.llama_sampler_chain_add(self._chain, part)
        try:
            if prompt.grammar is not None:
                self._grammar = _grammar(model, prompt.grammar)
            self._follow(prompt.resumed)
        except Unusable:
            self.close()
            raise

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler:
                llama_cpp.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def draw(self, context: Any, place: int) -> int | None:
        """A token from the logits at this place of the batch; None when the grammar allows nothing more."""
        if not self._grammar:
            return int(native.sampler_sample(self._chain, context, place))  # has accepted it, too
        # Asking the grammar about one token is cheap, about the whole vocabulary is not.
        data = self._candidates(context, place)
        array = _array(data)
        _apply(self._chain, array)
        token = int(array.data[array.selected].id)
        if not self._allowed(token):
            data = self._candidates(context, place)
            array = _array(data)
            _apply(self._grammar, array)
            if not np.isfinite(np.ctypeslib.as_array(data)["logit"]).any():
                return None
            _apply(self._chain, array)
            token = int(array.data[array.selected].id)
            if not self._allowed(token):  # a bias of minus infinity on all that the grammar allows
                return None
        native.sampler_accept(self._chain, token)
        native.sampler_accept(self._grammar, token)
        return token

    def logprob(self, context: Any, place: int, token: int) -> TokenLogprob | None:
        if self._logprobs is None:
            return None
        logits = self._logits(context, place)
        highest = logits.max()  # in single precision but for the sum: the loop's other answers wait for this
        total = float(highest) + math.log(np.exp(logits - highest).sum(dtype=np.float64))
        top: list[tuple[int, float]] = []
        if self._logprobs > 0:
            count = min(self._logprobs, self._model.size)
            ids = np.argpartition(-logits, count - 1)[:count]
            top = [(int(one), float(logits[one]) - total) for one in ids[np.argsort(-logits[ids], kind="stable")]]
        spellings = tuple(self._model.piece(one) for one in (token, *(one for one, _ in top)))
        return TokenLogprob(token, float(logits[token]) - total, tuple(top), spellings)

    def _follow(self, tokens: Iterable[int]) -> None:
        """Tokens drawn before: the grammar moves on, penalties know them, the random numbers behind them are used."""
        for token in tokens:
            _apply(self._chain, _array((llama_cpp.llama_token_data * 1)()))
            native.sampler_accept(self._chain, token)
            if self._grammar:
                if not self._allowed(token):
                    raise Unusable("The beginning of this answer does not follow the requested response format.")
                native.sampler_accept(self._grammar, token)

    def _allowed(self, token: int) -> bool:
        """Accepting what the grammar forbids would end the process."""
        array = _array((llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0)))
        _apply(self._grammar, array)
        return bool(array.data[0].logit != -math.inf)

    def _candidates(self, context: Any, place: int) -> Any:
        data = (llama_cpp.llama_token_data * self._model.size)()
        view = np.ctypeslib.as_array(data)
        view["id"] = np.arange(self._model.size)
        view["logit"] = self._logits(context, place)
        return data

    def _logits(self, context: Any, place: int) -> NDArray[np.float32]:
        """A view of the context's own memory, good until the next decode."""
        return np.ctypeslib.as_array(native.get_logits_ith(context, place), shape=(self._model.size,))


def _parts(model: Model, prompt: Prompt) -> Iterator[Any]:
    sampling = prompt.sampling
    if bias := {int(token): value for token, value in (sampling.logit_bias or {}).items()}:
        entries = (llama_cpp.llama_logit_bias * len(bias))(
            *(llama_cpp.llama_logit_bias(*item) for item in bias.items())
        )
        yield llama_cpp.llama_sampler_init_logit_bias(model.size, len(bias), entries)
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        yield llama_cpp.llama_sampler_init_penalties(model.size, _PENALTY_WINDOW, *penalties)
    if sampling.temperature <= 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    yield llama_cpp.llama_sampler_init_top_k(sampling.top_k)
    yield llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1)
    yield llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1)
    yield llama_cpp.llama_sampler_init_temp(sampling.temperature)
    yield llama_cpp.llama_sampler_init_dist(seed)


def _grammar(model: Model, text: str) -> Any:
    grammar = llama_cpp.llama_sampler_init_grammar(model.vocabulary, text.encode("utf-8", "replace"), b"root")
    if not grammar:
        raise Unusable("The grammar cannot be read: it needs a rule named root, and every rule defined.")
    return grammar


def _array(data: Any) -> Any:
    pointer = ctypes.cast(data, ctypes.POINTER(llama_cpp.llama_token_data))  # keeps `data` alive
    return llama_cpp.llama_token_data_array(pointer, len(data), -1, False)


def _apply(sampler: Any, candidates: Any) -> None:
    native.sampler_apply(sampler, ctypes.byref(candidates))
