from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.llm.answers import ask
from workers.llm.json_schema import json_schema_to_gbnf
from workers.llm.local import LocalModel

scalars: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}]),
    st.tuples(st.integers(0, 3), st.integers(3, 6)).map(
        lambda lengths: {"type": "string", "minLength": lengths[0], "maxLength": lengths[1]}
    ),
    st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans()).map(lambda value: {"const": value}),
    st.lists(st.text(max_size=5), min_size=1, max_size=3).map(lambda values: {"enum": values}),
)


def larger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(st.text(max_size=4), inner, max_size=4)
    objects = st.tuples(properties, st.sets(st.integers(0, 3))).map(
        lambda pair: {
            "type": "object",
            "properties": pair[0],
            "required": [name for place, name in enumerate(pair[0]) if place in pair[1]],
        }
    )
    arrays = st.tuples(inner, st.integers(0, 2), st.integers(2, 3)).map(
        lambda parts: {"type": "array", "items": parts[0], "minItems": parts[1], "maxItems": parts[2]}
    )
    tuples = st.lists(inner, min_size=1, max_size=2).map(lambda items: {"type": "array", "prefixItems": items})
    choices = st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    return st.one_of(objects, arrays, tuples, choices)


schemas = st.recursive(scalars, larger, max_leaves=8)


def follows(value: Any, schema: dict[str, Any]) -> bool:
    """The part of JSON Schema that the schemas above use."""
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if "anyOf" in schema:
        return any(follows(value, option) for option in schema["anyOf"])
    if schema["type"] == "object":
        return (
            isinstance(value, dict)
            and set(schema["required"]) <= set(value) <= set(schema["properties"])
            and all(follows(member, schema["properties"][name]) for name, member in value.items())
        )
    if schema["type"] == "array" and not isinstance(value, list):
        return False
    if schema["type"] == "array" and "prefixItems" in schema:
        return len(value) == len(schema["prefixItems"]) and all(map(follows, value, schema["prefixItems"]))
    if schema["type"] == "array":
        return schema["minItems"] <= len(value) <= schema["maxItems"] and all(
            follows(v, schema["items"]) for v in value
        )
    if schema["type"] == "string":
        return isinstance(value, str) and schema["minLength"] <= len(value) <= schema["maxLength"]
    kinds = {"null": type(None), "boolean": bool, "integer": int, "number": (int, float)}
    return isinstance(value, kinds[schema["type"]])


@settings(deadline=None, max_examples=60)
@given(schemas, st.integers(0, 1000))
def test_answers_follow_the_schema(tiny: LocalModel, schema: dict[str, Any], seed: int) -> None:
    wanted = {"type": "json_schema", "schema": schema}
    answer = ask(tiny, temperature=1.5, seed=seed, max_tokens=900, response_format=wanted)
    if answer.end.finish_reason == "stop":
        # A character of broken bytes counts once in the grammar and may be several replacement characters here.
        value = json.loads(answer.text)
        assert "\ufffd" in answer.text or follows(value, schema)


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("date", lambda text: int(text[8:10])),
        ("time", lambda text: int(text[:2])),
        ("date-time", lambda text: text.index("T")),
        ("uuid", uuid.UUID),
    ],
)
def test_formats(tiny: LocalModel, form: str, read: Callable[[str], object]) -> None:
    for seed in range(5):
        wanted = {"type": "json_schema", "schema": {"type": "string", "format": form}}
        text = json.loads(ask(tiny, temperature=1.0, seed=seed, response_format=wanted, max_tokens=100).text)
        read(text)
        if form == "date" and int(text[8:10]) <= 28 and text > "0001":
            datetime.date.fromisoformat(text)


def test_schemas_may_refer_to_themselves(tiny: LocalModel) -> None:
    tree = {
        "$defs": {"node": {"type": "object", "properties": {"of": {"$ref": "#/$defs/node"}}}},
        "allOf": [{"$ref": "#/$defs/node"}, {"properties": {"name": {"enum": ["x"]}}, "required": ["name"]}],
    }
    for seed in range(5):
        wanted = {"type": "json_schema", "schema": tree}
        answer = ask(tiny, temperature=1.0, seed=seed, max_tokens=400, response_format=wanted)
        assert json.loads(answer.text)["name"] == "x"


def test_other_properties_where_the_schema_allows_them(tiny: LocalModel) -> None:
    schema = {"properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": {"type": "boolean"}}
    begun = '{"a":1,"b":true,'
    answer = ask(tiny, max_tokens=400, resume=(begun, ()), response_format={"type": "json_schema", "schema": schema})
    assert answer.text.startswith((" ", '"', "\n"))


def test_many_optional_properties_stay_small() -> None:
    schema = {"type": "object", "properties": {f"property_{n}": {"type": "integer"} for n in range(200)}}
    assert len(json_schema_to_gbnf(schema)) < 40_000
