"""What OpenAI's two protocols have in common: answers in a schema, files, tools' arguments."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any

from config.errors import Unusable
from workers.llm.shapes import new_call_id, paired, schema_of
from workers.ports import Attachment, ChatMessage, ChatRequest, Sampling, ToolCall

Json = dict[str, Any]

# Arguments that are no JSON object come under this name: whoever runs the tool refuses them, and the model reads why.
UNPARSED = "_unparsed"
JSON_IN_WORDS = "The whole answer is one JSON object. Write nothing else, and no code fence."
# What a strict schema may be made of. There is more that some models take; without `strict` every schema is taken, and
# followed nearly as well.
_STRICT = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"}
_STRICT |= {"title", "description"}
_STRICT_DEPTH = 5
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def answer_schema(request: ChatRequest) -> Json | None:
    """{type, name, schema, strict}, {type: json_object}, or None for free text."""
    schema = schema_of(request.sampling)
    if schema is None:
        return None
    if not schema:
        return {"type": "json_object"}
    name = _NOT_IN_NAME.sub("_", str(schema.get("title") or ""))[:64] or "answer"
    return {"type": "json_schema", "name": name, "schema": schema, "strict": is_strict(schema)}


def worded(request: ChatRequest) -> Iterable[ChatMessage]:
    """The messages; where any JSON object is asked for, one of them says so in words, else that is refused."""
    is_said = any("json" in message.content.lower() for message in request.messages)
    asks = [] if is_said or schema_of(request.sampling) != {} else [ChatMessage("system", JSON_IN_WORDS)]
    return paired([*asks, *request.messages])


def is_strict(schema: Json) -> bool:
    """Whether OpenAI takes it as a schema that every answer must fit: all properties required, and no others."""
    try:
        return schema.get("type") == "object" and "anyOf" not in schema and _is_strict(schema, _STRICT_DEPTH)
    except (AttributeError, TypeError):  # a keyword with a value that is none for it
        return False


def _is_strict(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or not schema.keys() <= _STRICT or depth < 0:
        return False
    if "object" in (schema.get("type"), *_listed(schema.get("type"))):
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("$defs", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    if not inner and not schema.keys() & {"type", "enum", "const", "$ref"}:
        return False  # anything at all
    return all(_is_strict(one, depth - 1) for one in inner)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def data_url(attachment: Attachment) -> str:
    return f"data:{attachment.mime_type};base64,{base64.b64encode(attachment.data).decode()}"


def file_text(attachment: Attachment) -> str:
    """A text file, for protocols that have none."""
    return f"{attachment.name or 'A file'}:\n{attachment.data.decode('utf-8', 'replace')}"


def check_files(request: ChatRequest) -> None:
    if any(message.attachments and message.role != "user" for message in request.messages):
        raise Unusable("Only a user's message can carry files.")


def logit_bias(sampling: Sampling) -> dict[str, float]:
    return {token: max(-100.0, min(100.0, value)) for token, value in (sampling.logit_bias or {}).items()}


def tool_call(call_id: str | None, name: str, arguments: str) -> ToolCall:
    return ToolCall(call_id or new_call_id(), name, _arguments(arguments))


def _arguments(text: str) -> Json:
    try:
        given = json.loads(text or "{}", parse_constant=_refuse)
        json.dumps(given, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # no JSON, or half a character
        return {UNPARSED: text.encode("utf-8", "replace").decode()}
    return given if isinstance(given, dict) else {UNPARSED: text}


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which are Python's and not JSON's
