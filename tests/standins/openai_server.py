"""A stand-in for OpenAI and for servers like it. Like the real one it refuses unknown fields, sampling for models that
think, and a wrong key, which it quotes."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

from tests.standins.openai_streams import Json, Said, chat_events, response_events
from tests.standins.server import Asked, Reply, StandIn, sse

KEY = "sk-standin-0123456789abcdefghij"

_CHAT_FIELDS = {
    *("model", "messages", "stream", "stream_options", "max_completion_tokens", "max_tokens", "tools"),
    *("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("logprobs", "top_logprobs", "response_format"),
}
_RESPONSES_FIELDS = {
    *("model", "input", "instructions", "stream", "store", "max_output_tokens", "tools", "text"),
    *("temperature", "top_p", "include", "top_logprobs"),
}
_NOT_WHILE_THINKING = {"temperature", "top_p", "stop", "frequency_penalty", "presence_penalty", "logit_bias",
                       "logprobs", "top_logprobs", "max_tokens", "include"}  # fmt: skip


class OpenAIServer(StandIn):
    """`api`: which protocol `says` writes. `strict`: as OpenAI is; other servers take what they do not know, but for
    what is in `refuses`. `listing` is the answer to who asks for the models."""

    content_type: ClassVar[str] = "text/event-stream"
    broken: ClassVar[bytes] = b'data: {"choices": [{"delta": {"content": "x"\n\n'

    def __init__(self, api: Literal["chat", "responses"] = "chat", *, strict: bool = True, key: str = KEY) -> None:
        super().__init__()
        self.api, self.strict, self.key = api, strict, key
        self.refuses: set[str] = set()
        self.listing: Any = {"object": "list", "data": []}

    # --- answers

    def says(self, *pieces: str, **how: Any) -> bytes:
        """A whole answer; `how` are Said's fields."""
        return self._stream(self._events(pieces, how)) + (b"data: [DONE]\n\n" if self.api == "chat" else b"")

    def begins(self, *pieces: str, **how: Any) -> bytes:
        """An answer that is not at its end after its last piece."""
        how = {"usage": None, **how}
        return self._stream(self._events(pieces, how)[:-1])

    def _events(self, pieces: tuple[str, ...], how: Json) -> list[Json]:
        said = Said(pieces, **how)
        return chat_events(said) if self.api == "chat" else response_events(said)

    def _stream(self, events: list[Json]) -> bytes:
        return b"".join(sse(None if self.api == "chat" else event["type"], event) for event in events)

    def refused(
        self,
        status: int,
        why: str,
        code: str | None = None,
        *,
        param: str | None = None,
        retry_after: str | None = None,
        **headers: str,
    ) -> Reply:
        told = {"message": why, "type": "invalid_request_error", "param": param, "code": code}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        pause = {} if retry_after is None else {"Retry-After": retry_after}
        return Reply(json.dumps({"error": told}).encode(), status, pause | named)

    # --- questions

    def bodies(self) -> list[Json]:
        return [asked.body for asked in self.asked]

    def texts(self, place: int = -1) -> list[tuple[str, Any]]:
        """Role and content of each message of one request."""
        body = self.asked[place].body
        messages = body["messages"] if "messages" in body else body["input"]
        return [(one["role"], one["content"]) for one in messages if "role" in one]

    def check(self, asked: Asked) -> Reply | None:
        key = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if key != self.key:
            return self.refused(401, f"Incorrect API key provided: {key}. Find yours online.", "invalid_api_key")
        if asked.path == "/v1/models" and asked.method == "GET":
            whole = self.listing if isinstance(self.listing, bytes) else json.dumps(self.listing).encode()
            return None if self.replies else Reply(whole, headers={"Content-Type": "application/json"})
        if asked.path not in ("/v1/chat/completions", "/v1/responses"):
            return self.refused(404, f"Invalid URL ({asked.method} {asked.path})")
        problem = self._problem(asked.path.endswith("completions"), asked.body)
        return None if problem is None else self.refused(400, problem[0], problem[2], param=problem[1])

    def _problem(self, is_chat: bool, body: Json) -> Problem | None:
        """Its words, the field's name, a code."""
        unknown = sorted(body.keys() & self.refuses)
        if self.strict:
            unknown += sorted(body.keys() - (_CHAT_FIELDS if is_chat else _RESPONSES_FIELDS))
        if unknown:
            return f"Unrecognized request argument supplied: {unknown[0]}", None, None
        if not self.strict:
            return None
        thinks = str(body["model"]).startswith(("o1", "o3", "gpt-5"))
        if thinks and (wrong := sorted(body.keys() & _NOT_WHILE_THINKING)):
            told = f"Unsupported parameter: '{wrong[0]}' is not supported with this model."
            return told, wrong[0], "unsupported_parameter"
        return _bad_chat(body) if is_chat else _bad_response(body)


Problem = tuple[str, str | None, str | None]


def _bad_chat(body: Json) -> Problem | None:
    if len(body.get("stop", [])) > 4:
        return "Invalid 'stop': array too long.", "stop", "array_above_max_length"
    if "top_logprobs" in body and not body.get("logprobs"):
        return "'top_logprobs' needs 'logprobs'.", "top_logprobs", None
    open_calls: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool" and message["tool_call_id"] not in open_calls:
            return "messages with role 'tool' must follow their 'tool_calls'.", "messages", None
        if message["role"] == "tool":
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            return "An assistant message with 'tool_calls' must be followed by tool messages.", None, None
        open_calls |= {call["id"] for call in message.get("tool_calls", [])}
    form = body.get("response_format", {})
    if form.get("type") == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        return "'messages' must contain the word 'json' in some form.", "messages", None
    if form.get("type") == "json_schema" and not {"name", "schema"} <= form["json_schema"].keys():
        return "Missing required parameter: 'response_format.json_schema'.", "response_format", None
    return None


def _bad_response(body: Json) -> Problem | None:
    if body["max_output_tokens"] < 16:
        return "Invalid 'max_output_tokens': below the minimum of 16.", "max_output_tokens", None
    if "top_logprobs" in body and "message.output_text.logprobs" not in body.get("include", []):
        return "'top_logprobs' needs 'message.output_text.logprobs'.", "top_logprobs", None
    calls = {item["call_id"] for item in body["input"] if item.get("type") == "function_call"}
    results = {item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"}
    if calls != results:
        return f"No tool output found for function call {sorted(calls ^ results)[0]}.", "input", None
    return None
