"""The providers' tables, what the owner adds to them, and the files on this disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checks
from hypothesis import strategies as st

from config import catalogue
from config.catalogue import ABILITIES, EXTRACTIVE, LOCAL, find, identify, local_models, providers
from config.settings import Settings, SettingsError, get_settings, reset_settings

SEED_PROVIDERS = {"openai", "anthropic", "xai", "gemini", "ollama", "compatible"}


@pytest.fixture
def made(settings: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Settings with these values; `models_file` by its text."""

    def make(models_file: str | None = None, **env: str) -> Settings:
        if models_file is not None:
            path = tmp_path / "models.toml"
            path.write_text(models_file)
            settings.setenv("MODELS_FILE", str(path))
        for name, value in env.items():
            settings.setenv(name, value)
        reset_settings()
        return get_settings()

    return make


def pulled(settings: Settings, *names: str) -> None:
    folder = catalogue.models_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"GGUF")


# --- our own tables


def test_the_tables_are_sound(made: Any) -> None:
    known = providers(made())
    assert known.keys() == SEED_PROVIDERS
    for provider in known.values():
        assert provider.label
        assert provider.models or provider.models_from_server
        assert provider.url.startswith("https://") or provider.models_from_server
        for model in provider.models.values():
            assert 0 < model.output_tokens <= model.context_tokens
            assert model.abilities <= ABILITIES


def test_the_models_of_the_seeds_are_there(made: Any) -> None:
    settings = made()
    assert providers(settings)["gemini"].default == "gemini-3.8-flash"
    found = find(settings, "gemini-2.0-flash-exp")
    assert found is not None
    assert (found.provider, found.name) == ("gemini", "Gemini 2.0 Flash")
    for name in ("gemini-1.5-pro", "gpt-4o", "claude-3.5-haiku", "grok-4"):
        assert find(settings, name) is not None


def test_ids_are_nobody_elses(made: Any) -> None:
    ids = [model_id for provider in providers(made()).values() for model_id in provider.models]
    assert len(ids) == len(set(ids))


def test_a_provider_is_there_by_its_key_or_its_url(made: Any) -> None:
    assert not any(provider.is_configured for provider in providers(made()).values())
    known = providers(made(OPENAI_API_KEY="sk-x", OLLAMA_URL="http://127.0.0.1:1/", OLLAMA_API_KEY="y"))
    assert {name for name, provider in known.items() if provider.is_configured} == {"openai", "ollama"}
    assert known["ollama"].url == "http://127.0.0.1:1"
    assert known["ollama"].key.get_secret_value() == "y"
    assert "sk-x" not in repr(known)


def test_a_key_alone_is_no_server(made: Any) -> None:
    assert not providers(made(OLLAMA_API_KEY="y"))["ollama"].is_configured


@pytest.mark.parametrize("provider", sorted(SEED_PROVIDERS))
def test_every_provider_can_be_pointed_elsewhere(made: Any, provider: str) -> None:
    url = {"ollama": "OLLAMA_URL", "compatible": "OPENAI_COMPATIBLE_URL"}.get(provider, f"{provider}_base_url".upper())
    assert providers(made(**{url: "http://127.0.0.1:9/v1"}))[provider].url == "http://127.0.0.1:9/v1"


# --- the owner's own


def test_a_file_adds_models_and_wins_where_both_speak(made: Any) -> None:
    settings = made(
        """
        [openai]
        default = "gpt-9"
        [openai.models."gpt-9"]
        context_tokens = 1_000_000
        abilities = ["tools"]
        [openai.models."gpt-4o"]
        output_tokens = 1000
        [ollama.models."llama3.1-8b"]
        context_tokens = 131_072
        """
    )
    known = providers(settings)
    assert known["openai"].default == "gpt-9"
    assert known["openai"].models["gpt-9"].name == "gpt-9"
    assert known["openai"].models["gpt-4o"].output_tokens == 1000
    assert known["openai"].models["gpt-4o"].context_tokens == 128_000, "what it does not speak of stays"
    assert known["anthropic"].models.keys() == providers(made(MODELS_FILE=""))["anthropic"].models.keys()
    assert catalogue.server_model(known["ollama"], "llama3.1-8b").context_tokens == 131_072


def test_reading_a_file_changes_nothing_for_the_next(made: Any) -> None:
    made('[openai.models."gpt-9"]')
    assert "gpt-9" in providers(get_settings())["openai"].models
    assert "gpt-9" not in providers(made(MODELS_FILE=""))["openai"].models


