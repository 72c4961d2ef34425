"""Models by name, of real files: loaded, switched, mended, and gone on without."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from config.catalogue import local_models
from config.errors import ModelUnavailable, Unusable
from config.settings import get_settings, reset_settings
from tests.gguf_model import make_tiny_model
from tests.servers import wait_until
from workers import registry, residents
from workers.llm.local import LocalModel
from workers.local_models import WORKING_BYTES, LocalLoader
from workers.ports import ChatMessage, ChatRequest, Completion, LanguageModel, Sampling
from workers.residents import Residents
from workers.roster import Resident

ASK = ChatRequest((ChatMessage("user", "Anybody there?"),), sampling=Sampling(temperature=0, max_tokens=200))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf", endless=True)


@pytest.fixture(autouse=True)
def data_dir(settings: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A registry, and a folder for models, of this test's own."""
    for name in ("_residents", "_remotes", "_extractive"):
        settings.setattr(registry, name, None)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "XAI_API_KEY", "GEMINI_API_KEY", "OLLAMA_URL"):
        settings.delenv(name, raising=False)
    settings.setenv("DATA_DIR", str(tmp_path))
    settings.setenv("MODEL_N_CTX", "512")
    settings.setenv("MODEL_SLOTS", "2")
    settings.setenv("MODEL_N_THREADS", "1")
    reset_settings()
    (tmp_path / "models").mkdir()
    yield tmp_path
    registry.close()


def use_model(settings: pytest.MonkeyPatch, path: Path) -> None:
    settings.setenv("MODEL_PATH", str(path))
    reset_settings()


def pulled(data_dir: Path, tiny: Path, name: str) -> Path:
    return Path(shutil.copy(tiny, data_dir / "models" / f"{name}.gguf"))


def chosen(name: str | None) -> LanguageModel:
    with registry.language_model(name) as model:
        return model


def answer(model: LanguageModel, on_delta: Callable[[], object] = lambda: None) -> tuple[str, Completion]:
    said = []
    for item in model.stream(ASK, lambda: False):
        if isinstance(item, Completion):
            return "".join(said), item
        said.append(item.text)
        on_delta()
    raise AssertionError("a stream ends with its completion")


class Budgeted(LocalLoader):
    def __init__(self, budget: int) -> None:
        self._budget = budget

    def free(self, residents: Sequence[Resident[LocalModel]]) -> int:
        return self._budget - sum(resident.held for resident in residents)


def room_for(settings: pytest.MonkeyPatch, count: int) -> None:
    """Memory for so many tiny models, and a half."""
    size = LocalLoader().measure(next(iter(local_models(get_settings()))))
    assert size.full > WORKING_BYTES
    settings.setattr(registry, "_residents", Residents(Budgeted(int(size.full * (count + 0.5)))))


# --- names


def test_without_a_model_the_extractive_answerer_serves() -> None:
    assert chosen(None).name == "extractive"
    assert registry.default_name() == "extractive"
    assert registry.engine_stats() == {}
    with pytest.raises(Unusable, match="known are: extractive"):
        chosen("gpt-9")


def test_model_path_is_the_default_and_pulled_files_are_known_at_once(
    settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path
) -> None:
    use_model(settings, tiny)
    with pytest.raises(Unusable, match="known are: tiny, extractive"):
        chosen("early")
    pulled(data_dir, tiny, "early")
    assert chosen("early").name == "early"
    assert chosen("local/early").name == "early"
    assert chosen(None).name == chosen("tiny").name == "tiny"
    assert chosen("extractive").name == "extractive"


def test_without_model_path_the_first_pulled_file_is_the_default(data_dir: Path, tiny: Path) -> None:
    for name in ("b", "a"):
        pulled(data_dir, tiny, name)
    assert chosen(None).name == registry.default_name() == "a"


