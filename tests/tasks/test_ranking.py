"""The stronger side decides; the weaker one is heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ranking import Rarity, rank

TOTAL = 10_000
RARITY = Rarity({"err4471": 2, "the": 9_000, "build": 800, "fails": 500}, TOTAL)


def order(cosines: dict[str, float], matched: dict[str, set[str]], rarity: Rarity = RARITY) -> list[str]:
    return [one.chunk_id for one in rank(cosines, matched, rarity, 0.25)]


def test_an_identifier_beats_what_only_sounds_like_it() -> None:
    assert order({"like": 0.7, "it": 0.3}, {"it": {"err4471", "build"}, "like": {"build", "fails"}}) == ["it", "like"]


def test_a_paraphrase_beats_what_shares_common_words() -> None:
    assert order({"meant": 0.6}, {"words": {"the", "build"}}) == ["meant", "words"]


def test_both_together_beat_each_alone() -> None:
    assert order({"both": 0.6, "meant": 0.6}, {"both": {"build"}})[0] == "both"


def test_noise_is_nothing() -> None:
    assert order({"noise": 0.24}, {"none": set()}) == []
    assert rank({}, {}, Rarity({}, 0), 0.25) == []


def test_why_names_who_decided() -> None:
    found = {
        one.chunk_id: one.why for one in rank({"v": 0.7, "b": 0.7}, {"t": {"err4471"}, "b": {"err4471"}}, RARITY, 0.25)
    }
    assert found == {"v": "vector", "t": "text", "b": "text+vector"}


def test_a_word_that_is_nowhere_makes_the_others_say_less() -> None:
    known = Rarity({"rare": 3}, TOTAL).confidence({"rare"})
    assert known == pytest.approx(1.0, abs=0.2)
    assert Rarity({"rare": 3, "absent": 0}, TOTAL).confidence({"rare"}) < known * 0.6


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(-1, 1)),
    st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from(["err4471", "the", "build", "other"]))),
    st.integers(0, 10**7),
)
def test_scores_are_shares_and_fall(cosines: dict[str, float], matched: dict[str, set[str]], total: int) -> None:
    ranked = rank(cosines, matched, Rarity({"err4471": 2, "the": 9_000}, total), 0.25)
    scores = [one.score for one in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert {one.chunk_id for one in ranked} <= cosines.keys() | matched.keys()
