"""From a request's response format to a GBNF grammar."""

from __future__ import annotations

import json
import re
from typing import Any

from config.errors import Unusable
from workers.llm.library import llama_cpp

# A bound in a schema is written out as that many nested rules, and llama.cpp refuses repetitions above 2,000.
MAX_REPETITION = 1000
MAX_GRAMMAR_BYTES = 256 * 1024

_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")


def grammar_of(response_format: dict[str, Any] | None) -> str | None:
    """GBNF for {"type": "json_schema", "schema": {…}} or {"type": "grammar", "grammar": "…"}. Raises Unusable for
    anything else; whether the grammar itself makes sense is found out by the sampler."""
    if response_format is None:
        return None
    match response_format:
        case {"type": "json_schema", "schema": dict() as schema}:
            grammar = _from_schema(schema)
        case {"type": "grammar", "grammar": str() as grammar}:
            pass
        case _:
            raise Unusable("response_format must be a json_schema with a schema or a grammar with GBNF text.")
    if len(grammar.encode("utf-8", "replace")) > MAX_GRAMMAR_BYTES:
        raise Unusable("The response format is too large.")
    return grammar


def _from_schema(schema: dict[str, Any]) -> str:
    _check_bounds(schema)
    try:
        return llama_cpp.llama_grammar.json_schema_to_gbnf(json.dumps(schema))
    except Exception as error:  # the converter asserts, looks up and recurses without checks of its own
        raise Unusable(f"The JSON schema cannot be turned into a grammar: {error or type(error).__name__}") from error


def _check_bounds(schema: Any) -> None:
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            bounds = [node[name] for name in _BOUNDS if isinstance(node.get(name), int | float)]
            quantifiers = re.findall(r"\{([\d,\s]*)\}", str(node.get("pattern", "")))
            bounds += [int(number[:9]) for number in re.findall(r"\d+", " ".join(quantifiers))]
            if any(bound > MAX_REPETITION for bound in bounds):
                raise Unusable(f"The JSON schema repeats something more than {MAX_REPETITION} times.")
            todo += node.values()
        elif isinstance(node, list):
            todo += node
