"""Found as surely as it is unlikely that both sides err."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ranking import Evidence, Ranked, Rarity, rank, rank_conversations

TOTAL = 10_000
RARITY = Rarity({"err4471": 2, "the": 9_000, "build": 800, "fails": 500}, TOTAL)


def of(chunk_id: str, cosine: float = 0.0, *words: str, about: str = "") -> Evidence:
    return Evidence(chunk_id, about or chunk_id, cosine, frozenset(words))


def order(*found: Evidence) -> list[str]:
    return [one.chunk_id for one in rank(found, RARITY, 0.25)]


def conversations(*found: Evidence, titles: dict[str, str] | None = None, then: set[str] | None = None) -> list[Ranked]:
    words = {about: frozenset(title.split()) for about, title in (titles or {}).items()}
    return rank_conversations(found, words, RARITY, 0.25, then)


def test_an_identifier_beats_what_only_sounds_like_it() -> None:
    assert order(of("like", 0.6, "build", "fails"), of("it", 0.3, "err4471", "build")) == ["it", "like"]


def test_a_paraphrase_beats_what_shares_common_words() -> None:
    assert order(of("meant", 0.6), of("words", 0.0, "the", "build")) == ["meant", "words"]


def test_both_together_beat_each_alone() -> None:
    assert order(of("both", 0.6, "build"), of("a", 0.6), of("b", 0.0, "build"))[0] == "both"


def test_noise_is_nothing() -> None:
    assert order(of("noise", 0.24), of("none")) == []
    assert rank([], Rarity({}, 0), 0.25) == rank_conversations([], {}, Rarity({}, 0), 0.25) == []


def test_why_names_who_decided() -> None:
    found = [of("v", 0.7), of("b", 0.7, "err4471"), of("t", 0.0, "err4471")]
    assert {one.chunk_id: one.why for one in rank(found, RARITY, 0.25)} == {
        "v": "vector",
        "t": "text",
        "b": "text+vector",
    }


def test_a_word_that_is_nowhere_makes_the_others_say_less() -> None:
    rare = frozenset({"rare"})
    known = Rarity({"rare": 3}, TOTAL).confidence(rare)
    assert known == pytest.approx(1.0, abs=0.2)
    assert Rarity({"rare": 3, "absent": 0}, TOTAL).confidence(rare) < known * 0.6


def test_words_of_one_conversation_count_together_and_a_little_less() -> None:
    ranked = conversations(
        of("a1", 0.0, "build", about="spread"),
        of("a2", 0.0, "err4471", about="spread"),
        of("b", 0.0, "build", "err4471", about="joint"),
        of("c", 0.0, "build", about="half"),
    )
    assert [one.conversation_id for one in ranked] == ["joint", "spread", "half"]


def test_the_title_counts_and_the_best_passage_speaks() -> None:
    found = conversations(
        of("a1", 0.5, about="a"), of("a2", 0.6, about="a"), of("b", 0.6, about="b"), titles={"a": "err4471"}
    )
    assert [(one.conversation_id, one.chunk_id, one.why) for one in found] == [
        ("a", "a2", "text+vector"),
        ("b", "b", "vector"),
    ]


def test_the_named_time_comes_first_unless_nothing_fits_there() -> None:
    then, other, faint = of("then", 0.5), of("other", 0.6), of("faint", 0.1)
    assert [one.chunk_id for one in conversations(then, other, faint)] == ["other", "then"]
    assert [one.chunk_id for one in conversations(then, other, faint, then={"then", "faint"})] == [
        "then",
        "faint",
        "other",
    ]
    sure = of("sure", 0.0, "err4471", "build", "fails", "the")
    assert conversations(sure, faint, then={"faint"})[0].chunk_id == "sure"


WORDS = st.frozensets(st.sampled_from(["err4471", "the", "build", "other"]))
PASSAGES = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.sampled_from("xyz"), st.floats(-1, 1), WORDS), max_size=6
)


@given(PASSAGES, st.integers(0, 10**7), st.none() | st.sets(st.sampled_from("xyz")))
def test_scores_are_shares_and_fall(
    drawn: dict[str, tuple[str, float, frozenset[str]]], total: int, then: set[str] | None
) -> None:
    found = [Evidence(chunk_id, *rest) for chunk_id, rest in drawn.items()]
    rarity = Rarity({"err4471": 2, "the": 9_000}, total)
    by_conversation = rank_conversations(found, {}, rarity, 0.25, then)
    for ranked in (rank(found, rarity, 0.25), by_conversation):
        scores = [one.score for one in ranked]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores)
    assert len({one.conversation_id for one in by_conversation}) == len(by_conversation)