def test_a_small_window_bounds_the_answer(made: Any) -> None:
    model = providers(made("[openai.models.tiny]\ncontext_tokens = 512"))["openai"].models["tiny"]
    assert (model.context_tokens, model.output_tokens) == (512, 512)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[openai", "is not TOML"),
        ("openai = 5", "openai: Input should be"),
        ("[gpt]", "there is no provider 'gpt'; known are openai, anthropic"),
        ("[openai]\nmodels = 3", "openai.models: "),
        ("[openai.models.a]\ncontext_tokens = 'many'", "openai.models.a.context_tokens: Input should be a valid int"),
        ("[openai.models.a]\ncontext_tokens = 0", "openai.models.a.context_tokens: "),
        ("[openai.models.a]\ncontext_tokens = 5\noutput_tokens = 6", "output_tokens is more than context_tokens"),
        ("[openai.models.a]\nabilities = ['magic']", "openai.models.a.abilities.0: Input should be 'vision'"),
        ("[openai.models.a]\nabilities = 'vision'", "openai.models.a.abilities: "),
        ("[openai.models.a]\nprovider = 'xai'", "openai.models.a.provider: Extra inputs"),
        ("[openai.models.a]\napi = 'soap'", "openai.models.a.api: "),
        ("[openai]\ndefault = 'gone'", "default is 'gone', which is none of its models"),
        ("[openai]\nkey = 'sk-secret'", "openai.key: Extra inputs"),
    ],
)  # fmt: skip
def test_a_bad_file_is_a_sentence(made: Any, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        providers(made(text))
    message = str(caught.value)
    assert message.startswith("MODELS_FILE: ")
    assert words in message
    assert "sk-secret" not in message


def test_a_file_that_is_not_there(made: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"MODELS_FILE: none\.toml cannot be read: No such file"):
        providers(made(MODELS_FILE=str(tmp_path / "none.toml")))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not TOML"):
        providers(made(MODELS_FILE=str(tmp_path / "bytes.toml")))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@checks(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.dictionaries(st.sampled_from(["openai", "ollama", "x"]), _values, max_size=3))
def test_no_table_is_anything_but_used_or_refused(made: Any, monkeypatch: pytest.MonkeyPatch, table: Any) -> None:
    catalogue._own_tables()  # kept from now on
    with monkeypatch.context() as patched:
        patched.setattr(catalogue, "_read", lambda _path: table)
        settings = made(MODELS_FILE="x.toml")
        try:
            found = providers(settings)
        except SettingsError:
            return
        assert found.keys() == SEED_PROVIDERS


# --- names


def test_what_a_name_means(made: Any) -> None:
    settings = made(OLLAMA_URL="http://127.0.0.1:1")
    pulled(settings, "tiny.gguf", "gpt-4o.gguf")
    served = {"ollama": ["llama3.1-8b"], "compatible": ["openai/oss"]}

    def meant(name: str) -> str | None:
        found = identify(settings, name, served)
        return f"{found.provider}:{found.id}" if found is not None else None

    assert meant("tiny") == meant("local/tiny") == f"{LOCAL}:tiny"
    assert meant("gpt-4o") == f"{LOCAL}:gpt-4o", "a file here comes first"
    assert meant("openai/gpt-4o") == "openai:gpt-4o"
    assert meant("gpt-4o-mini") == "openai:gpt-4o-mini"
    assert meant("llama3.1-8b") == meant("ollama/llama3.1-8b") == "ollama:llama3.1-8b"
    assert meant("openai/oss") == meant("compatible/openai/oss") == "compatible:openai/oss"
    assert meant(EXTRACTIVE) == f"{EXTRACTIVE}:{EXTRACTIVE}"
    for nothing in ("", "gpt", "xai/gpt-4o", "ollama/other", "../tiny", "local/", "/"):
        assert meant(nothing) is None


@pytest.mark.parametrize(
    ("provider", "model_id"),
    [(LOCAL, "tiny"), (EXTRACTIVE, EXTRACTIVE), ("openai", "gpt-4o"), ("compatible", "openai/oss")],
)
def test_full_names_are_taken_apart_again(provider: str, model_id: str) -> None:
    assert catalogue.split_name(catalogue.full_name(provider, model_id)) == (provider, model_id)


# --- files


def test_local_models(made: Any, tmp_path: Path) -> None:
    assert local_models(made()) == {}
    settings = made(MODEL_PATH=str(tmp_path / "own.gguf"))
    pulled(settings, "b.gguf", "a.gguf", "c.gguf.part", "notes.txt", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    assert list(local_models(settings)) == ["own", "a", "b", "m-00001-of-00002"]
    assert local_models(settings)["own"] == tmp_path / "own.gguf"


def test_model_path_wins_over_a_pulled_file_of_its_name(made: Any, tmp_path: Path) -> None:
    settings = made(MODEL_PATH=str(tmp_path / "a.gguf"))
    pulled(settings, "a.gguf")
    assert local_models(settings) == {"a": tmp_path / "a.gguf"}


def test_the_parts_of_a_model(made: Any) -> None:
    settings = made()
    names = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    pulled(settings, *names, "m-00001-of-00002.gguf", "m.gguf", "mm-00001-of-00003.gguf")
    folder = catalogue.models_dir(settings)
    assert [path.name for path in catalogue.parts_of(folder / names[0])] == names
    assert catalogue.parts_of(folder / "m.gguf") == [folder / "m.gguf"]
    assert catalogue.parts_of(folder / "none.gguf") == []


def test_where_a_model_came_from(made: Any) -> None:
    settings = made()
    pulled(settings, "a.gguf", "b.gguf", "c.gguf")
    folder = catalogue.models_dir(settings)
    told = {"reference": "o/r:Q4_0", "repo": "o/r", "bytes": 4}
    catalogue.origin_file(folder / "a.gguf").write_text(json.dumps(told))
    catalogue.origin_file(folder / "b.gguf").write_text("[]")
    catalogue.origin_file(folder / "c.gguf").write_text("{")
    assert [catalogue.origin(folder / f"{name}.gguf") for name in "abcd"] == [told, {}, {}, {}]
    assert catalogue.pulled_as(settings, "o/r:Q4_0") == "a"
    assert catalogue.pulled_as(settings, "o/r") is None


def test_who_answers_where_nobody_chose(made: Any) -> None:
    assert catalogue.first_name(made()) == EXTRACTIVE
    assert catalogue.first_name(made(OLLAMA_URL="http://127.0.0.1:1")) == EXTRACTIVE, "it names no default"
    settings = made(XAI_API_KEY="k")
    assert catalogue.first_name(settings) == "grok-3-mini"
    pulled(settings, "tiny.gguf")
    assert catalogue.first_name(settings) == "tiny"
