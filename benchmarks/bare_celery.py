"""The baseline of `ledger`: Celery as it comes, with acks_late and a task that does nothing.

python -m benchmarks.bare_celery QUEUE SLOTS [-E]    a worker with the flags of ours
fill, ring                                           the sending side, for a benchmarks.processes.Peer
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import redis
from celery import Celery

from benchmarks.ring import Bell
from cli.run import follow_supervisor

BELL = "bare:started"

app = Celery("bare", broker=os.environ["BARE_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_create_missing_queues=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
_client = redis.Redis.from_url(os.environ["BARE_REDIS"])


@app.task(name="bare.nothing")  # type: ignore[untyped-decorator]
def nothing(_job_id: str) -> None:
    return None


@app.task(name="bare.ring")  # type: ignore[untyped-decorator]
def ring_bell(job_id: str) -> None:
    _client.publish(BELL, job_id)


def fill(queue: str, count: int) -> float:
    """Send `count` tasks; seconds it took."""
    started = time.perf_counter()
    for number in range(count):
        app.send_task("bare.nothing", args=[str(number)], queue=queue, retry=False)
    return time.perf_counter() - started


def ring(queue: str, count: int) -> list[float]:
    """Milliseconds from before the send to hearing that the task has started, one at a time."""
    bell = Bell(_client, BELL)
    found = []
    for number in range(count):
        started = time.perf_counter()
        app.send_task("bare.ring", args=[str(number)], queue=queue, retry=False)
        bell.wait(str(number).encode().__eq__)
        found.append(1000 * (time.perf_counter() - started))
        bell.pause()
    return found


def worker_args(queue: str, slots: str, *more: str) -> list[str]:
    """As cli.launch.worker_args has them."""
    return [
        "worker", "-n", f"{queue}@%h", "-Q", queue, "--pool", "threads", "-c", slots,
        "--without-gossip", "--without-mingle", *more,
    ]  # fmt: skip


def main(args: list[str]) -> Any:
    follow_supervisor()
    app.start(["--quiet", *worker_args(*args)])


if __name__ == "__main__":
    main(sys.argv[1:])