def test_eight_threads_load_one_model(settings: pytest.MonkeyPatch, tiny: Path) -> None:
    use_model(settings, tiny)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: chosen(None), range(8)))
    assert len({id(model) for model in found}) == 1
    assert chosen("tiny") is found[0]


# --- switching


def test_two_models_that_fit_answer_beside_each_other(settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path) -> None:
    for name in ("a", "b"):
        pulled(data_dir, tiny, name)
    room_for(settings, 2)
    with registry.language_model("a") as first, registry.language_model("b") as second:
        with ThreadPoolExecutor(2) as pool:
            (one, _), (other, _) = pool.map(answer, (first, second))
        assert one == other
        states = registry.model_states()
        language = {"name": "a", "provider": "local", "state": "ready", "users": 1, "memory_mb": 192}
        assert states["language"] == {**language, "context_tokens": 512, "parameters": 186048}
        assert [state["name"] for state in states["resident"]] == ["a", "b"]
        wait_until(lambda: registry.engine_stats()["running"] == 0, what="both engines are idle")
        stats = registry.engine_stats()
        assert (stats["slots"], stats["waiting"], stats["jobs"]) == (4, 0, {})
        assert stats["answer_s"] > 0
    assert chosen("a") is first


def test_a_switch_lets_an_answer_finish_and_back_again(
    settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path
) -> None:
    for name in ("a", "b"):
        pulled(data_dir, tiny, name)
    room_for(settings, 1)
    alone, _ = answer(chosen("a"))
    begun, told, switched = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> tuple[str, Completion]:
        with registry.language_model("a") as model:
            begun.set()
            said = answer(model, lambda: told.wait(20))
            order.append("a")
            return said

    def second(reason: str, _progress: float | None) -> None:
        if reason == "switching_model" and any(
            state["state"] == "leaving" for state in registry.model_states()["resident"]
        ):
            told.set()

    def other() -> str:
        with registry.language_model("b", second) as model:
            order.append("b")
            switched.set()
            return answer(model)[0]

    with ThreadPoolExecutor(3) as pool:
        streaming = pool.submit(first)
        assert begun.wait(20)
        newcomer = pool.submit(other)
        assert told.wait(20)
        third = pool.submit(lambda: chosen("a").name)
        said, completion = streaming.result(20)
        assert newcomer.result(20) == alone
        assert third.result(20) == "a"
    assert (said, completion.finish_reason, completion.completion_tokens) == (alone, "length", 200)
    assert order == ["a", "b"]
    assert [state["name"] for state in registry.model_states()["resident"]] == ["a"]


def test_what_raises_while_waiting_leaves_nothing_hanging(
    settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path
) -> None:
    for name in ("a", "b"):
        pulled(data_dir, tiny, name)
    room_for(settings, 1)

    def cancelled(_reason: str, _progress: float | None) -> None:
        raise InterruptedError

    with (
        registry.language_model("a") as model,
        pytest.raises(InterruptedError),
        registry.language_model("b", cancelled),
    ):
        pytest.fail("it was not to be had")
    assert answer(model)[1].completion_tokens == 200
    assert chosen("b").name == "b"


def test_progress_arrives(settings: pytest.MonkeyPatch, data_dir: Path) -> None:
    path = make_tiny_model(data_dir / "models" / "wide.gguf", embedding=256, vocabulary=16000, blocks=6)
    told: list[float] = []
    with closing(LocalLoader().load(path.stem, 2**20, lambda fraction: told.append(fraction) is None)):
        pass
    assert len(told) > 5
    assert told == sorted(told)
    assert (told[0] < 0.2, told[-1]) == (True, 1.0)


def test_a_load_can_be_ended(data_dir: Path, tiny: Path) -> None:
    pulled(data_dir, tiny, "a")
    with pytest.raises(ModelUnavailable):
        LocalLoader().load("a", 2**20, lambda _fraction: False)


# --- what is broken


