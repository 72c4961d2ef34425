from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.pages import turbo_stream
from workers.importers.turbo_stream import decode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON.filter(lambda value: isinstance(value, dict | list)))
def test_what_was_encoded_is_decoded(value: Any) -> None:
    assert decode(turbo_stream(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"_1":2},"a",["D",1735689600000]]', {"a": 1735689600000}),
        ('[[1,2,3],["S",4],["M",5,4],["N",{"_5":4}],7,"k"]', [[7], {"k": 7}, {"k": 7}]),
        ('[[1,2],["B","12"],["Z",3],"x"]', ["12", "x"]),
        ("[[-1,-2,-3,-4,-5,-6,-7,99]]", [None, None, None, 0, None, None, None, None]),
        ('[{"_1":2},"a",["P",2]]\nP2:[{"_1":4},"b"]\n', {"a": {"a": "b"}}),
        ('P2:["late"]\n[{"_1":2},"a",["P",2]]', {"a": "late"}),
        ('[{"_1":2},"a",["P",2]]', {"a": None}),
        ('[{"_1":2},"a",["P",2]]\nE2:["x"]', {"a": None}),
        ('[{"_1":2},"a",["SomethingNew",3],"x"]', {"a": ["x"]}),
        ('[["P"],["N"],["D"]]', None),
        ("[]", None),
        ("[[0]]", [None]),
        ('[{"_1":0,"x":1,"_9":1},"self"]', {"self": None}),
    ],
)
def test_forms(text: str, expected: Any) -> None:
    assert decode(text) == expected


@pytest.mark.parametrize("text", ["", "P1:[1]", "{}", "[1", '"x"', "[" * 100_000])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(text)


def test_a_pool_that_multiplies_itself_is_refused() -> None:
    pool: list[Any] = [[n + 1] * 10 for n in range(30)] + ["lol"]
    with pytest.raises(ValueError, match="too often"):
        decode(json.dumps(pool))


def test_a_chain_of_any_depth() -> None:
    value = decode(json.dumps([[n + 1] for n in range(100_000)] + ["end"]))
    depth = 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    assert (value, depth) == ("end", 100_000)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(-9, 9) | st.sampled_from(["P", "N", "M", "S", "D", "x"]) | JSON, max_size=4) | JSON,
        max_size=9,
    )
)
def test_any_pool_ends(pool: list[Any]) -> None:
    decode(json.dumps(pool))
