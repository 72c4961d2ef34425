"""Google's Gemini API, as far as the product speaks it, with its refusals."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.standins.server import Asked, Json, Reply, StandIn, sse

KEY = "AIzaStandIn0123456789abcdefghijklmnopqr"
_PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):streamGenerateContent")
_FIELDS = {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings"}
_CONFIG = {"temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed", "responseMimeType"}
_CONFIG |= {"responseJsonSchema", "thinkingConfig", "frequencyPenalty", "presencePenalty"}
_KINDS = {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf"}
_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_STATUS |= {500: "INTERNAL", 503: "UNAVAILABLE"}


class GeminiServer(StandIn):
    content_type = "text/event-stream"
    broken = b'data: {"candidates": [{"content": {"parts": [{"te\n\n'

    def says(self, *texts: str, reason: str = "STOP", calls: tuple[Json, ...] = (), **usage: Any) -> bytes:
        """A whole answer. A call: {name, args}, without an id, as Gemini has none."""
        parts = [{"functionCall": call} for call in calls]
        last: Json = {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}]
        }
        told = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18} | usage
        return self.begins(*texts) + sse(None, last | {"usageMetadata": told, "modelVersion": "gemini"})

    def begins(self, *texts: str) -> bytes:
        thought = {"text": "Hm.", "thought": True}
        return b"".join(
            sse(None, {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]})
            for part in (thought, *({"text": text} for text in texts))
        )

    def blocked(self, reason: str) -> bytes:
        return sse(None, {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 11}})

    # --- what it refuses

    def refused(self, status: int, why: str, *, details: tuple[Json, ...] = (), **headers: str) -> Reply:
        error = {"code": status, "message": why, "status": _STATUS.get(status, "UNKNOWN"), "details": list(details)}
        body = json.dumps({"error": error}).encode()
        return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})

    def check(self, asked: Asked) -> Reply | None:
        named = _PATH.fullmatch(asked.path)
        if named is None or asked.method != "POST" or asked.query != {"alt": "sse"}:
            return self.refused(404, "Not found")
        if asked.headers["x-goog-api-key"] != KEY:
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            return self.refused(400, f"API key not valid: {asked.headers['x-goog-api-key']}", details=(reason,))
        why = _wrong(asked.body, named[1]) or _wrong_contents(asked.body["contents"], named[1])
        return self.refused(400, why) if why else None


def _wrong(body: Json, model: str) -> str:
    config = body.get("generationConfig", {})
    if unknown := (body.keys() - _FIELDS) | (config.keys() - _CONFIG):
        return f'Invalid JSON payload received. Unknown name "{sorted(unknown)[0]}"'
    if len(config.get("stopSequences", ())) > 5:
        return "stop_sequences: at most 5"
    if "responseJsonSchema" in config and config.get("responseMimeType") != "application/json":
        return "response_mime_type must be application/json"
    if "thinkingConfig" in config and not model.startswith("gemini-2.5"):
        return "Thinking budget is not supported for this model"
    if not -(2**31) <= config.get("seed", 0) < 2**31:
        return "Invalid value at 'generation_config.seed' (TYPE_INT32)"
    return "" if body.get("contents") else "contents is not specified"


def _wrong_contents(contents: list[Json], model: str) -> str:
    calls = 0
    for content in contents:
        if content.get("role") not in ("user", "model"):
            return "Please use a valid role: user, model."
        parts = content.get("parts") or []
        if not parts or not all(parts):
            return "Unable to submit request because it must have a text parameter"
        if sum("functionResponse" in part for part in parts) != calls:
            return "the number of function response parts is not equal to the number of function call parts"
        calls = sum("functionCall" in part for part in parts)
        if calls and model.startswith("gemini-3") and not any("thoughtSignature" in part for part in parts):
            return "Function call is missing a thought_signature"
        if any("inlineData" in part and _kind(part["inlineData"]) not in _KINDS for part in parts):
            return "Unsupported MIME type"
    return "" if contents[-1]["role"] == "user" else "Please ensure that the last turn is the user's"


def _kind(blob: Json) -> str:
    """Google reads names in either spelling, and its SDK writes both."""
    return str(blob.get("mimeType") or blob["mime_type"])
