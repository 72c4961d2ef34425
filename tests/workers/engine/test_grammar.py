from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config.errors import Unusable
from tests.gguf_model import make_tiny_model
from tests.workers.engine.answers import prompt_of, read
from workers.engine.engine import Engine, EngineOptions
from workers.engine.runner import RunnerOptions
from workers.llm.grammar import grammar_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 0, "maximum": 999},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "count", "kind", "tags"],
    "additionalProperties": False,
}


def test_answers_in_a_grammar_always_parse(tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "m.gguf")
    engine = Engine.load(path, EngineOptions(RunnerOptions(context_tokens=1024, slots=4)))
    grammar = grammar_of({"type": "json_schema", "schema": SCHEMA})
    answers = [
        engine.submit(
            prompt_of([seed + 3] * 5, temperature=1.5 * (seed % 3), seed=seed, max_tokens=400, grammar=grammar)
        )
        for seed in range(16)
    ]
    free = engine.submit(prompt_of([9] * 5, max_tokens=20))
    for answer in answers:
        said = read(answer)
        assert said.end.finish_reason == "stop"
        value = json.loads(said.text)
        assert set(value) == set(SCHEMA["required"])
        assert value["kind"] in ("a", "b")
    assert read(free).end.completion_tokens <= 20
    with pytest.raises(Unusable):
        engine.submit(prompt_of([1], grammar="root ::= missing"))
    engine.close()
