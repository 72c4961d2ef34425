"""Chat Completions: OpenAI's older protocol, which xAI and most servers speak too, more or less."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletionChunk

from workers.llm.openai_shapes import (
    Json,
    answer_schema,
    check_files,
    data_url,
    file_text,
    logit_bias,
    tool_call,
    worded,
)
from workers.llm.reader import Item
from workers.llm.trouble import TryAgain
from workers.ports import Attachment, ChatMessage, ChatRequest, Completion, Delta, TokenLogprob

Reason = Literal["stop", "length", "tool_calls", "content_filter"]

MAX_STOPS = 4
MAX_LOGPROBS = 20

_REASONS: dict[str, Reason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
# Servers that give up in the middle say so in their own words.
_BROKEN = {"abort", "error", "network_error", "insufficient_system_resource"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server's Chat Completions differ in. `takes`: of the optional fields, those it knows."""

    takes: frozenset[str]
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    system: Literal["system", "developer"] = "system"


def asked(request: ChatRequest, wire_id: str, dialect: Dialect) -> Json:
    """The body of the request."""
    check_files(request)
    sampling = request.sampling
    given: Json = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": [stop for stop in sampling.stop if stop][:MAX_STOPS],
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logit_bias": logit_bias(sampling),
        "logprobs": sampling.logprobs is not None,
        "top_logprobs": min(sampling.logprobs or 0, MAX_LOGPROBS),
    }
    body: Json = {
        "model": wire_id,
        "messages": [one for message in worded(request) for one in _message(message, dialect)],
        "stream": True,
        "stream_options": {"include_usage": True},
        dialect.limit: sampling.max_tokens,
    }
    # nothing, and none, is what they do unasked; a temperature of 0 is something
    body |= {name: value for name, value in given.items() if name in dialect.takes and (value or name in _ALWAYS)}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    if schema := answer_schema(request):
        kind = schema.pop("type")
        body["response_format"] = {"type": kind} | ({kind: schema} if schema else {})
    return body


_ALWAYS = {"temperature", "top_p"}


def _message(message: ChatMessage, dialect: Dialect) -> Iterable[Json]:
    match message.role:
        case "system":
            return [{"role": dialect.system, "content": message.content}]
        case "tool":
            return [{"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}]
        case "user":
            files = [_file(one) for one in message.attachments]
            text = [{"type": "text", "text": message.content}] if message.content else []
            return [{"role": "user", "content": [*text, *files] if files else message.content}]
    if not message.tool_calls:
        return [{"role": "assistant", "content": message.content}]
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for call in message.tool_calls
    ]
    return [{"role": "assistant", "content": message.content or None, "tool_calls": calls}]


def _file(attachment: Attachment) -> Json:
    if attachment.mime_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": data_url(attachment)}}
    if attachment.mime_type.startswith("text/"):
        return {"type": "text", "text": file_text(attachment)}
    name = attachment.name or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": data_url(attachment)}}


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Chunks:
    """One stream's chunks, put together. Servers leave out what they do not know: a chunk may have no role, no content,
    no choices, no usage, and the last one need not come."""

    def __init__(self, chunks: Iterable[ChatCompletionChunk]) -> None:
        self._chunks = chunks
        self._reason: Reason | None = None
        self._usage: Any = None
        self._calls: dict[int, _Call] = {}

    def items(self) -> Generator[Item, None, None]:
        """Ends without a Completion where no reason to end was told. Raises TryAgain, openai.OpenAIError."""
        try:
            for chunk in self._chunks:
                try:
                    deltas = list(self._read(chunk))
                except (AttributeError, TypeError, ValueError) as error:
                    raise TryAgain("It sent something that cannot be read.") from error
                yield from deltas
        except openai.APIConnectionError:
            if self._reason is None:
                raise  # else all was said, and only the good-bye is missing
        if self._reason is not None:
            yield self._end(self._reason)

    def _read(self, chunk: ChatCompletionChunk) -> Iterable[Delta]:
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices or ():
            delta = choice.delta
            if delta is not None:
                for call in delta.tool_calls or ():
                    self._add(call)
                if text := text_of(delta.content) + text_of(getattr(delta, "refusal", None)):
                    yield Delta(text, logprobs=logprobs_of(getattr(choice.logprobs, "content", None)))
            if choice.finish_reason:
                reason = str(choice.finish_reason)
                if reason in _BROKEN:
                    raise TryAgain("It gave up in the middle of the answer.")
                self._reason = _REASONS.get(reason, "stop")

    def _add(self, fragment: Any) -> None:
        """By index; where there is none, or all have the same, a new id begins a new call."""
        place = fragment.index if isinstance(fragment.index, int) else max(len(self._calls) - 1, 0)
        known = self._calls.get(place)
        if known is not None and fragment.id and known.id and fragment.id != known.id:
            place = max(self._calls) + 1
        call = self._calls.setdefault(place, _Call())
        call.id = call.id or fragment.id
        if (function := fragment.function) is not None:
            call.name = call.name or function.name or ""
            given = function.arguments or ""
            call.arguments.append(given if isinstance(given, str) else json.dumps(given))

    def _end(self, reason: Reason) -> Completion:
        calls = [call for _, call in sorted(self._calls.items()) if call.name]
        if calls and reason == "stop":
            reason = "tool_calls"
        elif reason == "tool_calls" and not calls:
            reason = "stop"
        usage = self._usage
        prompt, completion = count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")
        return Completion(
            reason,
            prompt or 0,
            # xAI leaves out of the second what it thought, not out of the sum
            max(completion or 0, (count_of(usage, "total_tokens") or 0) - (prompt or 0)) if completion else 0,
            # a call that was cut off is none
            tuple(tool_call(one.id, one.name, "".join(one.arguments)) for one in calls if reason == "tool_calls"),
            cached_tokens=count_of(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
            reasoning_tokens=count_of(getattr(usage, "completion_tokens_details", None), "reasoning_tokens"),
        )


def text_of(content: Any) -> str:
    """Some servers send parts instead of text."""
    if isinstance(content, list):
        return "".join(text_of(part.get("text")) for part in content if part.get("type", "text") == "text")
    return content if isinstance(content, str) else ""


def logprobs_of(told: Any) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(one.token, one.logprob, tuple((top.token, top.logprob) for top in one.top_logprobs or ()))
        for one in told or ()
    )


def count_of(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None
