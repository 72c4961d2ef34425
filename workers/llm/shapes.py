"""Messages as providers' protocols want them: calls beside their results, the user and the assistant in turn."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from workers.ports import ChatMessage, Sampling

NO_RESULT = "There is no result."
# What a conversation begins with where its beginning did not fit.
LEFT_OUT = "(What was said before is left out.)"

Turn = tuple[Literal["user", "assistant"], list[ChatMessage]]


def paired(messages: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """Each tool call directly followed by its one result. Providers refuse a call without a result and a result
    without a call; both happen where history was cut or an answer was cancelled."""
    rest = deque(messages)
    while rest:
        message = rest.popleft()
        if message.role == "tool":
            yield replace(message, role="user", content=f"A tool's result:\n{message.content}", tool_call_id=None)
            continue
        yield message
        results: list[ChatMessage] = []
        while message.tool_calls and rest and rest[0].role == "tool":
            results.append(rest.popleft())
        for call in message.tool_calls:
            missing = ChatMessage("tool", NO_RESULT, tool_call_id=call.id)
            result = next((one for one in results if one.tool_call_id == call.id), missing)
            yield result
            if result is not missing:
                results.remove(result)
        rest.extendleft(reversed(results))


def in_turns(messages: Sequence[ChatMessage]) -> tuple[str, list[Turn]]:
    """The system prompt, and user and assistant in turn, the user first. Tools' results are the user's; who says
    nothing at all is left out."""
    system = "\n\n".join(one.content.strip() for one in messages if one.role == "system" and one.content.strip())
    said = [one for one in messages if one.role != "system" and _says_something(one)]
    grouped = itertools.groupby(paired(said), lambda one: one.role == "assistant")
    turns: list[Turn] = [("assistant" if is_assistant else "user", list(group)) for is_assistant, group in grouped]
    if not turns and system:
        return "", [("user", [ChatMessage("user", system)])]
    if not turns or turns[0][0] == "assistant":
        turns.insert(0, ("user", [ChatMessage("user", LEFT_OUT)]))
    return system, turns


def _says_something(message: ChatMessage) -> bool:
    return bool(message.content.strip() or message.attachments or message.tool_calls) or message.role == "tool"


def tool_names(messages: Iterable[ChatMessage]) -> dict[str, str]:
    """The tools that were called, by the calls' ids."""
    return {call.id: call.name for message in messages for call in message.tool_calls}


def new_call_id() -> str:
    """For a call whose provider names none."""
    return f"call_{uuid.uuid4().hex}"


def schema_of(sampling: Sampling) -> dict[str, Any] | None:
    """The JSON schema that the answer must fit; {} for any JSON object, None for free text."""
    form = sampling.response_format or {}
    match form.get("type"):
        case "json_schema":
            return dict(form.get("schema") or {})
        case "json_object":
            return {}
    return None
