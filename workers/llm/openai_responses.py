"""Responses: OpenAI's newer protocol. It knows no stop strings, no seed and no penalties."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any

from openai.types.responses import ResponseStreamEvent

from workers.llm.openai_chat import MAX_LOGPROBS, Reason, count_of, logprobs_of, text_of
from workers.llm.openai_shapes import Json, answer_schema, check_files, data_url, file_text, tool_call, worded
from workers.llm.reader import Item
from workers.llm.trouble import TryAgain
from workers.ports import Attachment, ChatMessage, ChatRequest, Completion, Delta, ToolCall

_INCOMPLETE: dict[str, Reason] = {"content_filter": "content_filter"}


class Failed(Exception):
    """The stream ended with a problem instead of an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def asked(request: ChatRequest, wire_id: str, *, thinks: bool) -> Json:
    """The body of the request."""
    check_files(request)
    sampling = request.sampling
    body: Json = {
        "model": wire_id,
        "input": [item for message in worded(request) for item in _items(message)],
        "stream": True,
        "store": False,  # else OpenAI keeps question and answer for a month
        "max_output_tokens": max(sampling.max_tokens, _LEAST_OUTPUT),
    }
    if not thinks:
        body |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.logprobs is not None:
            body["include"] = ["message.output_text.logprobs"]
            body["top_logprobs"] = min(sampling.logprobs, MAX_LOGPROBS)
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": False,  # left out it means true, which few schemas are ready for
            }
            for tool in request.tools
        ]
    if schema := answer_schema(request):
        body["text"] = {"format": schema}
    return body


_LEAST_OUTPUT = 16  # less is refused; the answer is cut here


def _items(message: ChatMessage) -> Iterable[Json]:
    match message.role:
        case "system":
            yield {"role": "developer", "content": message.content}
        case "tool":
            yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
        case "user":
            files = [_file(one) for one in message.attachments]
            text = [{"type": "input_text", "text": message.content}] if message.content else []
            yield {"role": "user", "content": [*text, *files] if files else message.content}
        case "assistant":
            if message.content:
                yield {"role": "assistant", "content": message.content}
            for call in message.tool_calls:
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}


def _file(attachment: Attachment) -> Json:
    if attachment.mime_type.startswith("image/"):
        return {"type": "input_image", "image_url": data_url(attachment), "detail": "auto"}
    if attachment.mime_type.startswith("text/"):
        return {"type": "input_text", "text": file_text(attachment)}
    name = attachment.name or "document.pdf"
    return {"type": "input_file", "filename": name, "file_data": data_url(attachment)}


class Events:
    """One stream's events, put together."""

    def __init__(self, events: Iterable[ResponseStreamEvent]) -> None:
        self._events = events
        self._calls: list[ToolCall] = []
        self._message: int | None = None  # the place of the message that is being said

    def items(self) -> Generator[Item, None, None]:
        """Ends without a Completion where the end did not come. Raises Failed, TryAgain, openai.OpenAIError."""
        for event in self._events:
            try:
                found = list(self._read(event))
            except (AttributeError, TypeError, ValueError) as error:
                raise TryAgain("It sent something that cannot be read.") from error
            yield from found
            if any(isinstance(item, Completion) for item in found):
                return

    def _read(self, event: ResponseStreamEvent) -> Iterable[Item]:
        match event.type:
            case "response.output_text.delta" if event.delta:
                yield from self._between(event.output_index)
                yield Delta(text_of(event.delta), logprobs=logprobs_of(event.logprobs))
            case "response.refusal.delta" if event.delta:
                yield from self._between(event.output_index)
                yield Delta(text_of(event.delta))
            case "response.output_item.done" if event.item.type == "function_call":
                self._calls.append(tool_call(event.item.call_id, event.item.name, event.item.arguments))
            case "response.completed":
                yield self._end("tool_calls" if self._calls else "stop", event.response.usage)
            case "response.incomplete":
                why = event.response.incomplete_details
                yield self._end(_INCOMPLETE.get(str(why and why.reason), "length"), event.response.usage)
            case "response.failed":
                problem = event.response.error
                raise (
                    Failed(str(problem.code), str(problem.message)) if problem else Failed("server_error", "It failed.")
                )
            case "error":
                raise Failed(str(event.code or ""), str(event.message or "It failed."))

    def _between(self, place: int) -> Iterable[Delta]:
        """A model may say several messages, as before and after a thought."""
        before, self._message = self._message, place
        return [Delta("\n\n")] if before not in (None, place) else []

    def _end(self, reason: Reason, usage: Any) -> Completion:
        details_in, details_out = (getattr(usage, f"{side}_tokens_details", None) for side in ("input", "output"))
        return Completion(
            reason,
            count_of(usage, "input_tokens") or 0,
            count_of(usage, "output_tokens") or 0,
            tuple(self._calls) if reason == "tool_calls" else (),
            cached_tokens=count_of(details_in, "cached_tokens"),
            reasoning_tokens=count_of(details_out, "reasoning_tokens"),
        )
