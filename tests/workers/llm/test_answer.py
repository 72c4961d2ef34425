from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.llm.answer import AnswerText, kept_tokens
from workers.llm.library import llama_cpp
from workers.ports import Delta

# Bytes as models produce them: text, cut anywhere, with broken ends and stray halves in between.
pieces = st.lists(
    st.one_of(
        st.binary(min_size=0, max_size=3),
        st.text(min_size=1, max_size=4).map(lambda text: text.encode("utf-8", "replace")),
        st.sampled_from([b"\xf0\x9f", b"\x98\x80", b"\xc3", b"\xa4", b"ab", b"b"]),
    ),
    max_size=20,
)


def deltas_of(pieces: list[bytes], stop: tuple[str, ...] = (), already: str = "") -> tuple[list[Delta], bool]:
    answer = AnswerText(stop, already)
    said = []
    for token, piece in enumerate(pieces):
        if answer.stopped:
            break
        said.append(answer.feed(token, piece))
    said.append(answer.finish())
    return [delta for delta in said if delta is not None], answer.stopped


@settings(deadline=None)
@given(pieces)
def test_all_that_was_drawn_is_said_in_whole_characters(drawn: list[bytes]) -> None:
    deltas, _ = deltas_of(drawn)
    assert "".join(delta.text for delta in deltas) == b"".join(drawn).decode("utf-8", "replace")
    for delta in deltas:
        assert b"".join(drawn[token] for token in delta.tokens).decode("utf-8", "replace") == delta.text
    tokens = [token for delta in deltas for token in delta.tokens]
    assert tokens == sorted(tokens)


@settings(deadline=None)
@given(pieces, st.lists(st.text("ab\u00e4😀", min_size=1, max_size=3), min_size=1, max_size=3))
def test_nothing_of_a_stop_string_is_said(drawn: list[bytes], stop: list[str]) -> None:
    deltas, stopped = deltas_of(drawn, tuple(stop))
    said = "".join(delta.text for delta in deltas)
    whole = b"".join(drawn).decode("utf-8", "replace")
    found = [(whole.find(text) + len(text), whole.find(text)) for text in stop if text in whole]
    assert stopped == bool(found)
    assert said == whole[: min(found, default=(0, len(whole)))[1]]


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(0, 30), st.text("ab", min_size=1, max_size=3))
def test_a_stop_string_may_begin_in_what_was_said_before(text: str, cut: int, stop: str) -> None:
    text = text.encode("utf-8", "replace").decode() + stop
    already, rest = text[:cut], text[cut:]
    deltas, stopped = deltas_of([character.encode() for character in rest], (stop,), already)
    assert stopped
    said = already + "".join(delta.text for delta in deltas)
    assert said == max(text[: text.find(stop)], already, key=len)


@settings(deadline=None)
@given(pieces, st.integers(0, 20))
def test_kept_tokens_spell_the_beginning_of_the_text(drawn: list[bytes], count: int) -> None:
    deltas, _ = deltas_of(drawn)
    text = "".join(delta.text for delta in deltas[:count])
    kept, spelled = kept_tokens(drawn, text)
    assert text.startswith(b"".join(drawn[:kept]).decode("utf-8", "replace"))
    assert len(b"".join(drawn[:kept]).decode("utf-8", "replace")) == spelled
    given_out = [token for delta in deltas[:count] for token in delta.tokens]
    whole = b"".join(drawn[token] for token in given_out)
    if given_out and not whole.decode("utf-8", "replace").endswith("\ufffd"):
        assert kept >= len(given_out)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_goes_through_the_tokenizer_and_back(reference: llama_cpp.Llama, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    tokens = reference.tokenize(text.encode(), add_bos=False, special=False)
    deltas, _ = deltas_of([reference.detokenize([token]) for token in tokens])
    assert "".join(delta.text for delta in deltas) == text
