"""Claude, by Anthropic's own SDK."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Literal

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, PromptTooLong, ProviderRefused, Unusable
from config.settings import MIB, Settings
from workers.llm.prompt import PREAMBLE
from workers.llm.remote import RemoteModel
from workers.llm.shapes import LEFT_OUT, in_turns, schema_of, tool_names
from workers.llm.trouble import TryAgain, retry_after_s, sentence
from workers.llm.wire import Item, Line, client_options, readable
from workers.ports import Attachment, ChatMessage, ChatRequest, Completion, Delta, Sampling, ToolCall

Json = dict[str, Any]
# There is no field for JSON without a schema.
ANY_JSON = "The whole answer is one JSON object. Write nothing else, and no code fence."
Reason = Literal["stop", "length", "tool_calls", "content_filter"]

PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_REASONS: dict[str, Reason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_PASSING = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")
# The last version of the API in which a request may say how tokens are drawn. The SDK's own, 2026-10-21, refuses that
# even for models that take it.
VERSION = "2023-06-01"
# Calls of other providers' models may be in the history; Anthropic refuses other characters.
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> AnthropicModel:
    return AnthropicModel(provider, spec, settings)


class AnthropicModel(RemoteModel):
    max_file_bytes = 5 * MIB * 3 // 4  # 5 MiB are taken, counted as they are sent

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        super().__init__(provider, spec, settings)
        # Models that think by themselves refuse an answer's beginning, and a temperature.
        self.can_prefill = self._can_draw = "reasoning" not in spec.abilities
        self.thinking_tokens = 0 if self._can_draw else 8192
        self._client = anthropic.Anthropic(
            api_key=provider.key.get_secret_value(),
            base_url=provider.url,
            max_retries=0,
            default_headers={"anthropic-version": VERSION} if self._can_draw else None,
            http_client=httpx2.Client(**client_options(httpx2, settings)),
        )

    def _open(self, request: ChatRequest) -> Line:
        return Line(lambda: self._items(request))

    def _items(self, request: ChatRequest) -> Generator[Item, None, None]:
        with self._client.messages.create(stream=True, **self._asked(request)) as events:
            yield from readable(_Events(events).items())

    # --- the request

    def _asked(self, request: ChatRequest) -> Json:
        system, turns = in_turns(request.messages)
        messages = [_message(role, said) for role, said in turns]
        asked: Json = {
            "model": self.spec.wire_id,
            "max_tokens": request.sampling.max_tokens,
            "messages": messages,
            "extra_body": _drawing(request.sampling) if self._can_draw else {},
        }
        if schema := schema_of(request.sampling):
            asked["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        elif schema is not None:
            system = f"{system}\n\n{ANY_JSON}".strip()
        if system:
            asked["system"] = system
        # Refused when it is nothing but white space; `seam.py` looks for all of them.
        if stops := [stop for stop in request.sampling.stop if stop.strip()]:
            asked["stop_sequences"] = stops
        if len(turns) > 1 and PREAMBLE not in system:  # passages change with each question: nothing would be found
            _mark_cached(messages)
        return asked | _tools(request)

    # --- the errors

    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        match error:
            case anthropic.APIStatusError():
                return self._refusal(error)
            case anthropic.APIConnectionError() | httpx2.TransportError():
                return TryAgain("The connection failed.")
            case anthropic.APIError():
                return TryAgain("A part of the answer could not be read.")
        return None

    def _refusal(self, error: anthropic.APIStatusError) -> BackchannelError | TryAgain:
        told = str(error.api_message or f"status {error.status_code}")
        if error.type is None and error.status_code == 200:  # an error event that cannot be read
            return TryAgain("A part of the answer could not be read.")
        if error.type in _PASSING or error.status_code in (408, 409, 429) or error.status_code >= 500:
            return TryAgain(sentence(told), retry_after_s(error.response.headers.get("retry-after")))
        if error.status_code in (401, 403) or error.type in ("authentication_error", "permission_error"):
            return self.key_refused()
        if error.status_code == 404:
            return ProviderRefused(f"{self.label} has no model {self.spec.wire_id}.")
        if error.status_code == 413 or "prompt is too long" in told or "exceed context limit" in told:
            return PromptTooLong(f"The prompt is too long for {self.name}: {sentence(told)}")
        return ProviderRefused(f"{self.label} refused the request: {sentence(told)}")


def _drawing(sampling: Sampling) -> Json:
    """How tokens are drawn. From Claude 4.5 on a temperature beside a top_p is refused."""
    usual = Sampling()
    if sampling.top_p != usual.top_p and sampling.temperature == usual.temperature:
        drawing = {"top_p": sampling.top_p}
    else:
        drawing = {"temperature": min(max(sampling.temperature, 0.0), 1.0)}
    return drawing | ({"top_k": sampling.top_k} if sampling.top_k > 0 else {})


def _tools(request: ChatRequest) -> Json:
    if request.tools:
        return {
            "tools": [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": {"type": "object"} | tool.parameters,
                }
                for tool in request.tools
            ]
        }
    if called := sorted(set(tool_names(request.messages).values())):  # a history of calls is refused without tools
        undescribed = [{"name": name, "input_schema": {"type": "object"}} for name in called]
        return {"tools": undescribed, "tool_choice": {"type": "none"}}
    return {}


def _message(role: str, said: list[ChatMessage]) -> Json:
    blocks = [block for message in said for block in _blocks(message)]
    return {"role": role, "content": blocks or [{"type": "text", "text": LEFT_OUT}]}


def _blocks(message: ChatMessage) -> list[Json]:
    """Blocks without text are refused, so there are none, and so is white space behind an answer's beginning."""
    words = message.content.rstrip() if message.role == "assistant" else message.content
    text = [{"type": "text", "text": words}] if words.strip() else []
    files = [_file(attachment) for attachment in message.attachments if message.role != "assistant"]  # refused there
    if message.role == "tool":
        answered = _NOT_IN_ID.sub("_", message.tool_call_id or "")
        return [{"type": "tool_result", "tool_use_id": answered, "content": [*text, *files]}]
    calls = [
        {"type": "tool_use", "id": _NOT_IN_ID.sub("_", call.id), "name": call.name, "input": call.arguments}
        for call in message.tool_calls
    ]
    return [*files, *text, *calls]  # files first: Claude answers better when the question comes after them


