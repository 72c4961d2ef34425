"""Any server that speaks OpenAI's Chat Completions: vLLM, llama-server, LM Studio and many more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import openai

from config import catalogue
from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, ProviderUnavailable
from config.settings import Settings
from workers.llm.openai import OPTIONAL, OpenAIModel, client
from workers.llm.openai_chat import Dialect
from workers.llm.openai_errors import in_words
from workers.llm.remote import TryAgain

# Where servers tell a model's window and its longest answer; the window it was started with before what it was
# trained for.
_WINDOW = ("max_model_len", "n_ctx", "loaded_context_length", "context_length", "context_window", "max_context_length",
           "n_ctx_train")  # fmt: skip
_OUTPUT = ("max_completion_tokens", "max_output_tokens")
_INSIDE = ("meta", "top_provider")
# Listings are asked for while somebody waits.
_LIST_S = 10.0


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> CompatibleModel:
    return CompatibleModel(provider, spec, settings)


class CompatibleModel(OpenAIModel):
    def dialect(self) -> Dialect:
        return Dialect(OPTIONAL, limit="max_tokens")


def list_models(provider: ProviderSpec, settings: Settings) -> list[ModelSpec]:
    """What the server has now, with the windows it tells. Raises ProviderUnavailable, ProviderRefused."""
    timeout = httpx2.Timeout(_LIST_S, connect=min(settings.provider_connect_s, _LIST_S))
    try:
        with client(provider, settings, timeout=timeout) as asked:
            listed = asked.models.list().data
            entries = [entry.to_dict(warnings=False) for entry in listed]
    except (AttributeError, TypeError, ValueError) as error:
        raise ProviderUnavailable(f"{provider.label} sent a list of models that cannot be read.") from error
    except openai.OpenAIError as error:
        trouble = in_words(error, provider, "list")
        if isinstance(trouble, BackchannelError):
            raise trouble from None
        reason = trouble.reason if isinstance(trouble, TryAgain) else "It answered with an error."
        raise ProviderUnavailable(f"{provider.label} cannot list its models now: {reason}") from None
    named = (entry for entry in entries if isinstance(entry.get("id"), str) and entry["id"])
    return list({spec.id: spec for spec in (_spec(provider, entry) for entry in named)}.values())


def _spec(provider: ProviderSpec, entry: Mapping[str, Any]) -> ModelSpec:
    spec = catalogue.server_model(provider, entry["id"])
    if spec.id in provider.models:  # the owner has said what it is
        return spec
    places = [entry, *(inner for name in _INSIDE if isinstance(inner := entry.get(name), Mapping))]
    window = _first(places, _WINDOW)
    if window is None:
        return spec
    return replace(spec, context_tokens=window, output_tokens=min(_first(places, _OUTPUT) or window, window))


def _first(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> int | None:
    """The first of `names` that has a sensible number in any of `places`."""
    places = list(places)
    found = (place.get(name) for name in names for place in places)
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool) and one > 0), None)
