"""Models of an Ollama server, by Ollama's own SDK."""

from __future__ import annotations

import base64
import math
from collections.abc import Generator, Iterator
from typing import Any, Literal

import httpx
import ollama

from config.catalogue import ModelSpec, ProviderSpec, server_model
from config.errors import BackchannelError, ProviderRefused, ProviderUnavailable, Unusable
from config.settings import Settings
from workers.llm.remote import RemoteModel
from workers.llm.shapes import new_call_id, paired, schema_of, tool_names
from workers.llm.trouble import TryAgain, retry_after_s, sentence
from workers.llm.wire import Item, Line, client_options, readable
from workers.ports import ChatMessage, ChatRequest, Completion, Delta, TokenLogprob, ToolCall

Json = dict[str, Any]
Reason = Literal["stop", "length", "tool_calls"]

# Ollama's own default cuts the prompt silently, and another window means that the model is loaded anew: it starts
# where most chats fit, and grows by doubling.
_FIRST_WINDOW = 8192
_MAX_ALTERNATIVES = 20
_ABILITIES = {"tools": "tools", "vision": "vision", "thinking": "reasoning"}


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> OllamaModel:
    return OllamaModel(provider, spec, settings)


def list_models(provider: ProviderSpec, settings: Settings) -> list[ModelSpec]:
    """The models that can chat, with their windows, as the server tells them. Raises ProviderUnavailable."""
    client = _client(provider, settings)
    try:
        names = [model.model for model in client.list().models if model.model]
        specs = [_spec(provider, name, client.show(name)) for name in names]
    except (httpx.HTTPError, ConnectionError, ollama.ResponseError, TryAgain, ValueError) as error:
        raise ProviderUnavailable(_silent(provider.label)) from error
    return [spec for spec in specs if spec is not None]


def _client(provider: ProviderSpec, settings: Settings) -> ollama.Client:
    options = client_options(httpx, settings)
    options["event_hooks"]["response"] = [_heard]
    key = provider.key.get_secret_value()
    return ollama.Client(provider.url, headers={"authorization": f"Bearer {key}"} if key else None, **options)


def _spec(provider: ProviderSpec, name: str, shown: ollama.ShowResponse) -> ModelSpec | None:
    """None for a model that only embeds. What the owner's table says of a model wins."""
    if shown.capabilities and "completion" not in shown.capabilities:
        return None
    if name in provider.models:
        return provider.models[name]
    info = shown.modelinfo or {}
    told = info.get(f"{info.get('general.architecture')}.context_length")
    window = told if isinstance(told, int) and told > 0 else server_model(provider, name).context_tokens
    abilities = {_ABILITIES[one] for one in shown.capabilities or [] if one in _ABILITIES} | {"json_schema"}
    return ModelSpec(provider.id, name, name, window, window, frozenset(abilities))


def _silent(label: str) -> str:
    return f"{label} does not answer. Is it running where OLLAMA_URL says?"


