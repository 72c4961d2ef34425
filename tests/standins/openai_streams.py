"""What OpenAI's streams hold: one answer, said in Chat Completions or in Responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Call:
    """A tool call, its arguments in the fragments they are streamed in."""

    id: str
    name: str
    fragments: Sequence[str] = ()


@dataclass
class Said:
    """One answer."""

    pieces: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: str = "stop"
    usage: Json | None = field(
        default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    )
    refusal: str = ""
    logprobs: dict[str, list[tuple[str, float]]] = field(default_factory=dict)  # piece → alternatives, its own first
    error: Json | None = None  # of a response that failed


def chat_events(said: Said) -> list[Json]:
    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, **more}]
        return {**head, "choices": choices, "usage": None}

    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": piece}, **_chat_logprobs(said, piece)) for piece in said.pieces]
    if said.refusal:
        events.append(chunk({"refusal": said.refusal}))
    for index, call in enumerate(said.calls):
        begin = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        events.append(chunk({"tool_calls": [begin]}))
        for part in call.fragments:
            events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    events.append(chunk({}, "tool_calls" if said.calls and said.finish == "stop" else said.finish))
    if said.usage is not None:
        events.append({**head, "choices": [], "usage": said.usage})
    return events


def _tokens(said: Said, piece: str) -> list[Json]:
    top = [{"token": token, "logprob": logprob} for token, logprob in said.logprobs.get(piece, [])]
    return [{**top[0], "top_logprobs": top}] if top else []


def _chat_logprobs(said: Said, piece: str) -> Json:
    return {"logprobs": {"content": _tokens(said, piece)}} if said.logprobs else {}


def response_events(said: Said) -> list[Json]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "error": None}
    events: list[Json] = [{"type": "response.created", "response": {**head, "status": "in_progress"}}]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    for piece in said.pieces:
        logprobs = _tokens(said, piece)
        events.append({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": logprobs})
    if said.refusal:
        events.append({"type": "response.refusal.delta", **place, "delta": said.refusal})
    for index, call in enumerate(said.calls, start=1):
        item = {"type": "function_call", "id": f"fc_{index}", "call_id": call.id, "name": call.name, "arguments": ""}
        where = {"item_id": item["id"], "output_index": index}
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        events += [
            {"type": "response.function_call_arguments.delta", **where, "delta": part} for part in call.fragments
        ]
        whole = {**item, "arguments": "".join(call.fragments), "status": "completed"}
        events.append({"type": "response.output_item.done", "output_index": index, "item": whole})
    events.append(_response_end(said, head))
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _response_end(said: Said, head: Json) -> Json:
    usage = None
    if said.usage is not None:
        details_in = said.usage.get("prompt_tokens_details", {"cached_tokens": 0})
        details_out = said.usage.get("completion_tokens_details", {"reasoning_tokens": 0})
        usage = {
            "input_tokens": said.usage["prompt_tokens"],
            "output_tokens": said.usage["completion_tokens"],
            "total_tokens": said.usage["total_tokens"],
            "input_tokens_details": details_in,
            "output_tokens_details": details_out,
        }
    if said.finish in ("length", "content_filter"):
        why = {"reason": "max_output_tokens" if said.finish == "length" else "content_filter"}
        ended = {**head, "status": "incomplete", "incomplete_details": why, "usage": usage}
        return {"type": "response.incomplete", "response": ended}
    if said.finish == "failed":
        return {"type": "response.failed", "response": {**head, "status": "failed", "error": said.error}}
    return {"type": "response.completed", "response": {**head, "status": "completed", "usage": usage}}
