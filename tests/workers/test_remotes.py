"""Remote models by name: which provider is meant, what is missing, and which servers are asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import ProviderUnavailable, Unusable
from config.settings import Settings, get_settings, reset_settings
from workers import remotes as module
from workers.remotes import Remotes

_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "XAI_API_KEY", "GEMINI_API_KEY", "OLLAMA_URL", "OPENAI_COMPATIBLE_URL")


class Adapter(ModuleType):
    """An adapter's module, by its interface."""

    def __init__(self) -> None:
        super().__init__("tests.adapter")
        self.serves = ["llama3:8b"]
        self.away = False
        self.asked = 0

    def open_model(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> Opened:
        return Opened(provider, spec)

    def list_models(self, provider: ProviderSpec, settings: Settings) -> list[ModelSpec]:
        self.asked += 1
        if self.away:
            raise ProviderUnavailable(f"{provider.label} does not answer.")
        return [ModelSpec(provider.id, one, one, context_tokens=4096) for one in self.serves]


class Opened:
    def __init__(self, provider: ProviderSpec, spec: ModelSpec) -> None:
        self.provider, self.name, self.spec = provider.id, spec.id, spec


@pytest.fixture
def adapter(settings: pytest.MonkeyPatch) -> Iterator[Adapter]:
    adapter = Adapter()
    settings.setitem(sys.modules, adapter.__name__, adapter)
    for provider in list(module._ADAPTERS):
        settings.setitem(module._ADAPTERS, provider, adapter.__name__)
    for name in _KEYS:
        settings.delenv(name, raising=False)
    reset_settings()
    return adapter


def remotes(settings: pytest.MonkeyPatch, **given: str) -> Remotes:
    for name, value in given.items():
        settings.setenv(name, value)
    reset_settings()
    return Remotes(get_settings())


def which(found: object) -> tuple[str, str]:
    assert isinstance(found, Opened)
    return found.provider, found.name


def test_a_listed_model_by_its_id_and_with_its_provider(adapter: Adapter, settings: pytest.MonkeyPatch) -> None:
    known = remotes(settings, OPENAI_API_KEY="k")
    assert which(known.find("gpt-4o")) == ("openai", "gpt-4o")
    assert known.find("openai/gpt-4o") is known.find("gpt-4o")
    assert known.find("gpt-99") is None
    assert known.find("openai/gpt-99") is None
    assert known.find("nobody/gpt-4o") is None


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("claude-sonnet-4", "ANTHROPIC_API_KEY"),
        ("grok-3", "XAI_API_KEY"),
        ("gemini-2.5-pro", "GEMINI_API_KEY"),
        ("ollama/llama3", "OLLAMA_URL"),
        ("compatible/mine", "OPENAI_COMPATIBLE_URL"),
    ],
)
def test_what_is_not_set_is_named(adapter: Adapter, settings: pytest.MonkeyPatch, name: str, setting: str) -> None:
    with pytest.raises(Unusable, match=f"needs the setting {setting}"):
        remotes(settings).find(name)


def test_every_provider_of_the_tables_has_an_adapter() -> None:
    from config.catalogue import providers

    assert set(module._ADAPTERS) == set(providers(get_settings()))


def test_the_default_is_that_of_the_first_provider_that_has_one(adapter: Adapter, settings: pytest.MonkeyPatch) -> None:
    assert remotes(settings).default() is None
    assert remotes(settings, OLLAMA_URL="http://localhost:1").default_name() is None
    known = remotes(settings, GEMINI_API_KEY="k", ANTHROPIC_API_KEY="k")
    assert known.default_name() == "claude-sonnet-5.5"
    assert which(known.default()) == ("anthropic", "claude-sonnet-5.5")


def test_a_servers_model_is_had_without_asking_when_the_server_is_named(
    adapter: Adapter, settings: pytest.MonkeyPatch
) -> None:
    known = remotes(settings, OLLAMA_URL="http://localhost:1")
    assert which(known.find("ollama/any/thing:1b")) == ("ollama", "any/thing:1b")
    assert adapter.asked == 0


def test_an_unknown_name_is_asked_of_the_servers_now_and_then(adapter: Adapter, settings: pytest.MonkeyPatch) -> None:
    known = remotes(settings, OLLAMA_URL="http://localhost:1")
    assert which(known.find("llama3:8b")) == ("ollama", "llama3:8b")
    assert known.find("llama4") is None
    assert adapter.asked == 1
    adapter.serves.append("llama4")
    settings.setattr(module, "LISTED_S", -1.0)
    found = known.find("llama4")
    assert which(found) == ("ollama", "llama4")
    assert found is not None
    assert found.spec.context_tokens == 4096
    assert adapter.asked == 2
    assert known.find("ollama/llama4") is found


def test_a_server_that_is_away_may_know_the_name_later(adapter: Adapter, settings: pytest.MonkeyPatch) -> None:
    known = remotes(settings, OLLAMA_URL="http://localhost:1", OPENAI_API_KEY="k")
    adapter.away = True
    with pytest.raises(ProviderUnavailable, match=r"'llama3:8b'.*Ollama does not answer"):
        known.find("llama3:8b")
    assert which(known.find("gpt-4o")) == ("openai", "gpt-4o")


def test_listings_say_who_is_there(adapter: Adapter, settings: pytest.MonkeyPatch) -> None:
    assert remotes(settings).listings() == {}
    known = remotes(settings, OLLAMA_URL="http://localhost:1")
    model = {"id": "llama3:8b", "name": "llama3:8b", "context_tokens": 4096}
    assert known.listings() == {"ollama": {"status": "online", "models": [model]}}
    adapter.away = True
    offline = {"status": "offline", "models": [], "detail": "Ollama does not answer."}
    assert known.listings() == {"ollama": offline}
