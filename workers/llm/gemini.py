"""Gemini, by Google's own SDK. Importing it takes half a second."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Literal

import httpx2
from google import genai
from google.genai import errors, types

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, PromptTooLong, ProviderRefused, Unusable
from config.settings import MIB, Settings
from workers.llm.remote import RemoteModel
from workers.llm.shapes import in_turns, new_call_id, schema_of, tool_names
from workers.llm.trouble import TryAgain, retry_after_s, sentence
from workers.llm.wire import Item, Line, client_options, readable
from workers.ports import Attachment, ChatMessage, ChatRequest, Completion, Delta, Sampling, ToolCall

Reason = Literal["stop", "length", "tool_calls", "content_filter"]

PICTURES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")
_MAX_STOPS = 5
_MIN_THOUGHTS = 128  # 2.5 Pro refuses fewer
# Gemini 3 wants each call's signature back; this one stands for calls that were made elsewhere.
_NO_SIGNATURE = b"skip_thought_signature_validator"
_DAY_S = 86_400.0

_REASONS: dict[str, Reason] = {"STOP": "stop", "MAX_TOKENS": "length"}
# The model's own slips: another try usually goes well.
_SLIPS = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE")
_TOO_LONG = re.compile(r"token count.*exceeds", re.IGNORECASE | re.DOTALL)


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> GeminiModel:
    return GeminiModel(provider, spec, settings)


class GeminiModel(RemoteModel):
    readable = (*PICTURES, "application/pdf")
    max_file_bytes = 14 * MIB  # 20 MiB of a whole request are taken, counted as they are sent

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        super().__init__(provider, spec, settings)
        if "reasoning" in spec.abilities:
            self.thinking_tokens = 8192
        self._client = genai.Client(
            vertexai=False,
            api_key=provider.key.get_secret_value(),
            http_options=types.HttpOptions(
                base_url=provider.url, httpx_client=httpx2.Client(**client_options(httpx2, settings))
            ),
        )

    def _open(self, request: ChatRequest) -> Line:
        return Line(lambda: self._items(request))

    def _items(self, request: ChatRequest) -> Generator[Item, None, None]:
        system, turns = in_turns(request.messages)
        names = tool_names(request.messages)
        contents: list[types.ContentUnion] = [
            types.Content(
                role="model" if role == "assistant" else "user",
                parts=[part for message in said for part in self._parts(message, names)],
            )
            for role, said in turns
        ]
        chunks = readable(
            self._client.models.generate_content_stream(
                model=self.spec.wire_id, contents=contents, config=self._config(request, system)
            )
        )
        yield from _items(chunks)

    def _parts(self, message: ChatMessage, names: dict[str, str]) -> Iterator[types.Part]:
        if message.role == "tool":
            result = {"result": message.content}
            name = names.get(message.tool_call_id or "", "unknown")
            yield types.Part(function_response=types.FunctionResponse(name=name, response=result))
        elif message.content.strip():
            yield types.Part(text=message.content)
        yield from map(_file, message.attachments)
        signature = _NO_SIGNATURE if self.spec.wire_id.startswith("gemini-3") else None
        for call in message.tool_calls:
            called = types.FunctionCall(name=call.name, args=call.arguments)
            yield types.Part(function_call=called, thought_signature=signature)

    def _config(self, request: ChatRequest, system: str) -> types.GenerateContentConfig:
        sampling = request.sampling
        schema = schema_of(sampling)
        return types.GenerateContentConfig(
            system_instruction=system or None,
            max_output_tokens=sampling.max_tokens,
            stop_sequences=list(sampling.stop[:_MAX_STOPS]) or None,
            response_mime_type=None if schema is None else "application/json",
            response_json_schema=schema or None,
            tools=[_tools(request)] if request.tools else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            thinking_config=self._thinking(sampling),
            **_drawing(sampling),
        )

    def _thinking(self, sampling: Sampling) -> types.ThinkingConfig | None:
        """A limit, where the model takes one in tokens: its successors think as much as they like."""
        if not self.spec.wire_id.startswith("gemini-2.5"):
            return None
        most = max(_MIN_THOUGHTS, min(self.thinking_tokens, sampling.max_tokens // 2))
        return types.ThinkingConfig(thinking_budget=most)

    # --- the errors

    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        match error:
            case errors.APIError():
                return self._refusal(error)
            case httpx2.TransportError():
                return TryAgain("The connection failed.")
        return None

    def _refusal(self, error: errors.APIError) -> BackchannelError | TryAgain:
        told, details = str(error.message or f"status {error.code}"), list(_details(error))
        if error.code == 429:
            return self._spent(error, told, details)
        if error.code == 408 or error.code >= 500:
            return TryAgain(sentence(told), _pause_s(error, details))
        if error.code in (401, 403) or any(one.get("reason") == "API_KEY_INVALID" for one in details):
            return self.key_refused()
        if error.code == 404:
            return ProviderRefused(f"{self.label} has no model {self.spec.wire_id}.")
        if _TOO_LONG.search(told) or error.code == 413:
            return PromptTooLong(f"The prompt is too long for {self.name}: {sentence(told)}")
        return ProviderRefused(f"{self.label} refused the request: {sentence(told)}")

    def _spent(self, error: errors.APIError, told: str, details: list[dict[str, Any]]) -> BackchannelError | TryAgain:
        """Too many requests in a minute pass soon, in a day tomorrow; where none are allowed, never."""
        violations = [one for detail in details for one in detail.get("violations") or [] if isinstance(one, dict)]
        if any(str(one.get("quotaValue")) == "0" for one in violations):
            return ProviderRefused(f"{self.label} allows this key no requests to {self.spec.wire_id}.")
        pause = _pause_s(error, details)
        if any("PerDay" in str(one.get("quotaId")) for one in violations):
            pause = max(pause or 0.0, _DAY_S / 24)
        return TryAgain(sentence(told), pause)


# --- the request


def _file(attachment: Attachment) -> types.Part:
    kind = attachment.mime_type
    if kind in (*PICTURES, "application/pdf"):
        return types.Part(inline_data=types.Blob(mime_type=kind, data=attachment.data))
    raise Unusable(f"Gemini cannot look at files of the type {kind}.")


def _tools(request: ChatRequest) -> types.Tool:
    return types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name=tool.name, description=tool.description, parameters_json_schema=tool.parameters or None
            )
            for tool in request.tools
        ]
    )


def _drawing(sampling: Sampling) -> dict[str, Any]:
    """How tokens are drawn. Penalties are refused by models that have none, so they are sent where they are wanted."""
    drawing: dict[str, Any] = {
        "temperature": min(max(sampling.temperature, 0.0), 2.0),
        "top_p": sampling.top_p,
        "top_k": sampling.top_k if sampling.top_k > 0 else None,
        "seed": None if sampling.seed is None else sampling.seed % 2**31,  # 32 bits with a sign
    }
    if sampling.frequency_penalty:
        drawing["frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        drawing["presence_penalty"] = sampling.presence_penalty
    return drawing


# --- the answer


def _items(chunks: Iterable[types.GenerateContentResponse]) -> Generator[Item, None, None]:
    calls: list[ToolCall] = []
    usage: types.GenerateContentResponseUsageMetadata | None = None
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
            yield _end("content_filter", usage, [])
            return
        for candidate in chunk.candidates or []:
            for part in (candidate.content and candidate.content.parts) or []:
                if part.function_call is not None and part.function_call.name:
                    call = part.function_call
                    calls.append(ToolCall(call.id or new_call_id(), part.function_call.name, dict(call.args or {})))
                elif part.text and not part.thought:
                    yield Delta(part.text)
            if candidate.finish_reason is not None and candidate.finish_reason.value != "FINISH_REASON_UNSPECIFIED":
                yield _end(_reason(candidate.finish_reason.value, calls), usage, calls)
                return


def _reason(told: str, calls: list[ToolCall]) -> Reason:
    """Raises TryAgain. Whatever is neither an end nor a slip is one of Google's many filters."""
    if told in _SLIPS:
        raise TryAgain("The model called a tool in a way that cannot be read.")
    reason = _REASONS.get(told, "content_filter")
    return "tool_calls" if calls and reason == "stop" else reason


def _end(reason: Reason, usage: types.GenerateContentResponseUsageMetadata | None, calls: list[ToolCall]) -> Completion:
    usage = usage or types.GenerateContentResponseUsageMetadata()
    return Completion(
        reason,
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        tool_calls=tuple(calls),
        cached_tokens=usage.cached_content_token_count,
        reasoning_tokens=usage.thoughts_token_count,
    )


# --- what a refusal says


def _details(error: errors.APIError) -> Iterator[dict[str, Any]]:
    body = error.details if isinstance(error.details, dict) else {}
    inner = body.get("error", body)
    details = inner.get("details") if isinstance(inner, dict) else None
    yield from (one for one in details or [] if isinstance(one, dict))


def _pause_s(error: errors.APIError, details: list[dict[str, Any]]) -> float | None:
    """Google's own "37s" in the body, else the header."""
    for one in details:
        delay = str(one.get("retryDelay", ""))
        if delay.endswith("s") and (pause := retry_after_s(delay[:-1])) is not None:
            return pause
    headers = getattr(error.response, "headers", None) or {}
    return retry_after_s(headers.get("retry-after"))
