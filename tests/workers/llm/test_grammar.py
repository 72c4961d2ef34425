from __future__ import annotations

import json
from typing import Any

import pytest

from config.errors import Unusable
from tests.workers.llm.answers import ask
from workers.llm.grammar import grammar_of
from workers.llm.local import LocalModel

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "kind": {"enum": ["a", "b", "ö"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
}
AS_SCHEMA = {"type": "json_schema", "schema": SCHEMA}


@pytest.mark.parametrize("seed", [None, *range(12)])
def test_answers_parse(tiny: LocalModel, seed: int | None) -> None:
    sampling: dict[str, Any] = {} if seed is None else {"temperature": 1.2, "seed": seed}
    answer = ask(tiny, response_format=AS_SCHEMA, max_tokens=400, **sampling)
    assert answer.end.finish_reason == "stop"
    value = json.loads(answer.text)
    assert set(value) == set(SCHEMA["properties"])  # type: ignore[call-overload]
    assert isinstance(value["age"], int)
    assert value["kind"] in ("a", "b", "ö")
    assert 1 <= len(value["tags"]) <= 3


def test_a_resumed_answer_goes_on_in_the_grammar(tiny: LocalModel) -> None:
    whole = ask(tiny, response_format=AS_SCHEMA, max_tokens=400)
    for count in range(0, len(whole.deltas) + 1, 3):
        text = "".join(delta.text for delta in whole.deltas[:count])
        tokens = tuple(token for delta in whole.deltas[:count] for token in delta.tokens)
        rest = ask(tiny, response_format=AS_SCHEMA, max_tokens=400, resume=(text, tokens))
        assert text + rest.text == whole.text
        assert rest.end == whole.end


def test_a_resumed_text_of_another_model_goes_on_too(tiny: LocalModel) -> None:
    begun = '{"name": "Zoë", "age": 4'
    answer = ask(tiny, response_format=AS_SCHEMA, max_tokens=400, resume=(begun, ()))
    assert json.loads(begun + answer.text)["name"] == "Zoë"


def test_what_does_not_follow_the_grammar_cannot_be_resumed(tiny: LocalModel) -> None:
    with pytest.raises(Unusable, match="does not follow"):
        ask(tiny, response_format=AS_SCHEMA, resume=("Once upon a time", ()))


def test_any_object_is_an_object(tiny: LocalModel) -> None:
    answers = [
        ask(tiny, response_format={"type": "json_object"}, max_tokens=300, temperature=1.2, seed=seed)
        for seed in range(10)
    ]
    whole = [answer.text for answer in answers if answer.end.finish_reason == "stop"]
    assert whole
    assert all(isinstance(json.loads(text), dict) for text in whole)
    assert all(answer.text.lstrip().startswith("{") for answer in answers)


def test_a_grammar_that_is_used_up_ends_the_answer(tiny: LocalModel) -> None:
    answer = ask(tiny, response_format={"type": "grammar", "grammar": 'root ::= "yes" | "no"'})
    assert answer.text in ("yes", "no")
    assert answer.end.finish_reason == "stop"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"type": "json_schema"},
        {"type": "json_schema", "schema": "no"},
        {"type": "xml", "schema": {}},
        {"type": "grammar", "grammar": 7},
        {"type": "grammar", "grammar": "x" * 300_000},
        {"type": "json_schema", "schema": {"type": "unheard of"}},
        {"type": "json_schema", "schema": {"$ref": "https://example.org/schema.json"}},
        {"type": "json_schema", "schema": {"type": "string", "maxLength": 10**9}},
        {
            "type": "json_schema",
            "schema": {"type": "array", "items": [{"type": "array", "items": {}, "minItems": 10**9}]},
        },
        {"type": "json_schema", "schema": {"type": "string", "minLength": 3, "maxLength": 2}},
        {"type": "json_schema", "schema": {"type": "string", "minLength": "3"}},
        {"type": "json_schema", "schema": {"$ref": "#/$defs/missing"}},
        {"type": "json_schema", "schema": {"properties": {"x": False}}},
        {"type": "json_schema", "schema": {"properties": 3}},
        {"type": "json_schema", "schema": {"enum": []}},
        {"type": "json_schema", "schema": {"anyOf": []}},
        {"type": "json_schema", "schema": nested(2000)},
        {"type": "grammar", "grammar": " "},
        {"type": "grammar", "grammar": 'root ::= "a"{5,3}'},
        {"type": "grammar", "grammar": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000},
    ],
)
def test_what_makes_no_grammar_is_unusable(bad: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        grammar_of(bad)


def test_long_strings_are_allowed(tiny: LocalModel) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "maxLength": 1000}}, "required": ["x"]}
    answer = ask(tiny, response_format={"type": "json_schema", "schema": schema})
    assert answer.text.strip().startswith("{")
