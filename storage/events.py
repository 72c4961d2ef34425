"""The event log of a job: one Redis stream, numbered without gap, written by whoever holds the job's lease.

Event 1 (`queued`) is implicit: the row says it, so nothing is written when a job is accepted. The stream starts at 2.
When the log was lost (an emptied Redis) the writer notices, because it knows the last number it wrote; it goes on
counting from there with one `reset` event and the answer from its start. A reader therefore never sees a number twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from config.logging import log
from config.settings import get_settings
from storage.tables import Job

TERMINAL_TYPES = frozenset({"done", "error", "cancelled"})
# Types that carry the answer or the state; the rest stop being logged when a log is nearly full.
_ESSENTIAL = TERMINAL_TYPES | {"started", "reset", "content", "queued"}
# Where worker and log are lost together, the row knows only the number that the last heartbeat saved; this leap passes
# whatever was written after it, so that a number is never used twice.
LOST_LEAP = 10_000

# Modes of an append. FIRST opens an attempt after whatever the log holds. NEXT continues after `floor`, the last number
# this writer knows: what a timed-out call did write after all is skipped, so repeating a call writes nothing twice.
# RESTART goes on after a loss. END writes the one event of a job that no attempt runs.
FIRST, NEXT, RESTART, END = "first", "next", "restart", "end"

# KEYS: stream, meta. ARGV: attempt, floor, mode, ttl seconds, full mark, channel, then (type, essential 0|1, JSON
# without its end, resume)…  Returns the last number, -1: stale attempt, -2: log lost.
# meta: attempt (the fence), seq (last number), and the last call that chose its own base (`call`, `base`): repeated, it
# begins where it began.
_APPEND = """
local attempt, floor, mode = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local meta = redis.call('HMGET', KEYS[2], 'attempt', 'seq', 'call', 'base')
local fence, seq = tonumber(meta[1] or '0'), tonumber(meta[2] or '0')
if attempt < fence then return -1 end
local mine, call = attempt == fence, mode .. ' ' .. ARGV[2]
local missing = seq < floor and floor > 1
if mode == 'next' then
  if seq < floor or not mine then return -2 end
elseif mine and meta[3] == call and seq >= tonumber(meta[4]) then
  floor = tonumber(meta[4])
else
  if mode == 'first' then
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    local whole = not oldest or oldest[1] == '2-0' or oldest[2][2] == 'reset'
    if missing or not whole then return -2 end
  elseif mode == 'end' then
    if missing then return -2 end
    local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    if seq > floor and newest and newest[2][2] == ARGV[7] then return seq end
  end
  floor = math.max(seq, floor)
  redis.call('HSET', KEYS[2], 'call', call, 'base', floor)
end
if seq < floor then seq = floor end
local number = floor
for i = 7, #ARGV, 4 do
  if number < tonumber(ARGV[5]) or ARGV[i + 1] == '1' then
    number = number + 1
    if number > seq then
      local body = ARGV[i + 2] .. ',"sequence_number":' .. number .. '}'
      redis.call('XADD', KEYS[1], number .. '-0', 't', ARGV[i], 'd', body, 'r', ARGV[i + 3])
      redis.call('PUBLISH', ARGV[6], number .. ' ' .. ARGV[i] .. ' ' .. body)
      seq = number
    end
  end
