"""Tools for models that are decoded here: a grammar makes them answer in JSON, either what they say or a call.

    {"say": "…"}                                  the text is shown as it comes
    {"tool": "name", "arguments": {…}}            arguments of the tool's own schema

The first word behind the brace decides which; after it the grammar leaves nothing else. So every answer can be read,
and one that was cut off is either a text that is not finished or no call at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from config.errors import Unusable
from workers.llm.answer import AnswerText
from workers.llm.json_strings import JsonStrings, spelled
from workers.llm.openai_shapes import tool_call
from workers.llm.shapes import paired, tool_names
from workers.ports import ChatMessage, ChatRequest, Completion, Delta, Tool

SAY, TOOL, ARGUMENTS = "say", "tool", "arguments"
_PROTOCOL = (
    "Answer with one JSON object and nothing else. To say something to the user: "
    '{"say": "your words"}. To use a tool: {"tool": "its name", "arguments": {…}}; you are then told its result, and '
    "answer again. Use a tool only when it is needed. The tools:"
)


def uses_tools(request: ChatRequest) -> bool:
    return bool(request.tools) or any(one.tool_calls or one.role == "tool" for one in request.messages)


def in_words(request: ChatRequest) -> ChatRequest:
    """The request for a model that knows text only. Raises Unusable for what an answer in JSON cannot have: a format of
    its own, and log-probabilities, which speak of tokens that are not shown."""
    messages = tuple(_worded(request.messages))
    if not request.tools:
        return replace(request, messages=messages)
    if request.sampling.response_format is not None:
        raise Unusable("An answer in a response format cannot use tools.")
    if request.sampling.logprobs is not None:
        raise Unusable("An answer of a local model that may use tools tells no log-probabilities.")
    described = "\n".join(
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}, ensure_ascii=False
        )
        for tool in request.tools
    )
    # Stop strings speak of the text that is shown, not of the JSON around it: `Told` looks for them.
    form = {"type": "json_schema", "schema": schema_of(request.tools)}
    sampling = replace(request.sampling, response_format=form, stop=())
    said = request.resume_text
    return replace(
        request,
        messages=_with_system(messages, f"{_PROTOCOL}\n{described}"),
        sampling=sampling,
        tools=(),
        resume_text=f'{{"{SAY}": "{spelled(said)}' if said else "",
        resume_tokens=(),  # of the text, which is spelled anew
    )


def schema_of(tools: Iterable[Tool]) -> dict[str, Any]:
    say = _object({SAY: {"type": "string"}})
    calls = [_object({TOOL: {"const": tool.name}, ARGUMENTS: tool.parameters}) for tool in tools]
    return {"anyOf": [say, *calls]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _with_system(messages: tuple[ChatMessage, ...], text: str) -> tuple[ChatMessage, ...]:
    if messages and messages[0].role == "system":
        return (replace(messages[0], content=f"{messages[0].content.rstrip()}\n\n{text}"), *messages[1:])
    return (ChatMessage("system", text), *messages)


def _worded(messages: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """Calls as the model wrote them, results as the user tells them."""
    known = list(paired(messages))
    names = tool_names(known)
    for message in known:
        if message.role == "tool":
            yield ChatMessage("user", f"Result of {names.get(message.tool_call_id or '', 'a tool')}: {message.content}")
            continue
        calls = [
            json.dumps({TOOL: call.name, ARGUMENTS: call.arguments}, ensure_ascii=False) for call in message.tool_calls
        ]
        if calls:
            content = "\n".join(filter(None, (message.content, *calls)))
            message = replace(message, content=content, tool_calls=())  # noqa: PLW2901
        yield message


class Told:
    """What the model says and calls, out of the JSON it writes. `said`: what an earlier attempt showed of it."""

    def __init__(self, said: str = "", stop: Sequence[str] = ()) -> None:
        self._strings, self._document = JsonStrings(), f'{{"{SAY}": "{spelled(said)}' if said else ""
        list(self._strings.feed(self._document))  # shown before
        self._answer = AnswerText(stop, said)

    def is_over(self) -> bool:
        """A stop string was said; what else the model writes is not wanted."""
        return self._answer.stopped

    def items(self, items: Iterable[Delta | Completion]) -> Iterator[Delta | Completion]:
        for item in items:
            if isinstance(item, Delta):
                self._document += item.text
                yield from self._shown(item.text)
                continue
            rest = self._answer.finish() if item.finish_reason != "cancelled" else None  # else it may go on later
            if rest is not None:
                yield Delta(rest.text)
            yield self._end(item)

    def _shown(self, text: str) -> Iterator[Delta]:
        for name, said in self._strings.feed(text):
            free = self._answer.feed(0, said.encode()) if name == SAY and not self.is_over() else None
            if free is not None:
                yield Delta(free.text)

    def _end(self, completion: Completion) -> Completion:
        if self.is_over():
            return replace(completion, finish_reason="stop")
        if not self._strings.whole:
            return completion
        answer = json.loads(self._document)
        if TOOL not in answer:
            return completion
        call = tool_call(None, answer[TOOL], json.dumps(answer[ARGUMENTS], ensure_ascii=False))
        return replace(completion, finish_reason="tool_calls", tool_calls=(call,))


def told(
    stream: Callable[[Callable[[], bool]], Iterable[Delta | Completion]],
    request: ChatRequest,
    cancelled: Callable[[], bool],
) -> Iterator[Delta | Completion]:
    """The answer to `request`, of which `stream` gives the JSON until it is told to end."""
    told = Told(request.resume_text, request.sampling.stop)
    yield from told.items(stream(lambda: told.is_over() or cancelled()))
