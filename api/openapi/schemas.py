"""JSON schemas of all bodies: those that handlers take, and those that they answer with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute
from pydantic import BaseModel, TypeAdapter

from api.openapi import problems
from api.openapi.examples import PREFIX, example_of
from api.openapi.operations import OPERATIONS
from api.openapi.shapes import Media
from api.schemas import INPUTS

Json = dict[str, Any]


class Schemas:
    """`named`: as components/schemas has them; `taken`: operation → model of its body; `optional`: where that may be
    left out."""

    def __init__(self, app: Litestar) -> None:
        found = list(_taken(app))
        self.taken = {name: model for name, model, _ in found}
        self.optional = {name for name, _, may_be_left_out in found if may_be_left_out}
        types: list[tuple[Any, Any, TypeAdapter[Any]]] = [
            (_key(one), "validation", TypeAdapter(one)) for one in {_key(one): one for one in self._sent()}.values()
        ]
        types += [
            (_key(one), "serialization", TypeAdapter(one)) for one in {_key(one): one for one in _told()}.values()
        ]
        made, rest = TypeAdapter.json_schemas(types, ref_template=PREFIX + "{model}")
        names = {name: _short(name) for name in rest.get("$defs", {})}
        self.named: Json = {names[name]: _renamed(schema, names) for name, schema in rest.get("$defs", {}).items()}
        self._of = {key: _renamed(schema, names) for (key, _mode), schema in made.items()}
        self.named["JobIn"]["properties"] |= self._submittable()

    def of(self, shape: Any) -> Json:
        return self._of[_key(shape)]

    def example(self, shape: Any) -> Any:
        return example_of(self.of(shape), self.named)

    def _submittable(self) -> Json:
        """What a job takes is by its kind; the model of the body leaves that to the handler."""
        inputs = {kind.value: self.of(shape) for kind, shape in INPUTS.items()}
        told = ", ".join(f"{kind}: {schema['$ref'].removeprefix(PREFIX)}" for kind, schema in inputs.items())
        return {
            "kind": {"type": "string", "enum": list(inputs)},
            "input": {"anyOf": list(inputs.values()), "default": {}, "description": f"By the kind; {told}"},
        }

    def _sent(self) -> Iterator[Any]:
        yield from self.taken.values()
        yield from INPUTS.values()
        for operation in OPERATIONS.values():
            if operation.sent is not None and operation.sent.shape is not None:
                yield operation.sent.shape


def _key(shape: Any) -> str:
    return f"{getattr(shape, '__module__', '')}.{getattr(shape, '__qualname__', shape)}"


def _taken(app: Litestar) -> Iterator[tuple[str, Any, bool]]:
    """Operation, the model of its body, and whether that may be left out."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if (field := handler.parsed_fn_signature.parameters.get("data")) is not None:
                    model = next(filter(_is_model, (field.annotation, *field.args)))
                    yield f"{method} {route.path_format}", model, field.is_optional


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _told() -> Iterator[Any]:
    yield problems.Problem
    for operation in OPERATIONS.values():
        for answer in operation.answers.values():
            for one in answer if isinstance(answer, tuple) else (answer,):
                if one is not None and not isinstance(one, Media):
                    yield one


def _short(name: str) -> str:
    """A name that two modules have comes as `api__prompts__PromptIn`; here it is PromptsPromptIn."""
    *modules, own = name.split("__")
    return modules[-1].title().replace("_", "") + own if modules else own


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(found.get("title"), str) and "properties" not in found:
        del found["title"]  # a field's name once more
    if isinstance(ref := found.get("$ref"), str):
        name = ref.removeprefix(PREFIX)
        found["$ref"] = PREFIX + names.get(name, name)
    return found
