"""llama.cpp's short calls with the GIL kept: letting it go costs a wait for it wherever another thread is busy, and
beside one busy thread the engine fell to half its speed. Long calls (loading, decoding) go through `llama_cpp` itself,
which lets it go."""

from __future__ import annotations

import ctypes
from typing import Any

from workers.llm.library import llama_cpp

_releasing = llama_cpp.llama_cpp._lib
_keeping = ctypes.PyDLL(_releasing._name)


def short_call(name: str) -> Any:
    """The function of this name, with the same types."""
    known, function = getattr(_releasing, name), getattr(_keeping, name)
    function.argtypes, function.restype = known.argtypes, known.restype
    return function


memory_seq_rm = short_call("llama_memory_seq_rm")
memory_seq_cp = short_call("llama_memory_seq_cp")
memory_seq_pos_min = short_call("llama_memory_seq_pos_min")
memory_seq_pos_max = short_call("llama_memory_seq_pos_max")
get_logits_ith = short_call("llama_get_logits_ith")
sampler_sample = short_call("llama_sampler_sample")
sampler_apply = short_call("llama_sampler_apply")
sampler_accept = short_call("llama_sampler_accept")
token_to_piece = short_call("llama_token_to_piece")
vocab_is_eog = short_call("llama_vocab_is_eog")