class OllamaModel(RemoteModel):
    readable = ("image/jpeg", "image/png", "image/webp")

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        super().__init__(provider, spec, settings)
        # Chat templates leave a last message of the assistant open; those that begin with a thought do not.
        self.can_prefill = "reasoning" not in spec.abilities
        self._client = _client(provider, settings)
        self._window = min(_FIRST_WINDOW, spec.context_tokens)

    def _open(self, request: ChatRequest) -> Line:
        return Line(lambda: self._items(request))

    def _items(self, request: ChatRequest) -> Generator[Item, None, None]:
        # Not client.chat(): it drops whatever a tool's schema has below its first level.
        parts = self._client._request(ollama.ChatResponse, "POST", "/api/chat", json=self._asked(request), stream=True)
        calls: list[ToolCall] = []
        for part in readable(parts):
            for call in part.message.tool_calls or []:
                calls.append(ToolCall(new_call_id(), call.function.name, dict(call.function.arguments)))
            if part.message.content:
                yield Delta(part.message.content, logprobs=tuple(_logprobs(part)))
            if part.done:
                reason: Reason = "length" if part.done_reason == "length" else "tool_calls" if calls else "stop"
                yield Completion(reason, part.prompt_eval_count or 0, part.eval_count or 0, tool_calls=tuple(calls))
                return

    def _asked(self, request: ChatRequest) -> Json:
        sampling = request.sampling
        names = tool_names(request.messages)
        asked: Json = {
            "model": self.spec.wire_id,
            "stream": True,
            "messages": [_message(message, names) for message in paired(request.messages)],
            "options": self._options(request),
        }
        if request.tools:
            asked["tools"] = [
                {
                    "type": "function",
                    "function": {"name": one.name, "description": one.description, "parameters": one.parameters},
                }
                for one in request.tools
            ]
        if (schema := schema_of(sampling)) is not None:
            asked["format"] = schema or "json"
        if sampling.logprobs is not None:
            asked |= {"logprobs": True, "top_logprobs": min(sampling.logprobs, _MAX_ALTERNATIVES)}
        return asked

    def _options(self, request: ChatRequest) -> Json:
        sampling = request.sampling
        needed = self.needed_tokens(request) + sampling.max_tokens
        if needed > self._window:
            self._window = min(2 ** math.ceil(math.log2(needed)), self.context_tokens)
        options: Json = {
            "num_ctx": self._window,
            "num_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
        }
        if sampling.seed is not None:
            options["seed"] = sampling.seed
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        return options

    # --- the errors

    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        match error:
            case ollama.ResponseError():
                return self._refusal(error)
            case httpx.ConnectError() | httpx.ConnectTimeout():
                return ProviderUnavailable(_silent(self.label))
            case httpx.TransportError():
                return TryAgain("The connection failed.")
        return None

    def _refusal(self, error: ollama.ResponseError) -> BackchannelError | TryAgain:
        """Status −1: a line of the stream is an error."""
        told = str(error.error)
        match error.status_code:
            case 401 | 403:
                return self.key_refused()
            case 404:
                return ProviderRefused(f"{self.label} has no model {self.spec.wire_id}; pull it there.")
            case 400 if "does not support" in told:
                return Unusable(f"The model {self.name} cannot do that: {sentence(told)}")
            case status if status in (-1, 408) or status >= 500:
                return TryAgain(sentence(told))
        return ProviderRefused(f"{self.label} refused the request: {sentence(told)}")


def _message(message: ChatMessage, names: dict[str, str]) -> Json:
    said: Json = {"role": message.role, "content": message.content}
    if message.attachments:
        said["images"] = [base64.b64encode(one.data).decode() for one in message.attachments]
    if message.tool_calls:
        said["tool_calls"] = [
            {"function": {"name": call.name, "arguments": call.arguments}} for call in message.tool_calls
        ]
    if message.role == "tool":
        said["tool_name"] = names.get(message.tool_call_id or "", "unknown")
    return said


def _logprobs(part: ollama.ChatResponse) -> Iterator[TokenLogprob]:
    for one in part.logprobs or []:
        top = tuple((other.token, other.logprob) for other in one.top_logprobs or [])
        yield TokenLogprob(one.token, one.logprob, top)


def _heard(response: httpx.Response) -> None:
    """A response's headers have come. Raises TryAgain: the SDK's own errors forget a Retry-After."""
    if response.status_code in (429, 503):
        told = ollama.ResponseError(response.read().decode("utf-8", "replace")).error
        raise TryAgain(sentence(told), retry_after_s(response.headers.get("retry-after")))
    # httpx ends lines wherever str.splitlines() does: also at characters that Ollama leaves bare within its JSON.
    response.iter_lines = lambda: _lines(response.iter_bytes())  # type: ignore[method-assign]


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        yield from (line.decode() for line in whole if line.strip())
    if held.strip():
        yield held.decode()
