"""Asking the parts how they are, and telling a slow one from a hung one."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.files import chroma_port_file
from cli.processes import Process
from config.settings import Settings
from storage.presence import WorkerPresence

# One that has answered before and is silent for this long is hung. A model that loads holds up neither answer.
HUNG_S = 60.0
# One that never answered since it was started: first starts read gigabytes from cold disks.
START_HUNG_S = 600.0
ASK_TIMEOUT_S = 2.0


class Answer(Enum):
    YES = "ready"
    NOT_YET = "still loading"
    NO = "no answer"
    UNKNOWN = "cannot be asked"  # by way of a part that is away itself; nobody's fault


def ask_redis(client: redis.Redis) -> Answer:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return Answer.NOT_YET
    except redis.RedisError:
        return Answer.NO
    return Answer.YES


def ask_http(url: str) -> Answer:
    """Does this URL answer 200? No proxy of the environment is asked."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return Answer.YES if connection.getresponse().status == 200 else Answer.NO
    except (OSError, http.client.HTTPException):
        return Answer.NO
    finally:
        connection.close()


def ask_port(host: str, port: int) -> Answer:
    try:
        with socket.create_connection((reachable(host), port), timeout=ASK_TIMEOUT_S):
            return Answer.YES
    except OSError:
        return Answer.NO


def reachable(host: str) -> str:
    """The name by which a client on this machine reaches a server bound to `host`."""
    bare = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)  # noqa: S104 - compared, not bound


def address(host: str, port: int) -> str:
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class Prober:
    """Asks all parts, blocking; made for a thread beside the supervisor's loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis.Redis.from_url(
            settings.redis,
            socket_timeout=ASK_TIMEOUT_S,
            socket_connect_timeout=ASK_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def redis(self) -> Answer:
        return ask_redis(self._redis)

    def ask(self, processes: Iterable[Process], pids: dict[str, int]) -> dict[str, Answer]:
        """Answers of `processes`; one that has no pid is not running."""
        broker = self.redis()
        answers: dict[str, Answer] = {}
        for process in processes:
            pid = pids.get(process.name)
            answers[process.name] = broker if process.role == "redis" else self._ask(process, pid, broker)
        return answers

    def _ask(self, process: Process, pid: int | None, broker: Answer) -> Answer:
        settings = self._settings
        if pid is None:
            return Answer.NO
        match process.role:
            case "web":
                return ask_http(f"{address(settings.host, settings.port)}/health")
            case "chroma":
                return self.chroma()
            case "flower":
                return ask_port(settings.flower_bind, settings.flower_port)
            case "worker":
                return self._worker(process.name, pid) if broker is Answer.YES else Answer.UNKNOWN
            case _:
                return Answer.YES  # beat answers nobody; it runs

    def chroma(self) -> Answer:
        url = self._settings.chroma_url.rstrip("/")
        if not url:
            # Not storage.vectors.server_url: it would bring numpy into a process that only watches.
            try:
                url = f"http://127.0.0.1:{int(chroma_port_file(self._settings).read_text())}"
            except (OSError, ValueError):
                return Answer.NO
        return ask_http(f"{url}/api/v2/heartbeat")

    def _worker(self, name: str, pid: int) -> Answer:
        try:
            value = self._redis.get(WorkerPresence(name=name, queues=[], slots=0, pid=pid).key)
        except redis.RedisError:
            return Answer.UNKNOWN
        if not isinstance(value, bytes):
            return Answer.NO
        return Answer.NOT_YET if orjson.loads(value)["state"] == "starting" else Answer.YES


@dataclass(slots=True)
class _Seen:
    pid: int
    last: float  # the last moment at which silence was no sign of anything
    ready: bool = False


@dataclass(slots=True)
class Watch:
    """Who has been silent for too long. Pure: `now` is given, in seconds of any clock."""

    _seen: dict[str, _Seen] = field(default_factory=dict)

    def see(self, name: str, pid: int, answer: Answer, now: float) -> float | None:
        """Seconds of silence when that is too long, else None."""
        seen = self._seen.get(name)
        if seen is None or seen.pid != pid:
            seen = self._seen[name] = _Seen(pid, now)
        if answer is not Answer.NO:
            seen.last = now
            seen.ready = seen.ready or answer is Answer.YES
            return None
        silent = now - seen.last
        return silent if silent >= (HUNG_S if seen.ready else START_HUNG_S) else None

    def is_new(self, name: str, pid: int) -> bool:
        """True until this process has answered for the first time."""
        seen = self._seen.get(name)
        return seen is None or seen.pid != pid or not seen.ready
