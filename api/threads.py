"""Storage is synchronous; the event loop is not. Every call into storage passes through here."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
T = TypeVar("T")

# SQLite takes one writer at a time, and a few senders at once give the best tail latency.
_WRITERS = 4
# Searches wait in their thread for the index worker; they get threads of their own so that they cannot starve the rest.
_WAITERS = 64

_writers: anyio.CapacityLimiter | None = None
_waiters: anyio.CapacityLimiter | None = None


async def reading(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs))


async def writing(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    global _writers  # noqa: PLW0603 - a limiter belongs to a running loop
    _writers = _writers or anyio.CapacityLimiter(_WRITERS)
    return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs), limiter=_writers)


async def waiting(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """For calls that wait for another process."""
    global _waiters  # noqa: PLW0603
    _waiters = _waiters or anyio.CapacityLimiter(_WAITERS)
    return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs), limiter=_waiters)
