"""Redis clients of this process."""

from __future__ import annotations

import os
import threading

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import get_settings

# An answer that takes longer than this means that Redis hangs; callers treat that like a refused connection.
SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
# One carries the live channel, the others replay logs; however many listeners there are.
ASYNC_CONNECTIONS = 8

_lock = threading.Lock()
_clients: dict[tuple[int, bool], redis.Redis] = {}


def redis_client(*, blocking: bool = False) -> redis.Redis:
    """The process's client. `blocking` gives one for BLPOP and the like: redis-py would raise after socket_timeout."""
    key = (os.getpid(), blocking)
    with _lock:
        if key not in _clients:
            _clients[key] = redis.Redis.from_url(
                get_settings().redis,
                socket_timeout=None if blocking else SOCKET_TIMEOUT_S,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                # Once, for a connection that went stale; redis-py's ten tries would hold a caller for a minute.
                retry=Retry(NoBackoff(), 1),
                max_connections=256,
            )
        return _clients[key]


def async_redis_client() -> redis.asyncio.Redis:
    """A client for the calling event loop; the caller closes it. Its few connections are shared: callers take turns.

    It waits for an answer as long as its caller does: redis-py bounds a write by asyncio.wait_for, which on Python 3.11
    may swallow a cancellation.
    """
    pool: redis.asyncio.BlockingConnectionPool = redis.asyncio.BlockingConnectionPool.from_url(
        get_settings().redis,
        socket_timeout=None,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        max_connections=ASYNC_CONNECTIONS,
        timeout=SOCKET_TIMEOUT_S,
    )
    return redis.asyncio.Redis.from_pool(pool)


def close_clients() -> None:
    with _lock:
        for client in _clients.values():
            client.close()
        _clients.clear()
