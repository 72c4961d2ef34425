"""The example of a whole answer, made of the examples of its fields."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
PREFIX = "#/components/schemas/"


def example_of(schema: Json, named: Json) -> Any:
    """`named`: schemas by the names that `$ref` has. Raises LookupError for a field that has no example."""
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "$ref" in schema:
        return example_of(named[schema["$ref"].removeprefix(PREFIX)], named)
    for variant in schema.get("anyOf", ()):
        if variant.get("type") != "null":
            return example_of(variant, named)
    if schema.get("type") == "array":
        return [example_of(schema["items"], named)]
    if "properties" in schema:
        return {name: _of_field(name, field, named) for name, field in schema["properties"].items()}
    if schema.get("type") == "object":
        return {}
    raise LookupError("no example")


def _of_field(name: str, field: Json, named: Json) -> Any:
    try:
        return example_of(field, named)
    except LookupError as error:
        raise LookupError(f"{name}: {error}") from None
