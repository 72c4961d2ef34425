"""What a worker process does around its tasks: log, leases, models, presence. Wired to Celery's signals."""

from __future__ import annotations

import threading
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

from config.catalogue import EXTRACTIVE
from config.errors import BackchannelError
from config.logging import configure_logging, log
from config.queues import WORKERS
from config.settings import get_settings
from storage.presence import WorkerPresence
from tasks.leases import Leases, set_leases
from workers import registry

_leases: Leases | None = None


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
    threading.Thread(target=_load_models, name="models", daemon=True).start()


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
    """Models load once, beside the consumer: jobs that need none run meanwhile, the others wait for the lock."""
    assert _leases is not None
    me = _leases.me
    structlog.contextvars.bind_contextvars(process=me.name)
    if "chat" in me.queues:
        name = registry.local_model_name(get_settings())
        _load(me, "language", name or EXTRACTIVE, registry.load_local_model)
    if "embed" in me.queues:
        _load(me, "embedding", get_settings().embedding_model or "default", registry.embedder)
    me.state = "ready"
    _leases.tell()
    log.info("worker ready", queues=me.queues)


def _load(me: WorkerPresence, role: str, name: str, load: Any) -> None:
    me.models[role] = {"name": name, "state": "loading"}
    try:
        model = load()
        me.models[role] = {"name": model.name if model is not None else name, "state": "ready"}
        log.info("model loaded", role=role, model=me.models[role]["name"])
    except BackchannelError as error:
        me.models[role] = {"name": name, "state": "failed", "detail": error.detail}
        log.error("model not loaded", role=role, reason=error.detail)
    except Exception:
        me.models[role] = {
            "name": name,
            "state": "failed",
            "detail": "The model could not be loaded; the log has the details.",
        }
        log.exception("model not loaded", role=role)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stopping(**_: Any) -> None:
    """Running jobs stop at their next token or item and go back to the queue; the warm shutdown waits for that."""
    if _leases is not None:
        _leases.me.state = "stopping"
        _leases.stopping.set()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stopped(**_: Any) -> None:
    if _leases is not None:
        _leases.stop()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _forked(**_: Any) -> None:
    raise SystemExit("Backchannel's workers run with --pool threads: leases and models belong to one process.")
