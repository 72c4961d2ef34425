"""Who answers enquiries: threads of the index worker, each of which takes the next one from Redis itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog

from config.errors import BackchannelError, Unavailable
from config.logging import log
from storage import enquiries
from storage.enquiries import Enquiry

# So long a thread waits at once: below the timeout of Redis' sockets, and who stops a worker waits for it.
TAKE_S = 1.0
# Between two tries where Redis is away.
AWAY_S = 0.5
FINISH_S = 3.0

Answer = Callable[[dict[str, Any]], Any]
ANSWERS: dict[str, Answer] = {}


def answers_to(name: str) -> Callable[[Answer], Answer]:
    """Registers who answers enquiries of this name: JSON in, JSON out."""

    def register(answer: Answer) -> Answer:
        ANSWERS[name] = answer
        return answer

    return register


def answer(asked: Enquiry) -> None:
    """Whatever happens, whoever asked is told."""
    try:
        enquiries.reply(asked, value=ANSWERS[asked.name](asked.asked))
    except BackchannelError as error:
        enquiries.reply(asked, error=error)
    except redis.RedisError:
        raise
    except Exception:
        log.exception("an enquiry was not answered", name=asked.name)
        enquiries.reply(asked, error=Unavailable("It failed inside; the log has the details."))


class Answering:
    """Takes and answers enquiries until it is stopped."""

    def __init__(self, process: str, threads: int) -> None:
        self._process = process
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name="enquiries", daemon=True) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more."""
        self._stopping.set()

    def finish(self) -> None:
        """Stop, and wait until those taken are answered, for FINISH_S at most."""
        self.stop()
        until = time.monotonic() + FINISH_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        structlog.contextvars.bind_contextvars(process=self._process)
        while not self._stopping.is_set():
            try:
                asked = enquiries.take(TAKE_S)
                if asked is not None:
                    answer(asked)
            except redis.RedisError:
                self._stopping.wait(AWAY_S)
            except Exception:  # something else that was put there
                log.exception("an enquiry was not understood")
