"""Answers that would be the same again: kept in Redis for a while, each for its owner alone, the oldest dropped first.

Whoever looks for an answer and finds none gets a ticket to put one there. A flush in between makes the ticket
worthless, so that what was deleted while an answer was being written is not kept through it. Without Redis there is no
cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import redis

from config.logging import log
from config.settings import MIB, get_settings
from storage.connections import redis_client
from storage.database import Session, after_commit

# member ("owner:key") → the answer's JSON; member → when it ends; hits, misses and bytes; owner → flushes, "" → of all.
VALUES, ENDS, COUNTS, FLUSHES = "bc:answers", "bc:answers:ends", "bc:answers:counts", "bc:answers:flushes"
_KEYS = (VALUES, ENDS, COUNTS, FLUSHES)
# An answer longer than this is worth less than what it would push out.
MAX_BYTES = 256 * 1024

_DROP = """
local function drop(member)
  local bytes = redis.call('HSTRLEN', KEYS[1], member)
  if bytes == 0 then return end
  redis.call('HDEL', KEYS[1], member)
  redis.call('ZREM', KEYS[2], member)
  redis.call('HINCRBY', KEYS[3], 'bytes', -bytes)
end
local function flushes(owner)
  local counts = redis.call('HMGET', KEYS[4], '', owner)
  return (counts[1] or '0') .. '.' .. (counts[2] or '0')
end
"""
# ARGV: owner, member, now. Returns {answer or false, ticket}.
_GET = (
    _DROP
    + """
local ends = redis.call('ZSCORE', KEYS[2], ARGV[2])
if ends and tonumber(ends) <= tonumber(ARGV[3]) then drop(ARGV[2]) ends = false end
redis.call('HINCRBY', KEYS[3], ends and 'hits' or 'misses', 1)
return {ends and redis.call('HGET', KEYS[1], ARGV[2]), flushes(ARGV[1])}
"""
)
# ARGV: owner, member, now, answer, ticket, seconds, most bytes. Returns 1 when it was kept.
_PUT = (
    _DROP
    + """
if flushes(ARGV[1]) ~= ARGV[5] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[3], 'bytes', 0) end
drop(ARGV[2])
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])) do drop(member) end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
redis.call('ZADD', KEYS[2], tonumber(ARGV[3]) + tonumber(ARGV[6]), ARGV[2])
redis.call('HINCRBY', KEYS[3], 'bytes', #ARGV[4])
while tonumber(redis.call('HGET', KEYS[3], 'bytes')) > tonumber(ARGV[7]) do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not oldest then break end
  drop(oldest)
end
for i = 1, 2 do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
return 1
"""
)
# ARGV: owner, or nothing for all. Returns how many went.
_FLUSH = (
    _DROP
    + """
local gone, head = 0, ARGV[1] .. ':'
redis.call('HINCRBY', KEYS[4], ARGV[1], 1)
for _, member in ipairs(redis.call('HKEYS', KEYS[1])) do
  if ARGV[1] == '' or string.sub(member, 1, #head) == head then drop(member) gone = gone + 1 end
end
return gone
"""
)


@dataclass(frozen=True, slots=True)
class Ticket:
    owner_id: str
    key: str
    flushes: str


def is_on() -> bool:
    return get_settings().enable_cache


def find(owner_id: str, key: str) -> tuple[dict[str, Any] | None, Ticket | None]:
    """The answer under this key, or the ticket to put one there; neither where there is no cache now."""
    if not is_on():
        return None, None
    try:
        found, flushes = _run(_GET, owner_id, f"{owner_id}:{key}", time.time())
    except redis.RedisError as error:
        log.warning("no answer cache", reason=type(error).__name__)
        return None, None
    if found:
        return orjson.loads(found), None
    return None, Ticket(owner_id, key, flushes.decode())


def put_after_commit(session: Session, ticket: Ticket, answer: dict[str, Any]) -> None:
    after_commit(session, partial(put, ticket, answer))


def put(ticket: Ticket, answer: dict[str, Any]) -> bool:
    """False when it was not kept. Never raises."""
    settings, body = get_settings(), orjson.dumps(answer)
    if len(body) > MAX_BYTES:
        return False
    member, life_s = f"{ticket.owner_id}:{ticket.key}", int(settings.answer_cache_hours * 3600) or 1
    most = settings.answer_cache_mb * MIB
    try:
        return bool(_run(_PUT, ticket.owner_id, member, time.time(), body, ticket.flushes, life_s, most))
    except redis.RedisError as error:
        log.warning("answer not cached", reason=type(error).__name__)
        return False


def forget_after_commit(session: Session, owner_id: str) -> None:
    """Call where an owner's messages are deleted: some answer may quote them."""
    after_commit(session, partial(_forget, owner_id))


def _forget(owner_id: str) -> None:
    try:
        flush(owner_id)
    except redis.RedisError as error:
        log.error("cached answers were not forgotten", owner_id=owner_id, reason=type(error).__name__)


def flush(owner_id: str | None = None) -> int:
    """Drop an owner's answers, or all; returns how many. Raises redis.RedisError."""
    return int(_run(_FLUSH, owner_id or ""))


def stats() -> dict[str, Any]:
    """Raises redis.RedisError."""
    settings = get_settings()
    pipe = redis_client().pipeline()
    pipe.hgetall(COUNTS)
    pipe.zcount(ENDS, time.time(), "+inf")
    told, entries = pipe.execute()
    hits, misses, size = (int(told.get(name, 0)) for name in (b"hits", b"misses", b"bytes"))
    return {
        "enabled": settings.enable_cache,
        "entries": entries,
        "bytes": size if entries else 0,
        "max_bytes": settings.answer_cache_mb * MIB,
        "ttl_seconds": settings.answer_cache_hours * 3600,
        "hits": hits,
        "misses": misses,
        "hit_rate": round(hits / (hits + misses), 4) if hits + misses else None,
    }


def _run(script: str, *args: Any) -> Any:
    return redis_client().register_script(script)(keys=list(_KEYS), args=list(args))
