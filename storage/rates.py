"""How often somebody did something lately: each counter is one moment, at which all of its allowance would be back.

The allowance comes back evenly (GCRA), so there is no full minute at whose turn twice as much would pass.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from config.logging import log
from storage.connections import redis_client

_PREFIX = "bc:rate:"
# After a failure Redis is left alone this long: waiting for one that hangs would hold every request.
PAUSE_S = 2.0
# Counters of this process alone; beyond this many, those that are full again are forgotten.
MAX_LOCAL = 10_000

# KEYS[1], ARGV: limit, window in µs, cost (negative gives back) → what is ahead of now, in µs, and whether it passed.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local window = tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local after = math.max(full + tonumber(ARGV[3]) * window / tonumber(ARGV[1]), now)
if after - now > window then return {string.format('%.0f', full - now), 0} end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil(window / 1000) + 1)
return {string.format('%.0f', after - now), 1}
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` at once and within `window_s`."""

    limit: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """`reset_s`: until all of the allowance is back."""

    passed: bool
    remaining: int
    reset_s: float
    retry_after_s: float


def _taken(rate: Rate, ahead_s: float, passed: bool) -> Taken:
    each = rate.window_s / rate.limit
    # Half of a thousandth: what rounding takes must not look like a request.
    remaining = max(0, math.floor((rate.window_s - ahead_s) / each + 0.0005))
    return Taken(passed, remaining if passed else 0, ahead_s, 0 if passed else ahead_s + each - rate.window_s)


class LocalRates:
    """Counters of this process, for where Redis is away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._full: dict[str, float] = {}

    def take(self, key: str, rate: Rate, cost: int = 1) -> Taken:
        now = self._clock()
        with self._lock:
            full = max(self._full.get(key, 0.0), now)
            after = max(full + cost * rate.window_s / rate.limit, now)
            if after - now > rate.window_s + 1e-9:
                return _taken(rate, full - now, False)
            self._full[key] = after
            if len(self._full) > MAX_LOCAL:
                self._full = {name: moment for name, moment in self._full.items() if moment > now}
        return _taken(rate, after - now, True)


_local = LocalRates()
_paused_until = 0.0


def take(key: str, rate: Rate, cost: int = 1) -> Taken | None:
    """Counted for all servers together. None when Redis cannot say."""
    global _paused_until  # noqa: PLW0603
    if time.monotonic() < _paused_until:
        return None
    try:
        arguments = (str(rate.limit), f"{rate.window_s * 1e6:.0f}", str(cost))
        ahead, passed = redis_client().eval(_TAKE, 1, _PREFIX + key, *arguments)
    except redis.RedisError as error:
        _paused_until = time.monotonic() + PAUSE_S
        log.warning("requests are not counted while Redis is away", reason=type(error).__name__)
        return None
    return _taken(rate, float(ahead) / 1e6, bool(passed))


def take_surely(key: str, rate: Rate, cost: int = 1) -> Taken:
    """Counted here when Redis is away: what guards passwords must not open with it."""
    return take(key, rate, cost) or _local.take(key, rate, cost)
