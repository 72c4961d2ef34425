"""BERT on 8-bit integers, by oneDNN's kernels for processors that multiply them (AVX-512 VNNI and its successors).

Weights are rounded to 8 bits per output channel, activations to 8 bits with ranges measured once on sample texts: a
text's vector does not depend on what it shares a batch with. The last matrix of each layer stays in a wide type: its
input has outliers, and it alone would cost more accuracy than all the others together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

# How much of the difference between input channels is moved into the weights (0 none, 1 all), and how much wider than
# measured the ranges are made. The cosine to single precision, 0.9992 on 160 other texts, hardly depends on them: from
# 0.5 to 0.8 and from 1.0 to 1.3 it is 0.9990 or more.
_SMOOTHING = 0.7
_MARGIN = 1.3


class Int8Bert:
    """Stands in for the first module of a sentence-transformers model; the others (pooling …) are run as they are."""

    def __init__(self, model: SentenceTransformer, ids: Tensor, lengths: Tensor, wide: torch.dtype) -> None:
        bert: Any = model[0].auto_model
        config = bert.config
        if type(bert).__name__ != "BertModel" or config.hidden_act != "gelu" or config.is_decoder:
            raise ValueError(f"no 8-bit form of {type(bert).__name__}")
        self.label = f"int8 with {str(wide).removeprefix('torch.')}"
        self._embeddings = bert.embeddings
        self._rest: list[Any] = list(model)[1:]
        self._heads = config.num_attention_heads
        ranges = _measure(model, ids, lengths)
        self._layers = [_Layer(layer, ranges, self._heads, wide) for layer in bert.encoder.layer]

    def __call__(self, ids: Tensor, lengths: Tensor) -> Tensor:
        count, longest = ids.shape
        keep = torch.arange(longest) < lengths[:, None]
        hidden = self._embeddings(input_ids=ids).view(count * longest, -1)
        for layer in self._layers:
            hidden = layer(hidden, keep)
        features: dict[str, Any] = {
            "token_embeddings": hidden.view(count, longest, -1),
            "attention_mask": keep.long(),
        }
        for module in self._rest:
            features = module(features)
        return functional.normalize(features["sentence_embedding"].float(), dim=-1)


class _Layer:
    def __init__(
        self, layer: Any, ranges: dict[nn.Module, tuple[Tensor, Tensor]], heads: int, wide: torch.dtype
    ) -> None:
        attention, output = layer.attention, layer.output
        into = (attention.self.query, attention.self.key, attention.self.value)
        scale = 1 / math.sqrt(attention.self.query.out_features // heads)  # of the attention, folded into the queries
        weight = torch.cat([into[0].weight * scale, into[1].weight, into[2].weight])
        bias = torch.cat([into[0].bias * scale, into[1].bias, into[2].bias])
        self._heads = heads
        self._wide = wide
        self._into = _Linear8(weight, bias, ranges[into[0]])
        self._out = _Linear8(attention.output.dense.weight, attention.output.dense.bias, ranges[attention.output.dense])
        self._norm = attention.output.LayerNorm
        self._up = _Linear8(
            layer.intermediate.dense.weight, layer.intermediate.dense.bias, ranges[layer.intermediate.dense]
        )
        self._down = (output.dense.weight.to(wide), output.dense.bias.to(wide))
        self._last_norm = output.LayerNorm

    def __call__(self, hidden: Tensor, keep: Tensor) -> Tensor:
        attended = self._attention(self._into(hidden, self._wide), keep)
        hidden = self._norm(self._out(attended, torch.float32).add_(hidden))
        up = self._up(hidden, self._wide, gelu=True)
        return self._last_norm(functional.linear(up, *self._down) + hidden)

    def _attention(self, projected: Tensor, keep: Tensor) -> Tensor:
        count, longest = keep.shape
        query, key, value = projected.view(count, longest, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        # Products and softmax apart: for these short rows twice as fast as the fused kernel in bfloat16.
        scores = query @ key.transpose(-1, -2)
        if not keep.all():
            scores.masked_fill_(~keep[:, None, None, :], -math.inf)
        return (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(count * longest, -1)


class _Linear8:
    """One or more linear layers with the same input. Unsigned activations: for signed ones oneDNN has no kernel but its
    reference loop, a thousand times slower."""

    def __init__(self, weight: Tensor, bias: Tensor, span: tuple[Tensor, Tensor]) -> None:
        low, high = (bound * _MARGIN for bound in span)
        largest = torch.maximum(low.abs(), high.abs()).clamp_min(1e-6)
        channel = largest**_SMOOTHING / weight.abs().amax(dim=0).clamp_min(1e-6) ** (1 - _SMOOTHING)
        lowest = float((low / channel).min().clamp_max(0))
        self._scale = (float((high / channel).max().clamp_min(0)) - lowest) / 255
        self._zero = round(-lowest / self._scale)
        self._factor = 1 / (channel * self._scale)
        self._offset = torch.full_like(self._factor, self._zero + 0.5)  # turns the conversion's cutting into rounding
        weight = weight * channel
        self._weight_scale = weight.abs().amax(dim=1) / 127
        rounded = (weight / self._weight_scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._weight_zero = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = bias

    def __call__(self, inputs: Tensor, dtype: torch.dtype, *, gelu: bool = False) -> Tensor:
        rounded = torch.addcmul(self._offset, inputs, self._factor).clamp_(0, 255).to(torch.uint8)
        post, approximation = ("gelu", "none") if gelu else ("none", "")
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded,
            self._scale,
            self._zero,
            self._weight,
            self._weight_scale,
            self._weight_zero,
            self._bias,
            1.0,
            0,
            dtype,
            post,
            [],
            approximation,
        )
        return result


def _measure(model: SentenceTransformer, ids: Tensor, lengths: Tensor) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """The smallest and largest value of each input channel of each linear layer, over the samples."""
    ranges: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    mask = torch.arange(ids.shape[1]) < lengths[:, None]

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0][mask]
        ranges[module] = (seen.amin(dim=0), seen.amax(dim=0))

    bert: Any = model[0].auto_model
    linear = [module for module in bert.encoder.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_pre_hook(note) for module in linear]
    try:
        model({"input_ids": ids, "attention_mask": mask.long()})
    finally:
        for handle in handles:
            handle.remove()
    return ranges
