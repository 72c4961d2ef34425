"""Models that others serve, by name. An adapter and its SDK are imported when they are first needed: half a second
each."""

from __future__ import annotations

import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from config import catalogue
from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, ProviderUnavailable, Unusable
from config.settings import Settings

if TYPE_CHECKING:
    from workers.llm.remote import RemoteModel

# How long a server's list of its models is believed.
LISTED_S = 30.0

# Provider → the module with its `open_model` and, where the server is asked for its models, `list_models`.
_ADAPTERS = {
    "openai": "workers.llm.openai",
    "anthropic": "workers.llm.anthropic",
    "xai": "workers.llm.xai",
    "gemini": "workers.llm.gemini",
    "ollama": "workers.llm.ollama",
    "compatible": "workers.llm.compatible",
}

Listed = list[ModelSpec] | BackchannelError


class Remotes:
    """Adapters are cheap and kept: one per model, shared by all threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], RemoteModel] = {}
        self._listed: dict[str, tuple[float, Listed]] = {}

    def default_name(self) -> str | None:
        """The default model of the first provider that is configured and has one."""
        provider = self._default_provider()
        return provider.default if provider is not None else None

    def default_provider(self) -> str | None:
        provider = self._default_provider()
        return provider.id if provider is not None else None

    def default(self) -> RemoteModel | None:
        provider = self._default_provider()
        if provider is None or provider.default is None:
            return None
        return self._model(provider, self._spec(provider, provider.default))

    def find(self, name: str) -> RemoteModel | None:
        """None for a name that nobody knows. Raises Unusable when the provider is not configured, and
        ProviderUnavailable when a server that may know the name cannot be asked."""
        known = catalogue.providers(self._settings)
        provider_id, _, model_id = name.partition("/")
        if model_id and provider_id in known and known[provider_id].models_from_server:
            return self._model(known[provider_id], self._spec(known[provider_id], model_id))
        spec = catalogue.find(self._settings, name)
        if spec is not None:
            return self._model(known[spec.provider], spec)
        return self._find_on_servers(name)

    def listings(self) -> dict[str, Any]:
        """What the servers that list their models answer now: provider → {status, models, detail}."""
        found: dict[str, Any] = {}
        for provider in self._listing():
            listed = self._ask(provider)
            if isinstance(listed, BackchannelError):
                found[provider.id] = {"status": "offline", "models": [], "detail": listed.detail}
            else:
                models = [{"id": one.id, "name": one.name, "context_tokens": one.context_tokens} for one in listed]
                found[provider.id] = {"status": "online", "models": models}
        return found

    def _default_provider(self) -> ProviderSpec | None:
        known = catalogue.providers(self._settings).values()
        return next((provider for provider in known if provider.is_configured and provider.default), None)

    def _find_on_servers(self, name: str) -> RemoteModel | None:
        away: BackchannelError | None = None
        for provider in self._listing():
            with self._lock:
                at, listed = self._listed.get(provider.id, (float("-inf"), []))
            if time.monotonic() - at > LISTED_S:
                listed = self._ask(provider)
            if isinstance(listed, BackchannelError):
                away = listed
            elif (spec := next((one for one in listed if one.id == name), None)) is not None:
                return self._model(provider, spec)
        if away is not None:
            raise ProviderUnavailable(f"Nobody here knows the model {name!r}, and not every server says: {away.detail}")
        return None

    def _listing(self) -> list[ProviderSpec]:
        known = catalogue.providers(self._settings).values()
        return [provider for provider in known if provider.models_from_server and provider.is_configured]

    def _ask(self, provider: ProviderSpec) -> Listed:
        listed: Listed
        try:
            listed = _adapter(provider).list_models(provider, self._settings)
        except BackchannelError as error:
            listed = error
        with self._lock:
            self._listed[provider.id] = time.monotonic(), listed
        return listed

    def _spec(self, provider: ProviderSpec, model_id: str) -> ModelSpec:
        """With what the server told of the model, where it has told."""
        with self._lock:
            _, listed = self._listed.get(provider.id, (0.0, []))
        told = [] if isinstance(listed, BackchannelError) else listed
        known = (one for one in told if one.id == model_id)
        return next(known, None) or catalogue.server_model(provider, model_id)

    def _model(self, provider: ProviderSpec, spec: ModelSpec) -> RemoteModel:
        if not provider.is_configured:
            setting = catalogue.setting_of(provider.id)
            raise Unusable(f"The model {spec.id} is served by {provider.label}, which needs the setting {setting}.")
        with self._lock:
            model = self._open.get((provider.id, spec.id))
        if model is None or model.spec != spec:  # a server may tell more of it later
            model = _adapter(provider).open_model(provider, spec, self._settings)
            with self._lock:
                self._open[provider.id, spec.id] = model
        return model


def _adapter(provider: ProviderSpec) -> Any:
    return import_module(_ADAPTERS[provider.id])
