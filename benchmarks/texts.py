"""Texts of mixed lengths, cut from generated conversations: the same seed gives the same ones."""

from __future__ import annotations

import random

from tests.exports import some_conversations

# Two thirds of a word per token, more or less; 250 tokens are what the default model reads at most.
MIN_WORDS, MAX_WORDS = 4, 185


def mixed(count: int, seed: int) -> list[str]:
    """`count` texts whose lengths in words are spread evenly, in no order."""
    words = _words(count * MAX_WORDS // 2 + MAX_WORDS, seed)
    chance = random.Random(seed)
    texts, at = [], 0
    for _ in range(count):
        length = chance.randint(MIN_WORDS, MAX_WORDS)
        at = at % (len(words) - length)
        texts.append(" ".join(words[at : at + length]))
        at += length
    return texts


def questions(count: int, seed: int) -> list[str]:
    """What people type into a search box: a few words each."""
    words = [word for word in _words(20_000, seed) if word.isalpha()]
    chance = random.Random(seed)
    return [" ".join(chance.sample(words, chance.randint(2, 7))).lower() for _ in range(count)]


def _words(count: int, seed: int) -> list[str]:
    words: list[str] = []
    while len(words) < count:
        for conversation in some_conversations(50, seed=seed):
            for node in conversation["mapping"].values():
                if node["message"]:
                    words += node["message"]["content"]["parts"][0].split()
        seed += 1
    return words