def test_a_broken_file_is_a_sentence_and_the_answerer_says_it(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    use_model(settings, broken)
    with pytest.raises(ModelUnavailable) as caught:
        chosen("broken")
    answerer = chosen(None)
    assert answerer.name == "extractive"
    assert caught.value.detail in answer(answerer)[0]
    state = registry.model_states()["language"]
    assert state == {"name": "broken", "provider": "local", "state": "failed", "detail": caught.value.detail}


def test_a_truncated_file_sends_no_other_away(settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path) -> None:
    pulled(data_dir, tiny, "a")
    room_for(settings, 1)
    whole = chosen("a")
    for length in (100, 5000, tiny.stat().st_size - 1):
        name = f"cut{length}"
        (data_dir / "models" / f"{name}.gguf").write_bytes(tiny.read_bytes()[:length])
        with pytest.raises(ModelUnavailable, match=f"The model {name} cannot be loaded"):
            chosen(name)
    assert chosen("a") is whole


def test_a_missing_file_is_a_sentence(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_model(settings, tmp_path / "nowhere.gguf")
    with pytest.raises(ModelUnavailable) as caught:
        chosen("nowhere")
    assert str(tmp_path) not in caught.value.detail
    assert chosen(None).name == "extractive"


def test_a_mended_file_is_loaded_after_a_pause(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"no model")
    use_model(settings, path)
    assert chosen(None).name == "extractive"
    make_tiny_model(path)
    assert chosen(None).name == "extractive"
    settings.setattr(residents, "LOAD_PAUSE_S", 0.0)
    assert chosen(None).name == "tiny"


def test_an_engine_that_gave_up_is_replaced(settings: pytest.MonkeyPatch, tiny: Path) -> None:
    use_model(settings, tiny)
    first = chosen(None)
    assert isinstance(first, LocalModel)
    first.engine.close()
    assert chosen(None) is not first


def test_a_model_that_cannot_fit_says_how_much_it_needs(settings: pytest.MonkeyPatch, tiny: Path) -> None:
    use_model(settings, tiny)
    settings.setenv("MODEL_MEMORY_MB", "100")
    reset_settings()
    with pytest.raises(ModelUnavailable, match=r"needs about 193 MB of memory, and language models may take 100 MB"):
        chosen("tiny")


# --- saved caches


def test_each_model_keeps_its_caches_and_all_are_forgotten_together(data_dir: Path, tiny: Path) -> None:
    for name in ("a", "b"):
        pulled(data_dir, tiny, name)
        chosen(name)
    folders = sorted((data_dir / "model-cache").iterdir())
    assert len(folders) == 2
    kept = [next(folder.iterdir()) / "1.state" for folder in folders]
    for path in kept:
        path.write_bytes(b"what was said")
    pulled(data_dir, tiny, "c")
    chosen("c")
    assert all(path.exists() for path in kept)
    registry.forget_saved()
    assert not any(path.exists() for path in kept)


def test_caches_of_a_model_that_is_gone_go_with_the_next_load(data_dir: Path, tiny: Path) -> None:
    path = pulled(data_dir, tiny, "a")
    chosen("a")
    registry.close()
    path.unlink()
    pulled(data_dir, tiny, "b")
    registry._residents = None
    chosen("b")
    assert len(list((data_dir / "model-cache").iterdir())) == 1
    assert oct((data_dir / "model-cache").stat().st_mode)[-3:] == "700"


def test_a_name_of_dots_stays_inside_the_folder(data_dir: Path, tiny: Path) -> None:
    Path(shutil.copy(tiny, data_dir / "models" / "...gguf"))
    bystander = data_dir / "run"
    bystander.mkdir()
    assert chosen("..").name == ".."
    assert bystander.exists()


def test_without_room_on_disk_nothing_is_kept(settings: pytest.MonkeyPatch, data_dir: Path, tiny: Path) -> None:
    settings.setenv("MODEL_DISK_CACHE_MB", "0")
    use_model(settings, tiny)
    chosen("tiny")
    assert not (data_dir / "model-cache").exists()
