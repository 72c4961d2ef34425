"""Lines: what passes in Redis between a client of /ws/voice and the voice worker that listens to it.

client ─▶ web ─▶ stream `in` of the line ─▶ the ear that holds the line (tasks/ear.py)
client ◀─ web ◀─ stream of the web process ◀─┘            answers come by the turn's event log instead

An entry of `in` leaves the stream only when the turn that it belongs to is a job: an ear that dies is followed by
another, which reads the same audio again. All times are milliseconds since 1970, those of entries Redis' own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import redis
import redis.asyncio
from redis.exceptions import RedisError

from config.logging import log
from storage.connections import redis_client
from storage.ids import new_id

MAX_ENTRY_BYTES = 3200  # 100 ms at 16 kHz: where an utterance is cut is told in entries
BEAT_S = 3.0  # between two signs of life of a web process for its lines
SILENT_AFTER_S = 12.0  # a line without them has lost its web process
EAR_TTL_S = 3  # an ear is believed to listen for so long after it said so
AUDIO_TTL_S = 900  # of answers: how long after it was spoken a client may come back and hear it
_KEPT_FOR_WEB = 5000
_LINE_TTL_S = 3600

_OPEN = "bc:voice:open"
_NEWS = "bc:voice:news"


def _meta(line_id: str) -> str:
    return f"bc:voice:{line_id}"


def _in(line_id: str) -> str:
    return f"bc:voice:{line_id}:in"


def _ear(name: str) -> str:
    return f"bc:voice:ear:{name}"


def _web(web_id: str) -> str:
    return f"bc:voice:web:{web_id}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def entry_ms(entry_id: str) -> int:
    """When an entry arrived."""
    return int(entry_id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Line:
    """One connection. `options` go with each of its turns: session_id, model, use_rag, voice, speed, …"""

    id: str
    web_id: str
    owner_id: str
    sample_rate: int  # of what the client sends, samples a second
    output_rate: int
    pause_ms: int
    barge_in: bool
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client sent: audio as it came, or a control message."""

    id: str
    audio: bytes = field(default=b"", repr=False)
    control: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A line that an ear took over: `turns` were made of it; what follows entry `after` was not yet answered."""

    line: Line
    turns: int
    after: str


# --- the ear's side ---------------------------------------------------------------------------------------------------

# KEYS: meta. ARGV: my name, prefix of ears' keys. Takes a line that nobody listens to.
_CLAIM = """
local ear = redis.call('HGET', KEYS[1], 'ear')
if ear and ear ~= ARGV[1] and redis.call('EXISTS', ARGV[2] .. ear) == 1 then return false end
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HSET', KEYS[1], 'ear', ARGV[1])
return redis.call('HMGET', KEYS[1], 'line', 'turns', 'after')
"""


def say_ear_listens(name: str) -> None:
    redis_client().set(_ear(name), 1, ex=EAR_TTL_S)


def withdraw_ear(name: str) -> None:
    redis_client().delete(_ear(name))


def open_lines() -> dict[str, int]:
    """Line → when its web process last gave a sign of life."""
    found: Any = redis_client().zrange(_OPEN, 0, -1, withscores=True)
    return {line_id.decode(): int(score) for line_id, score in found}


def claim(line_id: str, name: str) -> Claimed | None:
    """None where another ear listens, or the line is gone."""
    found: Any = redis_client().register_script(_CLAIM)(keys=[_meta(line_id)], args=[name, _ear("")])
    if not found:
        return None
    line, turns, after = found
    return Claimed(Line(**orjson.loads(line)), int(turns or 0), (after or b"0-0").decode())


def wait_for_news(timeout_s: float) -> None:
    """Until a line is opened, or the time is over."""
    redis_client(blocking=True).blpop([_NEWS], timeout=timeout_s)


def listen(positions: Mapping[str, str], block_ms: int, count: int) -> list[tuple[str, list[Entry]]]:
    """What came on these lines behind these entries: at most `count` of each."""
    keys: dict[Any, Any] = {_in(line_id): after for line_id, after in positions.items()}
    found: Any = redis_client(blocking=True).xread(keys, count=count, block=block_ms) or []
    return [(key.decode().split(":")[2], [_entry(*entry) for entry in entries]) for key, entries in found]


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    control = fields.get(b"c")
    return Entry(entry_id.decode(), fields.get(b"a", b""), orjson.loads(control) if control else None)


def forget_until(line_id: str, entry_id: str, turns: int | None = None) -> None:
    """All up to and including this entry was answered, or was silence."""
    ms, _, number = entry_id.partition("-")
    pipe = redis_client().pipeline()
    pipe.xtrim(_in(line_id), minid=f"{ms}-{int(number or 0) + 1}", approximate=False)
    pipe.hset(_meta(line_id), mapping={"after": entry_id, **({} if turns is None else {"turns": turns})})
    pipe.execute()


def pin_session(line: Line, session_id: str) -> Line:
    """The conversation that this line's next turns belong to."""
    pinned = Line(**{**asdict(line), "options": {**line.options, "session_id": session_id}})
    redis_client().hset(_meta(line.id), "line", orjson.dumps(asdict(pinned)))
    return pinned


