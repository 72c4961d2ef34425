from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.llm.seam import Seam
from workers.ports import Delta, TokenLogprob


def joined(seam: Seam, pieces: list[str]) -> str:
    shown: list[Delta] = []
    for piece in pieces:
        shown += seam.feed(Delta(piece))
        if seam.stopped:
            break
    else:
        shown += seam.finish()
    assert all(delta.text for delta in shown)
    return "".join(delta.text for delta in shown)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


places = st.lists(st.integers(0, 500), max_size=20)


@given(st.text(), places)
def test_without_a_past_and_stops_everything_is_shown(text: str, at: list[int]) -> None:
    assert joined(Seam(""), cut(text, at)) == text


@example("bca", [1, 2], ["bca", "c"])
@given(st.text("abc", max_size=60), places, st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_no_stop_string_is_shown_however_the_text_is_cut(text: str, at: list[int], stops: list[str]) -> None:
    """The one that is complete first ends the answer, as it does where the text comes letter by letter."""
    found = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    seam = Seam("", stops)
    assert joined(seam, cut(text, at)) == text[: min(found, default=(0, len(text)))[1]]
    assert seam.stopped == bool(found)


def test_a_stop_string_may_have_begun_before_the_cut() -> None:
    seam = Seam("one two EN", ("END",))
    assert joined(seam, ["D three"]) == ""
    assert seam.stopped


def test_an_answer_that_had_stopped_is_known_to_have() -> None:
    assert Seam("one END", ("END",)).stopped


SAID = "The quick brown fox jumps over the lazy dog, and everybody who saw it agre"


@given(st.integers(12, len(SAID)), st.text(max_size=40), places)
def test_what_is_repeated_is_left_out(length: int, rest: str, at: list[int]) -> None:
    assert joined(Seam(SAID), cut(SAID[-length:] + rest, at)) == rest


@pytest.mark.parametrize(
    ("said", "goes_on", "shown"),
    [
        (SAID, "ed that it was quick.", "ed that it was quick."),
        (SAID, "agreed that it was.", "ed that it was."),
        (SAID, "who saw it agreed.", "ed."),
        (SAID, " The quick brown cat", " The quick brown cat"),
        ("no no ", "no no no", "no no no"),  # no letter at its end, and short: meant
        ("1 333", "333", "333"),
        ("It is", " is", " is"),
        ("", "The quick", "The quick"),
    ],
)
def test_where_an_answer_is_taken_up(said: str, goes_on: str, shown: str) -> None:
    for pieces in ([goes_on], list(goes_on)):
        assert joined(Seam(said), pieces) == shown


def test_a_long_answer_that_begins_anew_is_shown_from_where_it_was() -> None:
    said = " ".join(map(str, range(500)))
    assert joined(Seam(said), cut(said + " and so on", [7, 800, 1200])) == " and so on"


def test_what_is_no_repetition_is_shown_at_the_first_letter_that_tells() -> None:
    seam = Seam(SAID)
    assert [list(seam.feed(Delta(piece))) for piece in ("a", "g", "o", "n", "y")] == [
        [],
        [],
        [Delta("a"), Delta("g"), Delta("o")],
        [Delta("n")],
        [Delta("y")],
    ]


@pytest.mark.parametrize(
    ("said", "goes_on", "shown"),
    [
        ("One.\n\n", "\n\nTwo.", "Two."),
        ("One.\n\n", "\nTwo.", "Two."),
        ("One.\n\n", "Two.", "Two."),
        ("One. ", "  Two.", " Two."),
        ("One.", " Two.", " Two."),
        ("One.", "One.", "One."),  # it was told what it had said, and goes on after it
    ],
)
def test_white_space_that_a_prefill_lost_is_not_shown_twice(said: str, goes_on: str, shown: str) -> None:
    for pieces in ([goes_on], list(goes_on)):
        assert joined(Seam(said, prefilled=True), pieces) == shown


def test_halves_of_characters_are_put_together() -> None:
    whole = "\N{GRINNING FACE}"
    high, low = (
        part.decode("utf-16-le", "surrogatepass") for part in (whole.encode("utf-16-le")[i:][:2] for i in (0, 2))
    )
    assert joined(Seam(""), ["a", high, low + "b"]) == f"a{whole}b"
    assert joined(Seam(""), ["a", low, high]) == "a\ufffd\ufffd"


def logprob(token: str) -> TokenLogprob:
    return TokenLogprob(token, -0.5)


def test_log_probabilities_stay_with_their_tokens() -> None:
    seam = Seam("one two three", ("END",))
    deltas = [Delta(text, logprobs=(logprob(text),)) for text in ("one two three", " four", " E", "ND five")]
    shown = [delta for one in deltas for delta in seam.feed(one)]
    assert shown == [Delta(" four", logprobs=(logprob(" four"),)), Delta(" ", logprobs=(logprob(" E"),))]
    assert seam.stopped
