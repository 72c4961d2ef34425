"""Which models there may be: the providers' tables in models.toml, the owner's own on top, and GGUF files on this disk.

A model is named by its id ("gpt-4o", a file's name without .gguf) or, where two providers have the same, by
"provider/id".
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from config.settings import Settings, SettingsError

Ability = Literal["vision", "pdf", "tools", "json_schema", "grammar", "reasoning"]
ABILITIES: frozenset[str] = frozenset(get_args(Ability))
LOCAL_ABILITIES = frozenset({"grammar", "json_schema", "tools"})  # of any model that llama.cpp decodes
LOCAL = "local"
EXTRACTIVE = "extractive"  # the answerer without a model, and its provider

_TABLES = Path(__file__).with_name("models.toml")
# A model that only its server knows: what such servers are usually started with.
_UNKNOWN_CONTEXT, _UNKNOWN_OUTPUT = 8192, 4096

# Provider → the settings of its URL, of what it is there by, and of its key.
_SETTINGS = {
    "openai": ("openai_base_url", "openai_api_key", "openai_api_key"),
    "anthropic": ("anthropic_base_url", "anthropic_api_key", "anthropic_api_key"),
    "xai": ("xai_base_url", "xai_api_key", "xai_api_key"),
    "gemini": ("gemini_base_url", "gemini_api_key", "gemini_api_key"),
    "ollama": ("ollama_url", "ollama_url", "ollama_api_key"),
    "compatible": ("openai_compatible_url", "openai_compatible_url", "openai_compatible_api_key"),
}


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
    tables = _own_tables()
    if settings.models_file is not None:
        tables = _merged(tables, _read(settings.models_file))
    return {name: _provider(settings, name, table) for name, table in tables.items()}


def setting_of(provider_id: str) -> str:
    """The setting without which the provider is not there."""
    return _SETTINGS[provider_id][1].upper()


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


def identify(settings: Settings, name: str, served: Mapping[str, Collection[str]]) -> ModelSpec | None:
    """The model that `name` means: a file here, the answerer without one, a provider's, or one of those that the
    servers in `served` (provider → ids) told. None when there is no such model."""
    if name == EXTRACTIVE:
        return ModelSpec(EXTRACTIVE, name, name)
    here = local_models(settings)
    for local in (name, name.removeprefix(f"{LOCAL}/")):
        if local in here:
            return ModelSpec(LOCAL, local, local, abilities=LOCAL_ABILITIES)
    if (listed := find(settings, name)) is not None:
        return listed
    for one in providers(settings).values():
        for model_id in (name, name.removeprefix(f"{one.id}/")):
            if model_id in served.get(one.id, ()):
                return server_model(one, model_id)
    return None


def full_name(provider: str, model_id: str) -> str:
    """The name under which this model, and no other, is found again."""
    return model_id if provider in (LOCAL, EXTRACTIVE) else f"{provider}/{model_id}"


def split_name(name: str) -> tuple[str, str]:
    """A full name's provider and id."""
    provider, separator, model_id = name.partition("/")
    if separator:
        return provider, model_id
    return (EXTRACTIVE if name == EXTRACTIVE else LOCAL), name


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


def first_name(settings: Settings) -> str:
    """The model that answers where nobody chose one: the first local one, else that of a provider."""
    here = next(iter(local_models(settings)), None)
    served = (provider.default for provider in providers(settings).values() if provider.is_configured)
    return here or next(filter(None, served), None) or EXTRACTIVE


def parts_of(path: Path) -> list[Path]:
    """The files of the model whose first is `path`: those that are there."""
    head, separator, total = path.stem.rpartition("-of-")
    if not separator or not total.isdigit() or head[-5:] != "00001":
        return [path] if path.exists() else []
    return sorted(one for one in path.parent.glob("*.gguf") if _same_model(one.stem, head[:-5], f"-of-{total}"))


def _same_model(stem: str, head: str, tail: str) -> bool:
    return stem.startswith(head) and stem.endswith(tail) and stem[len(head) : -len(tail)].isdigit()


def origin_file(path: Path) -> Path:
    """Beside a pulled model: where it came from."""
    return path.with_name(f"{path.name}.json")


def origin(path: Path) -> dict[str, Any]:
    """`reference` (what was asked for), `repo`, `revision`, `sha256` and `bytes` of each file; empty for a file that
    was not pulled."""
    try:
        found = json.loads(origin_file(path).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def pulled_as(settings: Settings, reference: str) -> str | None:
    """The name of the model that was pulled when `reference` was asked for."""
    here = local_models(settings).items()
    return next((name for name, path in here if origin(path).get("reference") == reference), None)


def _is_later_part(stem: str) -> bool:
    """…-00002-of-00003: llama.cpp finds it through the first."""
    rest, _, total = stem.rpartition("-of-")
    return total.isdigit() and rest[-5:].isdigit() and int(rest[-5:]) > 1


@cache
def _own_tables() -> dict[str, Any]:
    return _read(_TABLES)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"MODELS_FILE: {path.name} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # no TOML, or no text
        raise SettingsError(f"MODELS_FILE: {path.name} is not TOML: {error}.") from error


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Tables are put together key by key, everything else of `more` wins."""
    result = dict(base)
    for key, value in more.items():
        known = result.get(key)
        result[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ModelTable(_Table):
    name: str = ""
    context_tokens: int = Field(_UNKNOWN_CONTEXT, gt=0)
    output_tokens: int | None = Field(None, gt=0)
    abilities: list[Ability] = []
    api: Literal["chat", "responses"] = "chat"
    calls: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.output_tokens is not None and self.output_tokens > self.context_tokens:
            raise ValueError("output_tokens is more than context_tokens")
        return self


class _ProviderTable(_Table):
    label: str = ""
    url: str = ""
    default: str | None = None
    models_from_server: bool = False
    models: dict[str, _ModelTable] = {}

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if self.default is not None and not self.models_from_server and self.default not in self.models:
            raise ValueError(f"default is {self.default!r}, which is none of its models")
        return self


def _provider(settings: Settings, name: str, table: Any) -> ProviderSpec:
    own_url, key = _access(settings, name)
    try:
        read = _ProviderTable.model_validate(table)
    except ValidationError as error:
        raise SettingsError(_in_words(name, error)) from None
    return ProviderSpec(
        id=name,
        label=read.label or name,
        models={model_id: _model(name, model_id, values) for model_id, values in read.models.items()},
        url=(own_url or read.url).rstrip("/"),
        key=key,
        is_configured=bool(own_url) if read.models_from_server else bool(key.get_secret_value()),
        default=read.default,
        models_from_server=read.models_from_server,
    )


def _model(provider: str, model_id: str, read: _ModelTable) -> ModelSpec:
    return ModelSpec(
        provider,
        model_id,
        name=read.name or model_id,
        context_tokens=read.context_tokens,
        output_tokens=read.output_tokens or min(_UNKNOWN_OUTPUT, read.context_tokens),
        abilities=frozenset(read.abilities),
        api=read.api,
        calls=read.calls,
    )


def _in_words(provider: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join([provider, *map(str, problem["loc"])])
        lines.append(f"MODELS_FILE: {place}: {problem['msg'].removeprefix('Value error, ')}.")
    return "\n".join(lines)


def _access(settings: Settings, name: str) -> tuple[str, SecretStr]:
    if name not in _SETTINGS:
        raise SettingsError(f"MODELS_FILE: there is no provider {name!r}; known are {', '.join(_SETTINGS)}.")
    url, _, key = _SETTINGS[name]
    return getattr(settings, url), getattr(settings, key)