def tell(line: Line, event: dict[str, Any]) -> None:
    """To the client, by way of its web process."""
    pipe = redis_client().pipeline(transaction=False)
    pipe.xadd(_web(line.web_id), {"l": line.id, "d": orjson.dumps(event)}, maxlen=_KEPT_FOR_WEB, approximate=True)
    pipe.expire(_web(line.web_id), _LINE_TTL_S)
    pipe.execute()


def remove(line_id: str) -> None:
    """Whatever is left of a line."""
    pipe = redis_client().pipeline()
    pipe.zrem(_OPEN, line_id)
    pipe.unlink(_meta(line_id), _in(line_id))
    pipe.execute()


# --- what a turn says and when it is cut short ------------------------------------------------------------------------


def _audio(job_id: str, index: int) -> str:
    return f"bc:voice:audio:{job_id}:{index}"


def _cuts(job_id: str) -> str:
    return f"bc:voice:cut:{job_id}"


def keep_audio(job_id: str, index: int, pcm: bytes) -> None:
    redis_client().set(_audio(job_id, index), pcm, ex=AUDIO_TTL_S)


def load_audio(job_id: str, index: int) -> bytes | None:
    found: Any = redis_client().get(_audio(job_id, index))
    return found


def cut(job_id: str, heard_ms: int | None) -> None:
    """Stop this turn's answer; `heard_ms` of its audio were heard, None where nobody knows."""
    pipe = redis_client().pipeline()
    pipe.xadd(_cuts(job_id), {"heard_ms": "" if heard_ms is None else heard_ms})
    pipe.expire(_cuts(job_id), AUDIO_TTL_S)
    pipe.execute()


@dataclass(frozen=True, slots=True)
class Cut:
    heard_ms: int | None


def find_cut(job_id: str) -> Cut | None:
    found: Any = redis_client().xrange(_cuts(job_id), count=1)
    return _cut(found[0][1]) if found else None


def _cut(fields: dict[bytes, bytes]) -> Cut:
    return Cut(int(fields[b"heard_ms"]) if fields[b"heard_ms"] else None)


def follow(stream: str, after: int, job_id: str, block_ms: int) -> tuple[list[Any], Cut | None]:
    """Raw entries of an event log behind number `after`, or the cut of `job_id`, whichever comes first."""
    keys: dict[Any, Any] = {stream: f"{after}-0", _cuts(job_id): "0-0"}
    found: Any = redis_client(blocking=True).xread(keys, block=block_ms) or []
    entries: dict[str, Any] = {key.decode(): rows for key, rows in found}
    cuts = entries.get(_cuts(job_id))
    return entries.get(stream, []), _cut(cuts[0][1]) if cuts else None


# --- the web's side ---------------------------------------------------------------------------------------------------