def _file(attachment: Attachment) -> Json:
    kind = attachment.mime_type
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(attachment.data).decode()}
    if kind in PICTURES:
        return {"type": "image", "source": source}
    if kind == "application/pdf":
        return {"type": "document", "source": source} | ({"title": attachment.name} if attachment.name else {})
    raise Unusable(f"Claude cannot look at files of the type {kind}.")


def _mark_cached(messages: list[Json]) -> None:
    """Everything up to the last question is kept by Anthropic for some minutes, and costs a tenth when it comes again
    with the next one."""
    question = next(one for one in reversed(messages) if one["role"] == "user")
    question["content"][-1]["cache_control"] = {"type": "ephemeral"}


class _Events:
    """One stream's events, put together."""

    def __init__(self, events: Iterable[RawMessageStreamEvent]) -> None:
        self._events = events
        self._usage: dict[str, int] = {}
        self._thought: int | None = None
        self._calls: dict[int, tuple[str, str, list[str]]] = {}

    def items(self) -> Iterator[Item]:
        for event in self._events:
            match event.type:
                case "message_start":
                    self._count(event.message.usage)
                case "content_block_start" if event.content_block.type == "tool_use":
                    self._calls[event.index] = (event.content_block.id, event.content_block.name, [])
                case "content_block_delta":
                    if event.delta.type == "text_delta" and event.delta.text:
                        yield Delta(_text(event.delta.text))
                    elif event.delta.type == "input_json_delta":
                        self._calls[event.index][2].append(event.delta.partial_json)
                case "message_delta":
                    self._count(event.usage)
                    if event.delta.stop_reason is not None:
                        yield self._end(event.delta.stop_reason)
                        return

    def _count(self, usage: Any) -> None:
        """Each event tells totals; what one does not mention stays."""
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            if (told := getattr(usage, name, None)) is not None:
                self._usage[name] = max(0, int(told))
        if (details := getattr(usage, "output_tokens_details", None)) is not None:
            self._thought = max(0, int(details.thinking_tokens))

    def _end(self, reason: str) -> Completion:
        usage = self._usage
        cached = usage.get("cache_read_input_tokens")
        return Completion(
            _REASONS.get(reason, "stop"),
            usage.get("input_tokens", 0) + (cached or 0) + usage.get("cache_creation_input_tokens", 0),
            usage.get("output_tokens", 0),
            tool_calls=self._whole_calls() if reason == "tool_use" else (),
            cached_tokens=cached,
            reasoning_tokens=self._thought,
        )

    def _whole_calls(self) -> tuple[ToolCall, ...]:
        """Raises ValueError: what should be JSON is none."""
        given = [(id_, name, json.loads("".join(parts) or "{}")) for id_, name, parts in self._calls.values()]
        return tuple(
            ToolCall(_text(id_), _text(name), one if isinstance(one, dict) else {}) for id_, name, one in given
        )


def _text(value: object) -> str:
    """Raises TypeError: the SDK puts whatever comes into its types."""
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value
