"""The Celery app: late acknowledgement, no results, and senders that do not wait for a broker that is away."""

from __future__ import annotations

from config.celery import make_celery
from config.queues import MAX_PRIORITY, MIN_PRIORITY, WORKERS, worker_of


def test_messages_are_hints_and_rows_are_the_truth() -> None:
    conf = make_celery().conf
    assert conf.task_ignore_result
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert not conf.task_create_missing_queues
    assert {queue.name for queue in conf.task_queues} == {queue for queues in WORKERS.values() for queue in queues}


def test_every_priority_has_its_step() -> None:
    steps = make_celery().conf.broker_transport_options["priority_steps"]
    assert steps == list(range(MIN_PRIORITY, MAX_PRIORITY + 1))


def test_sweeps_that_were_missed_do_not_pile_up() -> None:
    for entry in make_celery().conf.beat_schedule.values():
        assert entry["options"]["expires"] <= max(5, entry["schedule"] * 3)


def test_every_queue_has_one_worker_of_its_own() -> None:
    for name, queues in WORKERS.items():
        for queue in queues:
            if queue != "upkeep":  # served by two, so that it goes on while one is busy
                assert worker_of(queue) == name