class LineHub:
    """The lines of one web process: one reader for whatever the ears tell them, one heart that beats for all."""

    def __init__(self) -> None:
        self.web_id = new_id()
        self._told: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._lines: dict[str, bytes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._client: redis.asyncio.Redis | None = None
        self._position = "0-0"

    def __len__(self) -> int:
        return len(self._told)

    def start(self, client: redis.asyncio.Redis) -> None:
        """`client` is closed by `stop`."""
        self._client = client
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._beat())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.aclose()

    @property
    def client(self) -> redis.asyncio.Redis:
        assert self._client is not None
        return self._client

    async def open(self, line: Line) -> asyncio.Queue[dict[str, Any]]:
        """What is told to the line from now on. Raises RedisError."""
        told = self._told[line.id] = asyncio.Queue(1000)
        self._lines[line.id] = orjson.dumps(asdict(line))
        pipe = self.client.pipeline()
        pipe.hset(_meta(line.id), "line", orjson.dumps(asdict(line)))
        pipe.expire(_meta(line.id), _LINE_TTL_S)
        pipe.zadd(_OPEN, {line.id: now_ms()})
        pipe.lpush(_NEWS, line.id)
        pipe.ltrim(_NEWS, 0, 100)
        await pipe.execute()
        return told

    async def close(self, line_id: str) -> None:
        """What was said so far is still answered."""
        self._told.pop(line_id, None)
        self._lines.pop(line_id, None)
        with suppress(RedisError, OSError):
            await self.send_control(line_id, {"type": "close"})

    async def send_audio(self, line_id: str, data: bytes) -> int:
        """Returns how many entries the ear has not taken yet."""
        pipe = self.client.pipeline(transaction=False)
        for start in range(0, len(data), MAX_ENTRY_BYTES):
            pipe.xadd(_in(line_id), {"a": data[start : start + MAX_ENTRY_BYTES]})
        pipe.expire(_in(line_id), _LINE_TTL_S)
        pipe.xlen(_in(line_id))
        return int((await pipe.execute())[-1])

    async def waiting(self, line_id: str) -> int:
        return int(await self.client.xlen(_in(line_id)))

    async def send_control(self, line_id: str, control: dict[str, Any]) -> None:
        pipe = self.client.pipeline(transaction=False)
        pipe.xadd(_in(line_id), {"c": orjson.dumps(control)})
        pipe.expire(_in(line_id), _LINE_TTL_S)
        await pipe.execute()

    async def audio(self, job_id: str, index: int) -> bytes | None:
        """A piece of an answer; None when it is no longer kept."""
        found: Any = await self.client.get(_audio(job_id, index))
        return found

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            if self._told:
                with suppress(RedisError, OSError):
                    await self._sign_of_life(list(self._told))

    async def _sign_of_life(self, line_ids: Sequence[str]) -> None:
        pipe = self.client.pipeline(transaction=False)
        pipe.zadd(_OPEN, dict.fromkeys(line_ids, now_ms()))
        for line_id in line_ids:
            pipe.hsetnx(_meta(line_id), "line", self._lines[line_id])  # an emptied Redis forgot it
            pipe.expire(_meta(line_id), _LINE_TTL_S)
        await pipe.execute()

    async def _read(self) -> None:
        while True:
            try:
                keys: dict[Any, Any] = {_web(self.web_id): self._position}
                found: Any = await self.client.xread(keys, block=5000, count=500)
            except (RedisError, OSError) as error:
                log.warning("nothing is heard from the voice workers", reason=type(error).__name__)
                self._position = "0-0"  # the stream may have been emptied; a told event twice is harmless
                await asyncio.sleep(0.5)
                continue
            for _, entries in found or ():
                self._hand_out(entries)

    def _hand_out(self, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> None:
        for entry_id, fields in entries:
            self._position = entry_id.decode()
            told = self._told.get(fields[b"l"].decode())
            if told is not None and not told.full():
                told.put_nowait(orjson.loads(fields[b"d"]))
