"""Reading arrays of any size: what json.loads would say of intact ones, and as much as there is of broken ones."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import write_big_export
from workers.importers import brackets, deep_json, json_stream, text_window
from workers.importers.json_stream import Element, Unreadable, elements, sample

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def read(data: bytes, **limits: int) -> tuple[list[Any], list[str]]:
    found = list(elements(io.BytesIO(data), **limits))
    values = [element.value for element in found if isinstance(element, Element)]
    return values, [element.reason for element in found if isinstance(element, Unreadable)]


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that nearly everything is cut somewhere."""
    monkeypatch.setattr(text_window, "CHUNK", 7)


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON, max_size=6), st.booleans(), st.sampled_from([None, 2]))
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_reads_what_json_reads(chunk: int, values: list[Any], ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_window, "CHUNK", chunk)
        assert read(data) == (values, [])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text('[]{}",:\\ u0d8abt1-', max_size=60).map(lambda text: ("[" + text).encode()))
def test_any_bytes_end_in_values_or_reasons(data: bytes) -> None:
    list(elements(io.BytesIO(data)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_cut_file_gives_everything_before_the_cut_and_one_reason(data: st.DataObject) -> None:
    whole = json.dumps([{"title": f"c{n}", "text": 'a "quoted" \\ }, { é 🙂'} for n in range(5)]).encode()
    cut = data.draw(st.integers(1, len(whole) - 1))
    values, problems = read(whole[:cut])
    assert values == json.loads(whole)[: len(values)]
    assert len(problems) == 1
    assert "the file ends" in problems[0]


def test_says_in_which_conversation_the_file_ends() -> None:
    assert read(b'[{"a": 1}, {"a": "tw') == ([{"a": 1}], ["the file ends in the middle of conversation 2"])


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize(
    "broken",
    [
        '{"title": }',
        '{"title": "x", "b": undefined}',
        '{"title": "x",, "b": [1, 2}',
        '{"title": "he said "hi" to me", "b": "}"}',
        '{"title": "x, "b": "y"}',
        '{"title": "x", "b": "y}',
        '{"title": "x", "b": {"c": 1}',
        '{"title": "x", "b": "\\q"}',
        '{"title": "x", "b": ' + "9" * 5000 + "}",
        "undefined",
    ],
)
def test_goes_on_after_a_malformed_element(broken: str) -> None:
    first, last = {"title": "first", "text": "a}, {b"}, {"title": "last"}
    values, problems = read(f"[{json.dumps(first)}, {broken}, {json.dumps(last)}]".encode())
    assert values == [first, last]
    assert len(problems) == 1
    assert problems[0].startswith("conversation 2 ")
    assert problems[0].endswith(" and was skipped")


def test_a_malformed_element_shows_how_it_begins() -> None:
    found = list(elements(io.BytesIO(b'[{"title": "Plans", "x": }]')))
    assert isinstance(found[0], Unreadable)
    assert found[0].text.startswith('{"title": "Plans"')


def test_what_is_nested_deeper_than_the_decoder_follows() -> None:
    """A tree of replies is nested twice for each of them."""
    text = '{"title": "first"}'
    made = "".join(['{"n": 1, "many" : [null, '] * 20_000) + '"end"' + ", {}, [] ] }" * 20_000
    for size in (1 << 20, 1 << 24):
        values, problems = read(f"[{text}, {made}, {text}]".encode(), max_element=size)
        assert not problems
        assert len(values) == 3
        at, depth = values[1], 0
        while isinstance(at, dict):
            assert (at["n"], at["many"][0], at["many"][2:]) == (1, None, [{}, []])
            at, depth = at["many"][1], depth + 1
        assert (at, depth) == ("end", 20_000)


@pytest.mark.parametrize("broken", ['{"a" 1}', "{1: 2}", "[}", '{"a": nope}'])
def test_deep_and_malformed_is_a_reason(broken: str) -> None:
    values, problems = read(f"[1, {'[' * 2000}{broken}{']' * 2000}, 2]".encode())
    assert values[0] == 1
    assert problems


def test_deep_nesting_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = b"[" * 200_000
    values, problems = read(b"[1, " + deep + b"]" * 200_000 + b", 2]")
    assert (values[0], values[2], problems) == (1, 2, [])
    monkeypatch.setattr(deep_json, "MAX_DEPTH", 100_000)
    values, problems = read(b"[1, " + deep + b"]" * 200_000 + b", 2]")
    assert values == [1, 2]
    assert "nested too deeply" in problems[0]
    assert read(b"[1, " + deep)[0] == [1]


@pytest.mark.parametrize(
    "inside", [b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 2000 + b"{}," * 100_000 + b"1" + b"]" * 2001]
)
def test_what_is_nested_deeply_is_not_held_without_bounds(inside: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", 10_000)
    monkeypatch.setattr(brackets, "MAX_DEPTH", 10_000)
    monkeypatch.setattr(json_stream, "MAX_PARSED", 1_000_000)
    file = io.BytesIO(b'[{"a": 1}, ' + inside)
    tracemalloc.start()
    try:
        found = list(elements(file))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [isinstance(element, Element) for element in found] == [True, False]
    assert peak < 3 * len(inside)


def test_an_oversized_element_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", 64)
    huge = {"title": 'long "\\', "text": "x" * 5000}
    values, problems = read(json.dumps([{"a": 1}, huge, {"a": 2}]).encode(), max_element=1000)
    assert values == [{"a": 1}, {"a": 2}]
    assert problems == ["conversation 2 is larger than 1000 characters and was skipped"]


@pytest.mark.parametrize("piece", ["[],", "{},", '{"a":1},', '"ab",', "1,"])
def test_nor_is_one_held_that_is_nothing_but_values(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", 1000)
    monkeypatch.setattr(json_stream, "MAX_PARSED", 40_000)
    values, problems = read(f'[{{"a": 1}}, [{piece * 5000} 1], {json.dumps("x" * 50_000)}]'.encode())
    assert (values, len(problems)) == ([{"a": 1}, "x" * 50_000], 1)
    assert "conversation 2 is larger than 128 MiB" in problems[0]


def test_where_letters_take_four_bytes_fewer_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", 64)
    monkeypatch.setattr(text_window, "LONGEST_STEP", 64)
    plain, wide = ('{"a": "' + first + "x" * 700 + '"}' for first in ("x", "🙂"))
    values, problems = read(f"[{plain}, {wide}, 1]".encode(), max_element=1000)
    assert (values, len(problems)) == ([{"a": "x" * 701}, 1], 1)


def test_gives_up_on_a_file_that_is_all_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_MALFORMED", 3)
    values, problems = read(b"[" + b'{"a": },' * 10 + b'{"a": 1}]')
    assert values == []
    assert len(problems) == 4
    assert "reading ended" in problems[-1]


@pytest.mark.parametrize(
    "encoded",
    [
        '[{"a": "é🙂"}]'.encode("utf-8-sig"),
        '[{"a": "é🙂"}]'.encode("utf-16"),
        '[{"a": "é🙂"}]'.encode("utf-16-le"),
        b"\xfe\xff" + '[{"a": "é🙂"}]'.encode("utf-16-be"),
        b' \r\n[\r\n{"a":\r\n"\\u00e9\\ud83d\\ude42"}\r\n,\r\n]\r\n',
        '[{"a": "é🙂"},]'.encode(),
        '{"conversations": [{"a": "é🙂"}], "version": 2}'.encode(),
        '{"a": "é🙂"}'.encode(),
    ],
)
@pytest.mark.parametrize("chunk", [8, 1 << 20])
def test_shapes_and_encodings(chunk: int, encoded: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", chunk)
    assert read(encoded) == ([{"a": "é🙂"}], [])


def test_json_lines() -> None:
    assert read(b'{"a": 1}\n{"a": 2}\n') == ([{"a": 1}, {"a": 2}], [])


def test_nan_and_infinity_become_none() -> None:
    assert read(b"[NaN, [Infinity, -Infinity], 1]") == ([None, [None, None], 1], [])


def test_what_a_database_cannot_hold_is_replaced() -> None:
    data = b'[{"\\ud800k": ["a\\u0000b", "\\udc00", "\\ud83d\\ude42", "\\ud83dx", "raw\x00nul", "\xed\xa0\x80"]}]'
    ([value], problems) = read(data)
    assert not problems
    assert value == {"\ufffdk": ["ab", "\ufffd", "🙂", "\ufffdx", "rawnul", "\ufffd\ufffd\ufffd"]}


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters() | st.characters(categories=["Cs"]) | st.just("\0"), max_size=30))
def test_every_text_can_be_stored(text: str) -> None:
    ([value], _) = read(json.dumps([[text]]).encode())
    assert "\0" not in value[0]
    value[0].encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n", "the file is empty"),
        (b"<html></html>", "the file does not hold JSON"),
        (b"null", "the file does not hold JSON"),
        (b"[1][2]", "more text follows the end of the list"),
        (b"[1, 2", "the file ends before its list does"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    assert reason in read(data)[1][0]


def test_progress_reaches_the_end_and_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_window, "CHUNK", 50)
    data = json.dumps(["é" * (n % 40) for n in range(200)], ensure_ascii=False).encode()
    done = [element.bytes_done for element in elements(io.BytesIO(data))]
    assert done == sorted(done)
    assert len(data) - 5 <= done[-1] <= len(data)


def test_a_sample_reads_only_the_beginning() -> None:
    file = io.BytesIO(b"[" + b'{"a": 1},' * 1_000_000 + b"]")
    assert sample(file, count=3) == [{"a": 1}] * 3
    assert file.tell() <= text_window.CHUNK


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    count = write_big_export(path, 20)
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            assert sum(1 for _ in elements(file)) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20
