"""An embedder without weights: words and letter triples counted into fixed places. Finds shared words, not meaning."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w{1,8}|[^\w\s]")
_TRIPLE_WEIGHT = 0.3  # a shared word counts for more than the triples it brings along


class HashingEmbedder:
    name = "hashing-384"
    dimension = 384
    max_tokens = 256  # nothing is cut; chunks as for the real model

    def embed(self, texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for feature, weight in _features(text):
                # CRC-32 is the same in every process, unlike hash(). Its low bit is the sign, so that features that
                # fall on one place cancel out on average.
                code = zlib.crc32(feature.encode("utf-8", "replace"))
                vectors[row, (code >> 1) % self.dimension] += weight if code & 1 else -weight
        empty = ~vectors.any(axis=1)  # no words, or all of them cancelled out
        vectors[empty, 0] = 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_TOKEN.findall(text)) for text in texts]


def _features(text: str) -> Iterator[tuple[str, float]]:
    words = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    triples: Counter[str] = Counter()
    for word, count in words.items():
        marked = f"<{word}>"
        for place in range(len(marked) - 2):
            triples[marked[place : place + 3]] += count
        yield f"word {word}", float(np.log1p(count))
    for triple, count in triples.items():
        yield f"triple {triple}", _TRIPLE_WEIGHT * float(np.log1p(count))
