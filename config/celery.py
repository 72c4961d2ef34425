"""The Celery app: it moves and runs the work. What happened to a job is in its row, so no result backend."""

from __future__ import annotations

from celery import Celery
from kombu.entity import Queue

from config.queues import KINDS, UPKEEP_QUEUE, WORKERS
from config.settings import get_settings

# A message still unacknowledged after this is delivered again. Jobs guard themselves by claim and lease, so this only
# bounds how long a message reserved by a dead worker is out of sight; upkeep notices earlier.
VISIBILITY_TIMEOUT_S = 3600


def make_celery() -> Celery:
    settings = get_settings()
    app = Celery("backchannel", broker=settings.broker, include=["tasks.all"])
    queues = sorted({queue for names in WORKERS.values() for queue in names})
    app.conf.update(
        task_queues=[Queue(name) for name in queues],  # type: ignore[no-untyped-call]
        task_default_queue=UPKEEP_QUEUE,
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
        worker_send_task_events=True,
        task_send_sent_event=False,  # Flower shows a task once a worker has it; a second message per submit buys little
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=16,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
            # Above kombu's one-second BRPOP; a Redis that hangs is noticed by then, by consumers and senders alike.
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "retry_on_timeout": True,
            # Who sends a job does not wait for a broker that refuses connections (kombu would, for six seconds): upkeep
            # sends it later. Workers have their own patience, see broker_connection_max_retries.
            "max_retries": 0,
        },
        beat_schedule={
            "sweep": {
                "task": "upkeep.sweep",
                "schedule": settings.sweep_s,
                "options": {"queue": UPKEEP_QUEUE, "expires": max(5.0, settings.sweep_s * 3)},
            },
            "purge": {"task": "upkeep.purge", "schedule": 3600.0, "options": {"queue": UPKEEP_QUEUE, "expires": 3600}},
        },
        beat_schedule_filename=str(settings.run_dir / "beat-schedule"),
    )
    return app


celery_app = make_celery()

__all__ = ["KINDS", "celery_app", "make_celery"]
