"""Enquiries: quick work of another process, with an answer instead of a row. No Celery: carrying a message and saying
what became of it takes as long as a whole search."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import orjson
import redis

from config.errors import BackchannelError, ModelUnavailable, Unavailable
from storage.connections import redis_client
from storage.ids import new_id

ASKED = "bc:enquiries"
# What nobody took goes with who asked, or soon after; so does an answer that nobody waits for.
FORGOTTEN_S = 60
# One that was taken and is not answered by then is asked once more: a worker that is killed takes some with it.
AGAIN_S = 5.0


class Enquiry(NamedTuple):
    """`until`: the moment its asker gives up, in seconds of Unix time."""

    name: str
    asked: dict[str, Any]
    reply_to: str
    until: float


def ask(name: str, asked: dict[str, Any], timeout_s: float) -> Any:
    """Have an index worker compute something that leaves no trace, and wait for its answer (JSON).

    Raises Unavailable when no answer comes in time, or the error the worker answered with.
    """
    enquiry = Enquiry(name, asked, f"bc:reply:{new_id()}", time.time() + timeout_s)
    message = orjson.dumps(tuple(enquiry)).decode()
    client = redis_client(blocking=True)
    try:
        _put(client, message)
        answer = client.blpop([enquiry.reply_to], timeout=min(AGAIN_S, timeout_s))
        if answer is None and timeout_s > AGAIN_S:
            if client.lpos(ASKED, message) is None:
                _put(client, message)
            answer = client.blpop([enquiry.reply_to], timeout=timeout_s - AGAIN_S)
        if answer is None:
            client.lrem(ASKED, 1, message)
    except (redis.RedisError, OSError) as error:
        raise Unavailable("The queue cannot be reached right now.", headers={"Retry-After": "2"}) from error
    if answer is None:
        raise Unavailable(f"No index worker answered within {timeout_s:g} s.", headers={"Retry-After": "5"})
    body = orjson.loads(answer[1])
    if "error" in body:
        raise _Answered(body["error"]["message"], body["error"])
    return body["value"]


def _put(client: redis.Redis, message: str) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.rpush(ASKED, message)
    pipe.expire(ASKED, FORGOTTEN_S)
    pipe.execute()


def take(wait_s: float) -> Enquiry | None:
    """The next one, the oldest first; None when none came meanwhile or its asker has given up."""
    taken = redis_client().blpop([ASKED], timeout=wait_s)
    if taken is None:
        return None
    enquiry = Enquiry(*orjson.loads(taken[1]))
    return enquiry if enquiry.until > time.time() else None


def reply(enquiry: Enquiry, *, value: Any = None, error: BackchannelError | None = None) -> None:
    body = {"error": error.as_json()} if error else {"value": value}
    pipe = redis_client().pipeline(transaction=False)
    pipe.rpush(enquiry.reply_to, orjson.dumps(body, default=str))
    pipe.expire(enquiry.reply_to, FORGOTTEN_S)
    pipe.execute()


class _Answered(ModelUnavailable):
    """The other worker's own error."""

    def __init__(self, detail: str, error: dict[str, Any]) -> None:
        super().__init__(detail)
        self.code = error["code"]  # type: ignore[misc]
        self.retryable = error["retryable"]  # type: ignore[misc]
