"""Models behind OpenAI's two protocols, by its own SDK: OpenAI itself, and the base for who else speaks the first."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, ProviderRefused
from config.settings import Settings
from workers.llm import openai_chat, openai_responses
from workers.llm.openai_errors import field_not_taken, in_words
from workers.llm.remote import RemoteModel, TryAgain
from workers.llm.wire import Item, Line, client_options
from workers.ports import ChatRequest

# They log every request's address, and at DEBUG its headers and body.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# Fields that may be left out: the answer is then drawn differently, counted by us or stopped by us.
OPTIONAL = frozenset(
    {"temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs"}
    | {"top_logprobs", "stream_options", "include", "store"}
)
# What a thinking model may think beside its answer. Both are counted together, and one that has used them up thinking
# has said nothing.
THINKING_TOKENS = 16_384


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> OpenAIModel:
    return OpenAIModel(provider, spec, settings)


class OpenAIModel(RemoteModel):
    readable = (*RemoteModel.readable, "text/")

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        super().__init__(provider, spec, settings)
        self.thinks = "reasoning" in spec.abilities
        self.thinking_tokens = THINKING_TOKENS if self.thinks else 0
        self._client = client(provider, settings)
        self._not_taken: set[str] = set()  # fields that this model's server has refused

    def dialect(self) -> openai_chat.Dialect:
        if self.thinks:
            return openai_chat.Dialect(frozenset({"seed"}), system="developer")
        return openai_chat.Dialect(OPTIONAL)

    def _open(self, request: ChatRequest) -> Line:
        return Line(lambda: self._items(request))

    def _items(self, request: ChatRequest) -> Generator[Item, None, None]:
        if self.spec.api == "responses":
            body = openai_responses.asked(request, self.spec.wire_id, thinks=self.thinks)
            with self._sent(self._client.responses.create, body) as events:
                yield from openai_responses.Events(events).items()
        else:
            body = openai_chat.asked(request, self.spec.wire_id, self.dialect())
            with self._sent(self._client.chat.completions.create, body) as chunks:
                yield from openai_chat.Chunks(chunks).items()

    def _sent(self, create: Any, body: dict[str, Any]) -> Any:
        """The stream of an answer. A field that the server does not take is left out, from then on."""
        while True:
            body = {name: value for name, value in body.items() if name not in self._not_taken}
            try:
                return create(**body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = field_not_taken(error, OPTIONAL & body.keys())
                if refused is None:
                    raise
                self._not_taken.add(refused)

    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        return in_words(error, self._provider, self.spec.wire_id)


def client(provider: ProviderSpec, settings: Settings, **options: Any) -> openai.OpenAI:
    """Raises ProviderRefused for an address that is none."""
    options = client_options(httpx2, settings) | options
    key = provider.key.get_secret_value()
    more = [] if provider.id == "openai" else [_not_openais]
    more += [] if key else [_no_key]
    options["event_hooks"] = {"request": [*options["event_hooks"]["request"], *more]}
    try:
        return openai.OpenAI(
            api_key=key or "none",  # without one the SDK would take OpenAI's from the environment
            base_url=base_url(provider),
            max_retries=0,
            timeout=options["timeout"],
            http_client=httpx2.Client(**options),
        )
    except (httpx2.InvalidURL, ValueError) as error:
        raise ProviderRefused(f"The address that is set for {provider.label} cannot be used.") from error


def base_url(provider: ProviderSpec) -> str:
    """With the version that every server has in its path, should the owner have left it out."""
    parts = urlsplit(provider.url)
    return provider.url if parts.path.strip("/") else parts._replace(path="/v1").geturl()


def _not_openais(request: Any) -> None:
    """The SDK adds what the environment holds for OpenAI to every request, whoever it goes to."""
    added = [line.partition(":")[0].strip() for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()]
    for name in ("OpenAI-Organization", "OpenAI-Project", *added):
        if name.lower() != "authorization":
            request.headers.pop(name, None)


def _no_key(request: Any) -> None:
    request.headers.pop("Authorization", None)
