"""An Ollama server, as far as the product speaks it, with its refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.standins.server import Asked, Json, Reply, StandIn

_FIELDS = {"model", "messages", "stream", "tools", "format", "options", "logprobs", "top_logprobs"}
_OPTIONS = {"num_ctx", "num_predict", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed", "stop"}
_OPTIONS |= {"frequency_penalty", "presence_penalty"}


class OllamaServer(StandIn):
    """`models`: what it has, by name; the values are what /api/show tells. `key`: asked for when it is not empty."""

    content_type = "application/x-ndjson"
    broken = b'{"model": "tiny", "message": {"role": "assis\n'

    def __init__(self) -> None:
        super().__init__()
        self.key = ""
        self.models: dict[str, Json] = {
            "tiny:latest": {
                "capabilities": ["completion", "tools", "vision"],
                "model_info": {"general.architecture": "llama", "llama.context_length": 32768},
            }
        }

    def says(self, *texts: str, reason: str = "stop", calls: tuple[Json, ...] = (), **usage: Any) -> bytes:
        """A whole answer. A call: {name, arguments}."""
        told = [{"function": call} for call in calls]
        last = {"done": True, "done_reason": reason, "prompt_eval_count": 11, "eval_count": 7} | usage
        said = [_line({"role": "assistant", "content": "", "tool_calls": told})] if told else []
        return b"".join((self.begins(*texts), *said, _line({"role": "assistant", "content": ""}, **last)))

    def begins(self, *texts: str) -> bytes:
        thought = _line({"role": "assistant", "content": "", "thinking": "Hm."})
        return thought + b"".join(_line({"role": "assistant", "content": text}) for text in texts)

    def error_line(self, why: str) -> bytes:
        return json.dumps({"error": why}).encode() + b"\n"

    # --- what it refuses

    def refused(self, status: int, why: str, **headers: str) -> Reply:
        body = json.dumps({"error": why}).encode()
        return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})

    def reply(self, asked: Asked) -> Reply:
        if self.check(asked) is None and asked.path in ("/api/tags", "/api/show"):
            return self._told(asked)
        return super().reply(asked)

    def _told(self, asked: Asked) -> Reply:
        if asked.path == "/api/tags":
            body: Json = {"models": [{"name": name, "model": name} for name in self.models]}
        else:
            body = self.models[asked.body["model"]]
        return Reply(json.dumps(body).encode(), headers={"Content-Type": "application/json"})

    def check(self, asked: Asked) -> Reply | None:
        if self.key and asked.headers["authorization"] != f"Bearer {self.key}":
            return self.refused(401, f"unauthorized: {asked.headers['authorization']}")
        if asked.method == "GET":
            return None if asked.path == "/api/tags" else self.refused(404, "404 page not found")
        model = asked.body["model"]
        if model not in self.models:
            return self.refused(404, f"model '{model}' not found")
        if asked.path == "/api/show":
            return None
        why = _wrong(asked.body, self.models[model].get("capabilities", []))
        return self.refused(400, why) if why else None


def _wrong(body: Json, capabilities: list[str]) -> str:
    if unknown := (body.keys() - _FIELDS) | (body["options"].keys() - _OPTIONS):
        return f"unknown field {sorted(unknown)[0]}"
    if body.get("tools") and "tools" not in capabilities:
        return f"{body['model']} does not support tools"
    for message in body["messages"]:
        if message["role"] not in ("system", "user", "assistant", "tool"):
            return "invalid role"
        for picture in message.get("images", ()):
            base64.b64decode(picture, validate=True)
        for call in message.get("tool_calls", ()):
            if not isinstance(call["function"]["arguments"], dict):
                return "json: cannot unmarshal string into Go struct field"
    return ""


def _line(message: Json, **more: Any) -> bytes:
    line = {"model": "tiny:latest", "created_at": "2026-01-02T03:04:05Z", "message": message, "done": False} | more
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"
