"""The adapters of this process, by name: built at worker start or at first use, and shared by all its threads."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from config import catalogue, voice_models
from config.catalogue import EXTRACTIVE, LOCAL
from config.errors import ModelUnavailable, Unusable
from config.settings import Settings, get_settings
from workers.llm import wire
from workers.ports import Embedder, Emotion, LanguageModel, Reranker
from workers.remotes import Remotes
from workers.residents import Residents

if TYPE_CHECKING:
    from workers.llm.extractive import ExtractiveAnswerer
    from workers.llm.local import LocalModel

log = logging.getLogger(__name__)

_lock = threading.Lock()
_embedder_lock = threading.Lock()  # held for the seconds that loading takes; nobody else should wait so long
_residents: Residents[LocalModel] | None = None
_remotes: Remotes | None = None
_extractive: ExtractiveAnswerer | None = None
_embedder: Embedder | None = None
_emotion_lock = threading.Lock()
_emotion: Emotion | None = None
_reranker_lock = threading.Lock()
_reranker: Reranker | ModelUnavailable | None = None
_former: tuple[str, Embedder | None] | None = None  # of an index that another model made


@contextmanager
def language_model(
    name: str | None, on_wait: Callable[[str, float | None], None] | None = None
) -> Iterator[LanguageModel]:
    """The model of this name, which stays loaded for as long as the block runs.

    Names are those of files ("local/…" too), of providers' models ("openai/…" too), and "extractive". Without a name
    the default: the first local model, else that of the first provider that is configured, else the extractive
    answerer, which also serves while the local model cannot be loaded, and says why.

    `on_wait` is called about four times a second while the caller has to wait, with "loading_model" and how far that
    is (0 to 1, or None), or with "switching_model" while answers of other models are finished first; what it raises
    ends the wait. Use one model at a time: who holds one and waits for another may wait for itself.

    Raises Unusable for an unknown name, ModelUnavailable when a named model cannot be loaded, ProviderUnavailable when
    a server that may know the name cannot be asked.
    """
    local = _local_name(name)
    if local is None:
        yield _elsewhere(name)
        return
    with ExitStack() as stack:
        model: LanguageModel
        try:
            model = stack.enter_context(_local_models().use(local, on_wait))
        except ModelUnavailable as error:
            if name is not None:
                raise
            model = _answerer(error.detail)
        yield model


def default_name() -> str:
    """What answers who names no model, if it can be loaded."""
    return _local_name(None) or _providers().default_name() or EXTRACTIVE


def load_default() -> None:
    """Load the default model if it is a local one. Raises ModelUnavailable."""
    local = _local_name(None)
    if local is not None:
        with _local_models().use(local):
            pass


def model_states() -> dict[str, Any]:
    """`language`: the default model, its `state` (ready, loading, not_loaded or failed) and its `progress` or `detail`;
    `resident`: all local models that are loaded or being loaded. For those who watch."""
    name = default_name()
    if _local_name(None) is None:
        provider = _providers().default_provider() or EXTRACTIVE
        return {"language": {"name": name, "provider": provider, "state": "ready"}, "resident": []}
    states = [{**state, "provider": LOCAL} for state in _local_models().states()]
    language = next((state for state in states if state["name"] == name), None)
    if language is None:
        failure = _local_models().failure(name)
        language = {"name": name, "provider": LOCAL, "state": "not_loaded"}
        if failure is not None:
            language |= {"state": "failed", "detail": failure.detail}
    return {"language": language, "resident": states}


def engine_stats() -> dict[str, Any]:
    """What the resident models' engines do, taken together, and the places and seconds of the jobs that wait in them;
    empty without any."""
    engines = [model.engine for model in _residents.models()] if _residents is not None else []
    if not engines:
        return {}
    stats = [engine.stats() for engine in engines]
    return {
        "slots": sum(one.slots for one in stats),
        "running": sum(one.running for one in stats),
        "waiting": sum(one.waiting for one in stats),
        "tokens_per_second": round(sum(one.tokens_per_second for one in stats), 1),
        "answer_s": max((one.answer_s for one in stats if one.answer_s is not None), default=None),
        "jobs": {job: list(place) for engine in engines for job, place in engine.waiting_jobs().items()},
    }


def server_listings() -> dict[str, Any]:
    """What the configured servers that list their models (Ollama, compatible ones) answer now, by provider:
    {status, models, detail}. Waits for them."""
    return _providers().listings()


def forget_saved() -> None:
    """Drops what all local models, resident or not, keep of conversations beside the database."""
    from workers.local_models import forget_saved

    for model in _residents.models() if _residents is not None else []:
        model.engine.forget_saved()
    forget_saved(get_settings())


def lists_servers() -> bool:
    """Whether a server is configured that is asked for its models."""
    known = catalogue.providers(get_settings()).values()
    return any(provider.models_from_server and provider.is_configured for provider in known)


def close() -> None:
    """Close what is resident, and connections that are kept. A load that is going on ends; who waits for it is told to
    try again."""
    if _residents is not None:
        _residents.close()
    wire.close_idle()


def embedder() -> Embedder:
    """The embedder of the settings, loaded at first use (seconds)."""
    global _embedder  # noqa: PLW0603
    settings = get_settings()
    with _embedder_lock:
        if _embedder is None:
            if settings.embedding_backend == "hashing":
                from workers.embedding.hashing import HashingEmbedder

                _embedder = HashingEmbedder()
            else:
                from workers.embedding.minilm import SentenceEmbedder

                _embedder = SentenceEmbedder(
                    settings.embedding_model or None,
                    threads=settings.embedding_threads or None,
                    gpu_mb=settings.embedding_gpu_mb,
                )
        return _embedder


def embedder_named(name: str) -> Embedder | None:
    """The embedder that calls itself so: the one of the settings, or another that is on this machine, loaded for an
    index that it made and that still serves. None when it cannot be had."""
    global _former  # noqa: PLW0603
    current = embedder()
    if current.name == name:
        return current
    with _embedder_lock:
        if _former is None or _former[0] != name:
            _former = (name, _open_embedder(name))
        return _former[1]


def reranker() -> Reranker | None:
    """Of the settings, loaded at first use (seconds); None where none is named. Raises ModelUnavailable for one that
    cannot be had, which is not tried again."""
    global _reranker  # noqa: PLW0603
    settings = get_settings()
    if not settings.rerank_model:
        return None
    with _reranker_lock:
        if _reranker is None:
            from workers.rerank.cross_encoder import CrossEncoderReranker

            threads = settings.rerank_threads or max(1, (os.cpu_count() or 1) // 2)
            try:
                _reranker = CrossEncoderReranker(settings.rerank_model, threads=threads)
            except ModelUnavailable as error:
                _reranker = error
        if isinstance(_reranker, ModelUnavailable):
            raise ModelUnavailable(_reranker.detail)
        return _reranker


def emotion() -> Emotion:
    """Of text, by the model of the settings, else by the one that was pulled for the voice; where there is none, or it
    cannot be loaded, by the embedder."""
    global _emotion  # noqa: PLW0603
    with _emotion_lock:
        if _emotion is None:
            _emotion = _open_emotion(get_settings())
        return _emotion


def _open_emotion(settings: Settings) -> Emotion:
    from workers.emotion.prototypes import PrototypeEmotion

    folder, name = settings.emotion_model, None
    if not folder and voice_models.is_here(settings, "emotion"):
        folder = str(voice_models.folder(settings, "emotion"))
        name = voice_models.origin(settings, "emotion").get("name")
    if folder:
        from workers.emotion.classifier import ClassifierEmotion

        try:
            found = ClassifierEmotion(folder, threads=settings.embedding_threads or None)
            found.name = name or found.name
            return found
        except ModelUnavailable as error:
            log.error("emotions are told by the embedding model instead: %s", error.detail)
    return PrototypeEmotion(embedder())


def _open_embedder(name: str) -> Embedder | None:
    from workers.embedding.hashing import HashingEmbedder
    from workers.embedding.minilm import DEFAULT_NAME, SentenceEmbedder

    if name == HashingEmbedder.name:
        return HashingEmbedder()
    try:
        return SentenceEmbedder(
            None if name == DEFAULT_NAME else name, threads=get_settings().embedding_threads or None
        )
    except ModelUnavailable as error:
        log.warning("the index of another embedding model is searched by words only: %s", error.detail)
        return None


def _local_name(name: str | None) -> str | None:
    """The local model of this name, without a name the first; None when there is none."""
    here = catalogue.local_models(get_settings())
    if name is None:
        return next(iter(here), None)
    if name == EXTRACTIVE:  # even if a file is called so
        return None
    bare = name.removeprefix(f"{LOCAL}/")
    return next((known for known in (name, bare) if known in here), None)


def _elsewhere(name: str | None) -> LanguageModel:
    """The model of this name, which is no local one."""
    if name == EXTRACTIVE:
        return _answerer(None)
    found = _providers().default() if name is None else _providers().find(name)
    if found is not None:
        return found
    if name is None:
        return _answerer(None)
    settings = get_settings()
    ready = [one.id for one in catalogue.providers(settings).values() if one.is_configured]
    known = ", ".join([*catalogue.local_models(settings), *(f"{one}/…" for one in ready), EXTRACTIVE])
    raise Unusable(f"There is no model {name!r}; known are: {known}.")


def _answerer(problem: str | None) -> ExtractiveAnswerer:
    global _extractive  # noqa: PLW0603
    with _lock:
        if _extractive is None or _extractive.problem != problem:
            from workers.llm.extractive import ExtractiveAnswerer

            _extractive = ExtractiveAnswerer(problem=problem)
        return _extractive


def _local_models() -> Residents[LocalModel]:
    global _residents  # noqa: PLW0603
    with _lock:
        if _residents is None:
            from workers.local_models import LocalLoader

            _residents = Residents(LocalLoader())
        return _residents


def _providers() -> Remotes:
    global _remotes  # noqa: PLW0603
    with _lock:
        if _remotes is None:
            _remotes = Remotes(get_settings())
        return _remotes
