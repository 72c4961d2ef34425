"""What a worker process does around its tasks: log, leases, models, presence. Wired to Celery's signals."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from config.errors import BackchannelError, Unavailable
from config.logging import configure_logging, log
from config.queues import WORKERS
from config.settings import get_settings
from storage import vectors
from storage.database import DatabaseError
from storage.presence import WorkerPresence
from tasks.embeddings import embed_anew_where_the_model_changed
from tasks.enquiries import Answering
from tasks.leases import Leases, set_leases
from workers import registry

ASK_SERVERS_S = 30.0  # between two looks at which models Ollama and its like have

_leases: Leases | None = None
_ear: Any = None
_answering: Answering | None = None


@setup_logging.connect  # type: ignore[untyped-decorator]
def _logging(**_: Any) -> None:
    configure_logging("beat")  # a worker says its own name as soon as it knows it


@worker_init.connect  # type: ignore[untyped-decorator]
def _start(sender: Any, **_: Any) -> None:
    global _leases  # noqa: PLW0603
    name = str(sender.hostname).partition("@")[0]
    configure_logging(name)
    queues = list(WORKERS.get(name, ())) or [queue.name for queue in sender.app.amqp.queues.consume_from.values()]
    _leases = Leases(WorkerPresence(name=name, queues=queues, slots=int(sender.concurrency or 1)))
    set_leases(_leases)
    _leases.start()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    assert _leases is not None
    _gather_task_events(sender)
    _leases.me.state = "loading"
    _leases.tell()  # `up` and /api/status wait for this
    _answer_enquiries(_leases.me)
    threading.Thread(target=_load_models, name="models", daemon=True).start()


def _answer_enquiries(me: WorkerPresence) -> None:
    """While the models are still loading, too: a search answers by words then."""
    global _answering  # noqa: PLW0603
    if "embed" in me.queues:
        _answering = Answering(me.name, me.slots)
        _answering.start()


def _gather_task_events(consumer: Any) -> None:
    """Tell Flower four times a second what happened, not once per turn of the loop. After a reconnect Celery's own way
    is back, which is slower and right."""
    dispatcher = getattr(consumer, "event_dispatcher", None)
    hub = getattr(consumer, "hub", None)
    if dispatcher is None or hub is None or not dispatcher.enabled:
        return
    dispatcher.on_send_buffered = None
    dispatcher.buffer_limit = 1000
    hub.call_repeatedly(0.25, dispatcher.flush)


def _load_models() -> None:
    """Models load once, beside the consumer: jobs that need none run meanwhile, the others wait and say so."""
    assert _leases is not None
    me = _leases.me
    structlog.contextvars.bind_contextvars(process=me.name)
    speaks, embeds = "chat" in me.queues, "embed" in me.queues
    embedding = get_settings().embedding_model or "default"
    if embeds:
        me.models = {"embedding": {"name": embedding, "state": "loading"}}
    if speaks:
        me.models = {**me.models, **registry.model_states()}
        _leases.look = _look
        if registry.lists_servers():
            threading.Thread(target=_ask_servers, args=(_leases,), name="servers", daemon=True).start()
        _load("language", registry.default_name(), registry.load_default)
    if embeds:
        detail = _load("embedding", embedding, registry.embedder)
        me.models["embedding"] = (
            {"name": registry.embedder().name, "state": "ready"}
            if detail is None
            else {"name": embedding, "state": "failed", "detail": detail}
        )
        if detail is None:
            _load("emotion", get_settings().emotion_model or "default", registry.emotion)  # or the first who asks waits
            with suppress(Unavailable):  # searches say so then
                vectors.prepare()
            if reranking := get_settings().rerank_model:
                _load("reranking", reranking, registry.reranker)
            _have_the_index_follow(registry.embedder().name)
    if "voice" in me.queues:
        _open_the_ear(me)
    # What is loaded by now stays: the collector would walk through all of it again and again, a fifth of an import.
    gc.collect()
    gc.freeze()
    me.state = "ready"
    _leases.tell()
    log.info("worker ready", queues=me.queues)


def _open_the_ear(me: WorkerPresence) -> None:
    """What a spoken turn needs, in the order in which it needs it. The language model is the generate worker's."""
    global _ear  # noqa: PLW0603
    from tasks.ear import Ear
    from workers.voice import house

    assert _leases is not None
    parts: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("transcriber", house.transcriber),
        ("speaker", house.speaker),
        ("speech_emotion", house.speech_emotion),
        ("voice_activity", house.voice_activity),
    )
    me.models = {role: {"name": "default", "state": "loading"} for role, _ in parts}
    for number, (role, load) in enumerate(parts, 1):
        log.info(f"[{number}/{len(parts) + 1}] loading", role=role)
        detail = _load(role, "default", load)
        me.models[role] = (
            {"name": load().name, "state": "ready"}
            if detail is None
            else {"name": "default", "state": "failed", "detail": detail}
        )
        if role == "speaker" and detail is None:
            me.models[role]["voices"] = list(house.speaker().voices)
        _leases.tell()
    log.info(f"[{len(parts) + 1}/{len(parts) + 1}] the language model is served by the generate worker")
    if me.models["voice_activity"]["state"] == me.models["transcriber"]["state"] == "ready":
        _ear = Ear(_leases.worker_name)
        _ear.start()


def _have_the_index_follow(model: str) -> None:
    """A database that is away now is no reason not to serve; the next start looks again."""
    try:
        embed_anew_where_the_model_changed(model)
    except DatabaseError as error:
        log.warning("it is not known whether the index follows its model", reason=type(error).__name__)


def _load(role: str, name: str, load: Callable[[], object]) -> str | None:
    """What is wrong, in a sentence; None when all went well."""
    try:
        load()
    except BackchannelError as error:
        log.error("model not loaded", role=role, model=name, reason=error.detail)
        return error.detail
    except Exception:
        log.exception("model not loaded", role=role, model=name)
        return "The model could not be loaded; the log has the details."
    log.info("model loaded", role=role, model=name)
    return None


def _look(me: WorkerPresence) -> None:
    """Before every report: which language models are there, and what they do."""
    try:
        me.models.update(registry.model_states())
        me.engine = registry.engine_stats()
    except Exception:  # a worker that cannot say how its models are must not look dead
        log.exception("the models' state is not known")


def _ask_servers(leases: Leases) -> None:
    structlog.contextvars.bind_contextvars(process=leases.me.name)
    while True:
        try:
            leases.me.providers = registry.server_listings()
        except Exception:
            log.exception("the servers' models are not known")
        if leases.stopping.wait(ASK_SERVERS_S):
            return


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stopping(**_: Any) -> None:
    """Running jobs stop at their next token or item and go back to the queue; the warm shutdown waits for that."""
    if _leases is not None:
        _leases.me.state = "stopping"
        _leases.stopping.set()
    if _ear is not None:
        _ear.stop()
    if _answering is not None:
        _answering.stop()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stopped(**_: Any) -> None:
    if _answering is not None:
        _answering.finish()
    registry.close()
    if _leases is not None:
        _leases.stop()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _forked(**_: Any) -> None:
    raise SystemExit("Backchannel's workers run with --pool threads: leases and models belong to one process.")
