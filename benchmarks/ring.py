"""Hearing that a task has started, by publish and subscribe: one clock, that of the process which submits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import redis

LIMIT_S = 30.0


class Bell:
    def __init__(self, client: redis.Redis, pattern: str) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe(pattern)
        self._pubsub.get_message(timeout=1.0)

    def wait(self, is_it: Callable[[bytes], bool]) -> None:
        """Until a message comes of which that is true."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            message = self._pubsub.get_message(timeout=1.0)
            if message is not None and is_it(message["data"]):
                return
        raise TimeoutError(f"nothing was heard within {LIMIT_S:g} s")

    @staticmethod
    def pause() -> None:
        """Idle between tries, and for no round number of milliseconds: tries must not march in step with a poll."""
        time.sleep(random.uniform(0.01, 0.04))
