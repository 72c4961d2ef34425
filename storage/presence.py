"""Which workers are alive, what they serve and whether their models are loaded: keys that expire when a worker dies."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from storage.connections import redis_client

PRESENCE_TTL_S = 8
_KEYS = "bc:workers"  # the keys below; looking for them would walk past every event log


@dataclass(slots=True)
class WorkerPresence:
    name: str
    queues: list[str]
    slots: int
    state: Literal["starting", "loading", "ready", "stopping"] = "starting"
    busy: int = 0
    # role → {name, state, progress, detail}; "resident" → a list of such, of all local language models
    models: dict[str, Any] = field(default_factory=dict)
    providers: dict[str, Any] = field(default_factory=dict)  # servers asked for their models → {status, models, detail}
    engine: dict[str, Any] = field(default_factory=dict)  # what the local models' engines do; jobs → [place, seconds]
    rss_bytes: int = 0
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @property
    def key(self) -> str:
        return f"bc:worker:{self.name}:{self.host}:{self.pid}"


def report(presence: WorkerPresence) -> None:
    pipe = redis_client().pipeline()
    pipe.set(presence.key, orjson.dumps(asdict(presence)), ex=PRESENCE_TTL_S)
    pipe.sadd(_KEYS, presence.key)
    pipe.execute()


def withdraw(presence: WorkerPresence) -> None:
    redis_client().delete(presence.key)


def present() -> list[WorkerPresence]:
    """Workers heard from within PRESENCE_TTL_S. Raises redis.RedisError."""
    client = redis_client()
    keys = sorted(client.smembers(_KEYS))
    values = client.mget(keys) if keys else []
    if gone := [key for key, value in zip(keys, values, strict=True) if value is None]:
        client.srem(_KEYS, *gone)  # one that is only late puts itself back with its next report
    return [_read(value) for value in values if value is not None]


def _read(value: bytes | str) -> WorkerPresence:
    """A worker of another version may tell more, or less."""
    told = orjson.loads(value)
    return WorkerPresence(**{name: told[name] for name in WorkerPresence.__dataclass_fields__ if name in told})