end
redis.call('HSET', KEYS[2], 'attempt', attempt, 'seq', seq)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return seq
"""


class LogLost(Exception):
    """The log was emptied while the job ran; write `reset` and what the listener needs to start over."""


class StaleAttempt(Exception):
    """A later attempt writes this log now."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`fields` hold `type` and what belongs to it; `resume` is private to the next attempt (never sent to clients)."""

    fields: dict[str, Any]
    resume: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as clients get it: `json` is the finished object."""

    seq: int
    type: str
    json: bytes
    resume: str = ""

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL_TYPES


def stream_key(job_id: str) -> str:
    return f"bc:events:{job_id}"


def meta_key(job_id: str) -> str:
    return f"bc:events:{job_id}:meta"


def channel(job_id: str) -> str:
    return f"bc:live:{job_id}"


def render(job_id: str, seq: int, fields: dict[str, Any]) -> Event:
    """An event made from the row instead of the log."""
    return Event(seq, fields["type"], orjson.dumps({**fields, "job_id": job_id, "sequence_number": seq}, default=str))


def terminal_fields(status: str, result: dict[str, Any] | None, error: dict[str, Any] | None) -> dict[str, Any] | None:
    """The event that ends a job of this status; None while it has not ended."""
    match status:
        case "succeeded":
            return {"type": "done", "response": result}
        case "failed":
            return {"type": "error", **(error or {})}
        case "cancelled":
            return {"type": "cancelled"}
    return None


def terminal_event(job: Job) -> Event | None:
    """The last event as the row tells it."""
    fields = terminal_fields(job.status, job.result, job.error)
    return render(job.id, job.event_seq, fields) if fields else None


class EventLog:
    """The writing side. Thread-safe; raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._append = client.register_script(_APPEND)

    def append(self, job_id: str, attempt: float, events: Sequence[NewEvent], *, floor: int, mode: str = NEXT) -> int:
        """Write events after number `floor` and return the last number. Raises LogLost, StaleAttempt."""
        settings = get_settings()
        args: list[Any] = [
            attempt,
            floor,
            mode,
            settings.event_log_hours * 3600,
            settings.event_log_max,
            channel(job_id),
        ]
        for event in events:
            kind = event.fields["type"]
            body = orjson.dumps({**event.fields, "job_id": job_id}, default=str)[:-1]
            args += [kind, int(kind in _ESSENTIAL), body, event.resume]
        last = int(self._append(keys=[stream_key(job_id), meta_key(job_id)], args=args))
        if last == -1:
            raise StaleAttempt(job_id)
        if last == -2:
            raise LogLost(job_id)
        return last

    def try_append_end(self, job_id: str, attempt: int, fields: dict[str, Any], seq: int) -> None:
        """Write the event `seq` of a job that no attempt runs (cancelled or buried while it waited, or queued again).
        Never raises: readers fall back on the row. The half step shuts out the attempt before and leaves room for the
        one after."""
        event = [NewEvent(fields)]
        try:
            try:
                self.append(job_id, attempt + 0.5, event, floor=seq - 1, mode=END)
            except LogLost:
                self.append(job_id, attempt + 0.5, event, floor=seq - 1, mode=RESTART)
        except (redis.RedisError, StaleAttempt) as error:
            log.warning("end not in the event log; the row tells it", job_id=job_id, reason=type(error).__name__)

    def shut_out(self, job_id: str, attempt: int) -> int:
        """Let this attempt write no more; returns the last number, 0 when there is no log. Raises StaleAttempt."""
        return self.append(job_id, attempt + 0.5, [], floor=0, mode=END)

    def read(self, job_id: str, after: int = 0, count: int | None = None) -> list[Event]:
        """Events with numbers above `after`, in order."""
        entries: Any = self._redis.xrange(stream_key(job_id), min=f"{after + 1}-0", count=count)
        return [parse_entry(entry) for entry in entries]

    def last(self, job_id: str) -> int:
        """Number of the newest event in the log; 0 when there is no log."""
        return int(self._redis.hget(meta_key(job_id), "seq") or 0)

    def delete(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            self._redis.unlink(*(key for job_id in job_ids for key in (stream_key(job_id), meta_key(job_id))))


def parse_entry(entry: tuple[bytes, dict[bytes, bytes]]) -> Event:
    """An entry of the stream."""
    entry_id, fields = entry
    return Event(int(entry_id.split(b"-")[0]), fields[b"t"].decode(), fields[b"d"], fields[b"r"].decode())


def parse_live(data: bytes) -> Event:
    """A message of the live channel."""
    seq, kind, body = data.split(b" ", 2)
    return Event(int(seq), kind.decode(), body)
