"""From a JSON schema to a GBNF grammar of the documents that follow it.

The grammar tells shape: types, properties and which are required, enum and const, lengths of strings and arrays,
alternatives, references within the schema, and the formats date, time, date-time and uuid. What a grammar cannot tell,
or only at great length, is not enforced: ranges of numbers, patterns, uniqueness, conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

# llama.cpp writes a repetition out and refuses more than 2,000.
MAX_REPETITION = 1000

_BUILT_IN = {
    "ws": r'| " " | "\n" [ \t]{0,20}',
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": r'"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": r'"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "object": r'"{" ws (string ws ":" ws value (ws "," ws string ws ":" ws value)*)? ws "}"',
    "array": r'"[" ws (value (ws "," ws value)*)? ws "]"',
    "value": "object | array | string | number | boolean | null",
    "date": r'[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])',
    "time": r'([01] [0-9] | "2" [0-3]) (":" [0-5] [0-9]){2} ("." [0-9]{1,6})? ("Z" | [-+] [0-9]{2} ":" [0-5] [0-9])',
    "uuid": r'[0-9a-f]{8} ("-" [0-9a-f]{4}){3} "-" [0-9a-f]{12}',
}
_FORMATS = {"date": "date", "time": "time", "date-time": 'date "T" time', "uuid": "uuid"}
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def json_schema_to_gbnf(schema: dict[str, Any]) -> str:
    """Raises ValueError for a schema that is broken, allows nothing or asks for more than a grammar can hold."""
    return _Converter(schema).grammar()


class _Converter:
    """`visit` answers with a rule name or a group: something that can stand anywhere in a rule."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.rules = {"root": ""}
        self._document = document
        self._references: dict[str, str] = {}

    def grammar(self) -> str:
        self.rules["root"] = f"{self._built_in('ws')} {self.visit(self._document)}"
        return "\n".join(f"{name} ::= {body}" for name, body in self.rules.items())

    def visit(self, schema: Any) -> str:
        if schema is True or schema == {}:
            return self._built_in("value")
        if not isinstance(schema, dict):
            raise ValueError(f"{json.dumps(schema)} is not a schema that something could follow")
        for keyword, convert in self._KEYWORDS.items():
            if keyword in schema:
                return convert(self, schema)
        return self._typed(schema, self._guess_type(schema))

    def _rule(self, body: str) -> str:
        name = f"r{len(self.rules)}"
        self.rules[name] = body
        return name

    def _built_in(self, name: str) -> str:
        if name not in self.rules:
            self.rules[name] = _BUILT_IN[name]
            for needed in re.findall(r"[a-z]+", re.sub(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]', "", _BUILT_IN[name])):
                self._built_in(needed)
        return name

    def _any_of(self, schemas: Sequence[Any]) -> str:
        if not schemas:
            raise ValueError("there is nothing to choose from")
        return self._rule(" | ".join(self.visit(schema) for schema in schemas))

    def _reference(self, schema: dict[str, Any]) -> str:
        pointer = schema["$ref"]
        if pointer not in self._references:
            # The name comes first: what is referred to may refer to itself.
            name = self._references[pointer] = self._rule("")
            self.rules[name] = self.visit(self._resolve(pointer))
        return self._references[pointer]

    def _resolve(self, pointer: Any) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise ValueError(f"the reference {json.dumps(pointer)} leaves the schema")
        found: Any = self._document
        for part in filter(None, pointer[1:].split("/")):
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise ValueError(f"the reference {pointer} leads nowhere") from error
        return found

    def _literals(self, values: Any) -> str:
        if not isinstance(values, list) or not values:
            raise ValueError("enum must list values")
        return self._rule(" | ".join(_literal(value) for value in values))

    def _all_of(self, schema: dict[str, Any]) -> str:
        """Objects described in several places at once."""
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for part in [*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}]:
            part = self._resolve(part["$ref"]) if "$ref" in part else part  # noqa: PLW2901
            if part.get("type", "object") != "object":
                if len(schema["allOf"]) == 1:
                    return self.visit(part)
                raise ValueError("allOf is understood for objects only")
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
            if "additionalProperties" in part:
                merged["additionalProperties"] = part["additionalProperties"]
        return self.visit(merged)

    @staticmethod
    def _guess_type(schema: dict[str, Any]) -> Any:
        if "type" in schema:
            return schema["type"]
        if "properties" in schema or "additionalProperties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        return "string" if "format" in schema or "maxLength" in schema else list(_TYPES)

    def _typed(self, schema: dict[str, Any], kind: Any) -> str:
        if isinstance(kind, list):
            return self._any_of([{**schema, "type": one} for one in kind])
        if kind not in _TYPES:
            raise ValueError(f"the type {json.dumps(kind)} is unknown")
        if kind == "object" and ("properties" in schema or "additionalProperties" in schema):
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return self._string(schema)
        return self._built_in(kind)

    def _string(self, schema: dict[str, Any]) -> str:
        if (form := _FORMATS.get(schema.get("format", ""))) is not None:
            for name in re.findall("[a-z]+", form):
                self._built_in(name)
            return self._rule(f'"\\"" {form} "\\""')
        if "minLength" in schema or "maxLength" in schema:
            times = _times(schema.get("minLength", 0), schema.get("maxLength"))
            return self._rule(f'"\\"" {self._built_in("char")}{times} "\\""')
        return self._built_in("string")

    def _array(self, schema: dict[str, Any]) -> str:
        self._built_in("ws")
        first = [self.visit(item) for item in schema.get("prefixItems", ())]
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        _times(least, most)
        if first:
            # Fixed places are all there, what may follow them follows only when it is described.
            more = schema.get("items", False)
            rest = f' (ws "," ws {self.visit(more)})*' if more else ""
            return self._rule(f'"[" ws {_comma.join(first)}{rest} ws "]"')
        if most == 0 or schema.get("items") is False:
            return self._rule('"[" ws "]"')
        item = self.visit(schema.get("items", True))
        more = _times(max(least - 1, 0), None if most is None else most - 1)
        some = f'{item} (ws "," ws {item}){more}'
        return self._rule(f'"[" ws {some if least else f"({some})?"} ws "]"')

    def _object(self, schema: dict[str, Any]) -> str:
        self._built_in("ws")
        required = set(schema.get("required", ()))
        members = [
            (self._rule(f'{_literal(name)} ws ":" ws {self.visit(value)}'), name in required)
            for name, value in schema.get("properties", {}).items()
        ]
        # Without a word about others, the listed properties are all there is: what people mean who list them.
        if others := schema.get("additionalProperties", False):
            other = self._rule(f'{self._built_in("string")} ws ":" ws {self.visit(others)}')
            members.append((f'{other} (ws "," ws {other})*', False))
        return self._rule(f'"{{" ws {self._members(members)} ws "}}"')

    def _members(self, members: Sequence[tuple[str, bool]]) -> str:
        """In their order, each optional one there or not, commas between those that are."""
        later = ""  # the later members after one that is there
        leading = ""  # the later members when none is there yet: the first has no comma
        for member, needed in reversed(members):
            first = f"{member} {later}"
            leading = first if needed else f"({first} | {self._rule(leading)})" if leading else f"({first})?"
            with_comma = f'ws "," ws {member}'
            later = self._rule(f"{with_comma if needed else f'({with_comma})?'} {later}")
        return leading

    _KEYWORDS: dict[str, Callable[[_Converter, dict[str, Any]], str]] = {  # noqa: RUF012
        "$ref": _reference,
        "const": lambda self, schema: self._literals([schema["const"]]),
        "enum": lambda self, schema: self._literals(schema["enum"]),
        "anyOf": lambda self, schema: self._any_of(schema["anyOf"]),
        "oneOf": lambda self, schema: self._any_of(schema["oneOf"]),
        "allOf": _all_of,
    }


_comma = ' ws "," ws '


def _literal(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _times(least: Any, most: Any) -> str:
    upper = least if most is None else most
    if not isinstance(least, int) or not isinstance(upper, int) or not 0 <= least <= upper:
        raise ValueError(f"no length is at least {json.dumps(least)} and at most {json.dumps(most)}")
    if upper > MAX_REPETITION:
        raise ValueError(f"lengths are limited to {MAX_REPETITION}")
    return f"{{{least},{'' if most is None else most}}}"
