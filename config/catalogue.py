"""Which models there may be: the providers' tables in models.toml, the owner's own on top, and GGUF files on this disk.

A model is named by its id ("gpt-4o", a file's name without .gguf) or, where two providers have the same, by
"provider/id".
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from config.settings import Settings, SettingsError

ABILITIES = frozenset({"vision", "pdf", "tools", "json_schema", "grammar", "reasoning"})
LOCAL = "local"
EXTRACTIVE = "extractive"  # the answerer without a model, and its provider

_TABLES = Path(__file__).with_name("models.toml")
# A model that only its server knows: what such servers are usually started with.
_UNKNOWN_CONTEXT, _UNKNOWN_OUTPUT = 8192, 4096


@dataclass(frozen=True, slots=True)
class ModelSpec:
    provider: str
    id: str
    name: str  # as people write it
    context_tokens: int = _UNKNOWN_CONTEXT
    output_tokens: int = _UNKNOWN_OUTPUT
    abilities: frozenset[str] = frozenset()
    api: Literal["chat", "responses"] = "chat"
    calls: str = ""  # what the provider itself calls it, where that is not its id

    @property
    def wire_id(self) -> str:
        return self.calls or self.id


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """`url` and `key` are how it is reached; `is_configured` whether the owner has set what it needs."""

    id: str
    label: str
    models: dict[str, ModelSpec]
    url: str
    key: SecretStr
    is_configured: bool
    default: str | None = None
    models_from_server: bool = False


def providers(settings: Settings) -> dict[str, ProviderSpec]:
    """Every remote provider by its id. Raises SettingsError when MODELS_FILE cannot be used."""
    tables = _read(_TABLES)
    if settings.models_file is not None:
        tables = _merged(tables, _read(settings.models_file))
    try:
        return {name: _provider(settings, name, table) for name, table in tables.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"MODELS_FILE: {error} is missing or has a value that cannot be used.") from error


def find(settings: Settings, name: str) -> ModelSpec | None:
    """A remote model that the tables know. None also for those that only a server knows: see `server_model`."""
    provider_id, _, rest = name.partition("/")
    known = providers(settings)
    if rest and provider_id in known and rest in known[provider_id].models:
        return known[provider_id].models[rest]
    return next((one.models[name] for one in known.values() if name in one.models), None)


def server_model(provider: ProviderSpec, model_id: str) -> ModelSpec:
    """A model of a provider whose models are asked from its server, with what the tables say about it."""
    return provider.models.get(model_id) or ModelSpec(
        provider.id, model_id, model_id, abilities=frozenset({"tools", "json_schema"})
    )


def models_dir(settings: Settings) -> Path:
    """Where pulled models lie."""
    return settings.data_dir / "models"


def local_models(settings: Settings) -> dict[str, Path]:
    """GGUF files by name: MODEL_PATH first, then what was pulled. Of a model in several files the first is named."""
    found: dict[str, Path] = {}
    if settings.model_path:
        path = Path(settings.model_path).expanduser()
        found[path.stem] = path
    for path in sorted(models_dir(settings).glob("*.gguf")):
        if not _is_later_part(path.stem):
            found.setdefault(path.stem, path)
    return found


def _is_later_part(stem: str) -> bool:
    """…-00002-of-00003: llama.cpp finds it through the first."""
    rest, _, total = stem.rpartition("-of-")
    return total.isdigit() and rest[-5:].isdigit() and int(rest[-5:]) > 1


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"MODELS_FILE: {path.name} cannot be read: {error}.") from error


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Tables are put together key by key, everything else of `more` wins."""
    result = dict(base)
    for key, value in more.items():
        known = result.get(key)
        result[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def _provider(settings: Settings, name: str, table: dict[str, Any]) -> ProviderSpec:
    own_url, key = _access(settings, name)
    models = {model_id: _model(name, model_id, values) for model_id, values in table.get("models", {}).items()}
    from_server = bool(table.get("models_from_server", False))
    return ProviderSpec(
        id=name,
        label=table.get("label", name),
        models=models,
        url=(own_url or table.get("url", "")).rstrip("/"),
        key=key,
        is_configured=bool(own_url) if from_server else bool(key.get_secret_value()),
        default=table.get("default"),
        models_from_server=from_server,
    )


def _model(provider: str, model_id: str, values: dict[str, Any]) -> ModelSpec:
    spec = replace(ModelSpec(provider, model_id, model_id), **values)
    abilities = frozenset(spec.abilities)
    if unknown := abilities - ABILITIES:
        raise ValueError(f"{provider}/{model_id}: ability {sorted(unknown)[0]!r}")
    if not 0 < spec.output_tokens <= spec.context_tokens:
        raise ValueError(f"{provider}/{model_id}: output_tokens")
    return replace(spec, abilities=abilities)


def _access(settings: Settings, name: str) -> tuple[str, SecretStr]:
    match name:
        case "openai":
            return settings.openai_base_url, settings.openai_api_key
        case "anthropic":
            return settings.anthropic_base_url, settings.anthropic_api_key
        case "xai":
            return settings.xai_base_url, settings.xai_api_key
        case "gemini":
            return settings.gemini_base_url, settings.gemini_api_key
        case "ollama":
            return settings.ollama_url, settings.ollama_api_key
        case "compatible":
            return settings.openai_compatible_url, settings.openai_compatible_api_key
    raise ValueError(f"provider {name!r}")
