"""Anthropic's Messages API, as far as the product speaks it, with its refusals."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from tests.standins.server import Asked, Json, Reply, StandIn, sse

KEY = "sk-ant-api03-stand-in-0123456789"
PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_FIELDS = {"model", "messages", "max_tokens", "stream", "system", "temperature", "top_p", "top_k", "stop_sequences"}
_FIELDS |= {"tools", "tool_choice", "output_config"}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
_TYPES |= {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}


class AnthropicServer(StandIn):
    content_type = "text/event-stream; charset=utf-8"
    broken = b'event: content_block_delta\ndata: {"type": "content_block_del\n\n'

    def says(self, *texts: str, reason: str = "end_turn", calls: tuple[Json, ...] = (), **usage: Any) -> bytes:
        """A whole answer. A call: {id, name, parts}, the parts being pieces of its arguments' JSON."""
        blocks = [self._block(i + 1, call) for i, call in enumerate(calls)]
        told = {"output_tokens": 7} | usage
        return b"".join(
            (
                self.begins(*texts),
                sse("content_block_stop", {"type": "content_block_stop", "index": 0}),
                *blocks,
                sse("message_delta", {
                    "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": told,
                }),
                sse("message_stop", {"type": "message_stop"}),
            )
        )  # fmt: skip

    def begins(self, *texts: str) -> bytes:
        usage = {"input_tokens": 11, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
        ]
        return b"".join(
            (
                sse("message_start", {"type": "message_start", "message": message}),
                sse("content_block_start", {
                    "type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""},
                }),
                sse("ping", {"type": "ping"}),
                sse("content_block_delta", thought),
                *(sse("content_block_delta", delta) for delta in deltas),
            )
        )  # fmt: skip

    def error_event(self, kind: str, why: str) -> bytes:
        return sse("error", {"type": "error", "error": {"type": kind, "message": why}})

    def _block(self, index: int, call: Json) -> bytes:
        block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
        deltas = [
            {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in ("", *call["parts"])
        ]
        return b"".join(
            (
                sse("content_block_start", {"type": "content_block_start", "index": index, "content_block": block}),
                *(sse("content_block_delta", delta) for delta in deltas),
                sse("content_block_stop", {"type": "content_block_stop", "index": index}),
            )
        )

    # --- what it refuses

    def refused(self, status: int, why: str, **headers: str) -> Reply:
        kind = _TYPES.get(status, "invalid_request_error")
        body = json.dumps({"type": "error", "error": {"type": kind, "message": why}}).encode()
        return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})

    def check(self, asked: Asked) -> Reply | None:
        if (asked.method, asked.path) != ("POST", "/v1/messages"):
            return self.refused(404, "Not found")
        if asked.headers["authorization"] != f"Bearer {KEY}":
            return self.refused(401, f"invalid bearer token {asked.headers['authorization']}")
        if (version := asked.headers["anthropic-version"]) not in ("2023-06-01", "2026-10-21"):
            return self.refused(400, "anthropic-version: header is required")
        if version != "2023-06-01" and asked.body.keys() & {"temperature", "top_p", "top_k"}:
            return self.refused(400, "temperature: Extra inputs are not permitted")
        why = _wrong(asked.body) or _wrong_messages(asked.body["messages"])
        return self.refused(400, why) if why else None


def _wrong(body: Json) -> str:
    if unknown := body.keys() - _FIELDS:
        return f"{sorted(unknown)[0]}: Extra inputs are not permitted"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: Field required"
    if not 0 <= body.get("temperature", 1) <= 1:
        return "temperature: range: 0..1"
    if "temperature" in body and "top_p" in body:
        return "`temperature` and `top_p` cannot both be specified for this model."
    if any(not stop.strip() for stop in body.get("stop_sequences", ())):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    if "output_config" in body and body["messages"][-1]["role"] == "assistant":
        return "prefill is not supported with output_config.format"
    return ""


def _wrong_messages(messages: list[Json]) -> str:
    if not messages or messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    if any(one["role"] == next_one["role"] for one, next_one in pairwise(messages)):
        return 'messages: roles must alternate between "user" and "assistant"'
    waiting: list[str] = []
    for message in messages:
        blocks = message["content"]
        if message["role"] == "assistant" and any(block["type"] in ("image", "document") for block in blocks):
            return "messages: files are the user's"
        given = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(given) != sorted(waiting) or [b["type"] for b in blocks[: len(given)]] != ["tool_result"] * len(
            given
        ):
            return "`tool_use` ids were found without `tool_result` blocks immediately after"
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if why := "" if blocks else "messages: content must not be empty":
            return why
        if why := next(filter(None, map(_wrong_block, blocks)), ""):
            return why
    last = messages[-1]["content"][-1]
    if messages[-1]["role"] == "assistant" and last.get("text", "").rstrip() != last.get("text", ""):
        return "messages: final assistant content cannot end with trailing whitespace"
    return ""


def _wrong_block(block: Json) -> str:
    match block["type"]:
        case "text" if not block["text"].strip():
            return "messages: text content blocks must contain non-whitespace text"
        case "image" if block["source"]["media_type"] not in PICTURES:
            return "messages: image media type"
        case "document" if block["source"]["media_type"] != "application/pdf":
            return "messages: document media type"
    return ""
