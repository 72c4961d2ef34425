"""From a request's response format to a grammar that is safe to hand to llama.cpp."""

from __future__ import annotations

import itertools
import re
from typing import Any

from config.errors import Unusable
from workers.llm.json_schema import json_schema_to_gbnf

MAX_BYTES = 64 * 1024
MAX_DEPTH = 100  # llama.cpp parses parentheses by recursion and dies of too many

_RANGE = re.compile(r"\{\s*(\d+)\s*,\s*(\d+)\s*\}")


def grammar_of(response_format: dict[str, Any] | None) -> str | None:
    """GBNF for {"type": "json_schema", "schema": {…}}, {"type": "json_object"} or {"type": "grammar", "grammar": "…"}.
    Raises Unusable; whether every rule is defined is found out by the sampler."""
    if response_format is None:
        return None
    match response_format:
        case {"type": "json_schema", "schema": dict() as schema}:
            grammar = _from_schema(schema)
        case {"type": "json_object"}:
            grammar = _from_schema({"type": "object"})
        case {"type": "grammar", "grammar": str() as grammar}:
            pass
        case _:
            raise Unusable(
                "response_format must be a json_schema with a schema, a json_object or a grammar with GBNF text."
            )
    _check(grammar)
    return grammar


def _from_schema(schema: dict[str, Any]) -> str:
    try:
        return json_schema_to_gbnf(schema)
    except ValueError as error:
        raise Unusable(f"The JSON schema cannot be followed: {error}.") from error
    except (AttributeError, TypeError, KeyError) as error:
        raise Unusable("The JSON schema cannot be followed: a keyword has a value of the wrong type.") from error
    except RecursionError as error:
        raise Unusable("The JSON schema cannot be followed: it is nested too deeply.") from error


def _check(grammar: str) -> None:
    """What llama.cpp's parser does not check itself: it would end or hang the process."""
    if not grammar.strip():
        raise Unusable("The grammar is empty.")  # to llama.cpp that means: anything goes
    if len(grammar.encode("utf-8", "replace")) > MAX_BYTES:
        raise Unusable(f"The response format makes a grammar of more than {MAX_BYTES // 1024} KiB.")
    if any(int(least) > int(most) for least, most in _RANGE.findall(grammar)):
        raise Unusable("The grammar repeats something at least more often than at most.")
    steps = ({"(": 1, ")": -1}.get(character, 0) for character in grammar)
    if max(itertools.accumulate(steps)) > MAX_DEPTH:
        raise Unusable("The grammar is nested too deeply.")
