"""How a conversation is cut: nothing lost, nothing too large, and cut the same way again when it grows or changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gguf_model import make_tiny_model
from workers.llm.local import LocalModel
from workers.ports import Turn
from workers.summaries.plan import Item, Piece, cut, items_of

WORDS = st.text("ab .!?\n", max_size=60)
WILD = st.text(max_size=80)
TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), WORDS | WILD), max_size=40)
ITEMS = st.lists(st.builds(Item, st.text("abc", max_size=6), st.integers(1, 60)), max_size=60)


def words(text: str) -> int:
    return len(text.split())


def talk(count: int, start: int = 0) -> list[Item]:
    """Distinct messages of 10 tokens."""
    return [Item(f"message {place}", 10) for place in range(start, start + count)]


def pieces_of(items: list[Item], limit: int = 100, known: set[str] | None = None) -> list[Piece]:
    return cut(items, limit, known or set(), made_by="model")


def digests(pieces: list[Piece]) -> list[str]:
    return [piece.digest for piece in pieces]


def visible(text: str) -> str:
    return "".join(text.split())


# --- messages become items


@given(TURNS, st.integers(12, 60))
def test_every_word_is_in_exactly_one_item_and_in_order(turns: list[Turn], limit: int) -> None:
    items = items_of(turns, words, limit)
    said = "".join(visible(item.text.partition(": ")[2]) for item in items)
    assert said == "".join(visible(turn.content) for turn in turns)


@given(TURNS, st.integers(12, 60))
def test_no_item_is_larger_than_a_piece(turns: list[Turn], limit: int) -> None:
    assert all(words(item.text) + 3 == item.tokens <= limit for item in items_of(turns, words, limit))


def test_a_long_message_is_parted_at_sentences_and_says_so() -> None:
    turn = Turn("user", "One two three four. " * 6 + "The end.", datetime(2025, 1, 31, 23, tzinfo=UTC))
    first, *others = items_of([turn], words, 16)
    assert first.text.startswith("User: One two")
    assert others
    assert all(item.text.startswith("User (continued): One two") for item in others)
    assert all(item.text.endswith(".") for item in (first, *others))
    assert {(item.first_day, item.last_day) for item in (first, *others)} == {("2025-01-31", "2025-01-31")}


def test_messages_that_say_nothing_are_left_out() -> None:
    assert items_of([Turn("user", " \n"), Turn("assistant", "")], words, 20) == []


# --- items become pieces


@given(ITEMS, st.integers(20, 100))
def test_every_item_is_in_exactly_one_piece_and_in_order(items: list[Item], limit: int) -> None:
    assert [item for piece in pieces_of(items, limit) for item in piece.items] == items


@given(ITEMS, st.integers(20, 100))
def test_every_piece_fits_but_an_item_that_does_not(items: list[Item], limit: int) -> None:
    for piece in pieces_of(items, limit):
        assert sum(item.tokens for item in piece.items) <= limit or len(piece.items) == 1


@given(st.lists(st.builds(Item, st.text("abc", max_size=6), st.integers(1, 30)), max_size=80))
def test_pieces_are_half_full_and_hold_two_so_that_joining_comes_to_an_end(items: list[Item]) -> None:
    """Items of at most a third, as summaries of pieces are."""
    for piece in pieces_of(items, 90)[:-1]:
        assert sum(item.tokens for item in piece.items) >= 45
        assert len(piece.items) >= 2


@given(ITEMS, ITEMS, st.integers(20, 100))
def test_what_is_appended_changes_the_last_piece_only(before: list[Item], new: list[Item], limit: int) -> None:
    old = digests(pieces_of(before, limit))
    assert digests(pieces_of(before + new, limit))[: max(0, len(old) - 1)] == old[:-1]


@given(ITEMS, st.lists(ITEMS, max_size=4), st.integers(20, 100))
@settings(max_examples=60)
def test_it_does_so_too_when_the_earlier_pieces_are_known(
    before: list[Item], more: list[list[Item]], limit: int
) -> None:
    items, known = before, set(digests(pieces_of(before, limit)))
    for new in more:
        old = digests(pieces_of(items, limit, known))
        items = items + new
        grown = digests(pieces_of(items, limit, known))
        assert grown[: max(0, len(old) - 1)] == old[:-1]
        known = set(grown)


def test_the_same_is_cut_the_same_way() -> None:
    assert pieces_of(talk(200)) == pieces_of(talk(200))
    assert digests(pieces_of(talk(200))) != digests(cut(talk(200), 100, set(), made_by="another model"))


def test_ten_messages_at_the_end_are_one_new_piece() -> None:
    """Wherever the last piece stood: it is read again with them, or it is kept and they stand alone."""
    for length in range(500, 540):
        known = set(digests(pieces_of(talk(length), 400)))
        grown = digests(pieces_of(talk(length + 10), 400, known))
        assert len(set(grown) - known) == 1


def test_behind_an_edit_the_cuts_fall_where_they_fell() -> None:
    """Of 300 pieces a few around the edit are new; cut greedily, all behind it would be."""
    items = talk(2000)
    known = set(digests(pieces_of(items)))
    for place in (0, 500, 1000, 1500):
        for edited in ([*items[:place], *items[place + 1 :]], [*items[:place], Item("new", 37), *items[place:]]):
            assert len(set(digests(pieces_of(edited, 100, known))) - known) <= 12


def test_a_piece_names_its_days() -> None:
    piece = Piece(
        (Item("a", 1), Item("b", 1, "2025-01-01", "2025-01-02"), Item("c", 1, "2025-01-03", "2025-01-03")), ""
    )
    assert piece.days == ("2025-01-01", "2025-01-03")
    assert Piece((Item("a", 1),), "").days == ("", "")


# --- a real tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    model = LocalModel(make_tiny_model(tmp_path_factory.mktemp("m") / "tiny.gguf"), n_ctx=512, n_threads=1)
    yield model
    model.close()


@given(TURNS)
@settings(max_examples=40, deadline=None)
def test_joined_text_has_no_more_tokens_than_were_counted(model: LocalModel, turns: list[Turn]) -> None:
    items = items_of(turns, model.count_tokens, 64)
    for piece in cut(items, 128, set(), made_by="m"):
        assert model.count_tokens(piece.text) <= max(128, piece.items[0].tokens)
