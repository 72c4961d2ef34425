"""The real cache and the decoder: one llama.cpp context, and the calls that end the process when made wrongly.

They are partial copies between split caches, batches longer than promised, and logits that were not asked for: the
scheduler plans none of them, and what is left to this file is asserted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from config.errors import ModelUnavailable
from workers.engine import native
from workers.engine.model import Model
from workers.engine.sequence import Copy, Operation, Restore, Save, Step, Trim
from workers.engine.states import States
from workers.llm.library import llama_cpp

MIB = 1024 * 1024
_ROUND = 256  # llama.cpp rounds a context up to whole blocks of this
# GGML type, and bytes of one element.
CACHE_TYPES: dict[str, tuple[int, float]] = {
    "f32": (llama_cpp.GGML_TYPE_F32, 4.0),
    "f16": (llama_cpp.GGML_TYPE_F16, 2.0),
    "q8_0": (llama_cpp.GGML_TYPE_Q8_0, 34 / 32),
    "q4_0": (llama_cpp.GGML_TYPE_Q4_0, 18 / 32),
}
FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}


class CacheFull(Exception):
    """The batch found no room; the cache is as it was before."""


class DecodeFailed(Exception):
    """What the cache holds now is unknown."""


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """`unified` None: shared on a GPU, split on a CPU, where split decodes 1.2 to 1.3 times faster."""

    context_tokens: int = 8192  # of one conversation; 0 takes all the model was trained for
    slots: int = 8
    idle_slots: int = 8  # more caches to keep, of conversations that are quiet; only when unified
    shared_tokens: int = 0  # the room of all together when unified; 0: four whole conversations
    cache_mb: int = 4096  # what the cache may take: fewer slots, and a smaller shared room, when it is not enough
    unified: bool | None = None
    batch: int = 512
    cache_type: str = "f16"
    flash_attention: str = "auto"
    threads: int = 1


class Runner:
    def __init__(self, model: Model, options: RunnerOptions, states: States | None = None) -> None:
        self._model = model
        self._states = states
        wanted = options.context_tokens or model.trained_tokens
        # A model answers nonsense beyond what it was trained for.
        self.context_tokens = min(wanted, model.trained_tokens or wanted)
        self.unified = model.on_gpu if options.unified is None else options.unified
        self.slots, self.room = self._shape(options)
        self.sequences = self.slots + (options.idle_slots if self.unified else 0)
        self._context: Any = llama_cpp.llama_init_from_model(model.handle, self._params(options))
        if not self._context:
            raise ModelUnavailable(
                f"The model {model.name} cannot be used: there is not enough memory for its cache of "
                f"{self.room if self.unified else self.room * self.slots} tokens."
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.batch = int(llama_cpp.llama_n_batch(self._context))
        self._batch = _Batch(self.batch)

    def close(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
        self._context = None

    def decode(self, steps: Sequence[Step]) -> list[tuple[Step, int]]:
        """Decodes the steps together; returns those that draw, with the place of their logits.
        Raises CacheFull, DecodeFailed."""
        batch, count, places = self._batch, 0, []
        # With split caches llama.cpp decodes together only what stands in the order of the caches: in any other order
        # eight steps took twice the time.
        for step in sorted(steps, key=lambda step: step.slot):
            end = count + step.count
            assert end <= self.batch
            batch.token_ids[count:end] = step.tokens
            batch.positions[count:end] = np.arange(step.start, step.start + step.count)
            batch.sequences[count:end] = step.slot
            batch.wanted[count:end] = 0
            if step.draws:
                batch.wanted[end - 1] = 1
                places.append((step, end - 1))
            count = end
        batch.native.n_tokens = count
        result = llama_cpp.llama_decode(self._context, batch.native)
        if result == 1:
            raise CacheFull
        if result:
            raise DecodeFailed(f"llama_decode answered {result}")
        # On a GPU the work may still go on: waited for here, where the GIL is free.
        llama_cpp.llama_synchronize(self._context)
        return places

    @property
    def context(self) -> Any:
        return self._context

    def carry_out(self, operation: Operation) -> bool:
        """False when the cache could not become what it should: then the operation's slot is empty."""
        match operation:
            case Trim(slot, keep):
                return self._trim(slot, keep)
            case Copy(source, slot, keep):
                assert self.unified, "a part of a split cache cannot be copied"
                if self.cached(source) < keep:
                    return False
                native.memory_seq_cp(self._memory, source, slot, 0, keep)
                return True
            case Save(slot, key, tokens, instead_of):
                assert self._states is not None
                for other in instead_of:
                    self._states.drop(other)
                if not self._states.is_busy:
                    self._states.put(key, tokens, self.save(slot))
                return True
            case Restore(key, slot, keep):
                state = self._states.get(key) if self._states else None
                return state is not None and self.restore(slot, state) and self._trim(slot, keep)

    def _trim(self, slot: int, keep: int) -> bool:
        if not keep:
            return bool(native.memory_seq_rm(self._memory, slot, -1, -1))
        # A sliding window has forgotten the beginning.
        whole = native.memory_seq_pos_min(self._memory, slot) == 0
        if whole and native.memory_seq_rm(self._memory, slot, keep, -1):
            return True
        native.memory_seq_rm(self._memory, slot, -1, -1)
        return False

    def cached(self, slot: int) -> int:
        """Tokens the real cache holds of a slot."""
        return int(native.memory_seq_pos_max(self._memory, slot)) + 1

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)

    # --- states of single slots

    def save(self, slot: int) -> bytes:
        size = llama_cpp.llama_state_seq_get_size(self._context, slot)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._context, buffer, size, slot)
        return bytes(memoryview(buffer)[:written])

    def restore(self, slot: int, state: bytes) -> bool:
        """Into an empty slot; False, and the slot is empty, when the state does not fit this context."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if llama_cpp.llama_state_seq_set_data(self._context, buffer, len(state), slot):
            return True
        native.memory_seq_rm(self._memory, slot, -1, -1)
        return False

    # --- building

    def _shape(self, options: RunnerOptions) -> tuple[int, int]:
        """Slots, and tokens of room: of each when split, of all when unified."""
        each = -(-self.context_tokens // _ROUND) * _ROUND
        per_token = self._model.cache_bytes_per_token(CACHE_TYPES[options.cache_type][1])
        affordable = int(options.cache_mb * MIB / max(per_token, 1.0))
        if not self.unified:
            return max(1, min(options.slots, affordable // each)), each
        room = min(options.shared_tokens or 4 * each, affordable) // _ROUND * _ROUND
        return options.slots, max(room, each)

    def _params(self, options: RunnerOptions) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.room if self.unified else self.room * self.slots
        params.n_batch = max(options.batch, self.sequences + 1)
        params.n_ubatch = min(512, params.n_batch)
        params.n_seq_max = self.sequences
        params.n_outputs_max = self.sequences
        params.kv_unified = self.unified
        params.n_threads = params.n_threads_batch = options.threads
        params.type_k = params.type_v = CACHE_TYPES[options.cache_type][0]
        params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
        return params


class _Batch:
    """Our own arrays, filled anew for every decode. llama_batch_free must never see them."""

    def __init__(self, size: int) -> None:
        token_ids = (llama_cpp.llama_token * size)()
        positions = (llama_cpp.llama_pos * size)()
        sequences = (llama_cpp.llama_seq_id * size)()
        wanted = (ctypes.c_int8 * size)()
        ones = (ctypes.c_int32 * size)(*[1] * size)
        pointer = ctypes.POINTER(llama_cpp.llama_seq_id)
        width, start = ctypes.sizeof(llama_cpp.llama_seq_id), ctypes.addressof(sequences)
        pointers = (pointer * size)(*(ctypes.cast(start + place * width, pointer) for place in range(size)))
        self.native = llama_cpp.llama_batch(0, token_ids, None, positions, ones, pointers, wanted)
        self.token_ids, self.positions = np.ctypeslib.as_array(token_ids), np.ctypeslib.as_array(positions)
        self.sequences, self.wanted = np.ctypeslib.as_array(sequences), np.ctypeslib.as_array(wanted)
        self._held = (ones, pointers)  # the structure has their addresses only
