"""Talking to /ws/voice in tests: a client, and the voice worker's side played by hand or by the real ear."""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from config.queues import Kind
from storage import voice_lines
from storage.connections import redis_client
from storage.events import FIRST, NEXT, EventLog, NewEvent
from storage.tables import LOCAL_OWNER
from storage.voice_lines import Line
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import Json

RATE = 8000  # of answers, in these tests
PIECE = bytes(range(256)) * 32  # 8 kB of sound, half a second
OF_TURNS = "sequence_number"


class Talker:
    """A client. `line` is what voice workers know of it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.ready = self.hears("ready")
        self._key = f"bc:voice:{max(voice_lines.open_lines())}"  # the newest, as ids are made in order

    @property
    def line(self) -> Line:
        return Line(**json.loads(cast("bytes", redis_client().hget(self._key, "line"))))

    def hear(self) -> Json | bytes:
        frame = self.socket.recv(timeout=20)
        return frame if isinstance(frame, bytes) else cast("Json", json.loads(frame))

    def hears(self, kind: str) -> Json:
        """The next frame, which has to be of this kind."""
        frame = self.hear()
        assert isinstance(frame, dict)
        assert frame["type"] == kind, frame
        return frame

    def hears_until(self, done: Callable[[Json | bytes], bool]) -> list[Json | bytes]:
        frames = [self.hear()]
        while not done(frames[-1]):
            frames.append(self.hear())
        return frames

    def hears_a_turn(self) -> list[Json | bytes]:
        """All frames to its `turn_done`."""
        return self.hears_until(lambda frame: isinstance(frame, dict) and frame["type"] == "turn_done")

    def tells(self, **control: Any) -> None:
        self.socket.send(json.dumps(control))

    def is_told(self, **event: Any) -> None:
        """By the ear."""
        voice_lines.tell(self.line, event)

    def is_closed(self) -> tuple[int, str]:
        """Code and reason, once everything that came before was taken."""
        return closed(self.socket)

    def sent(self) -> list[bytes | Json]:
        """What of it arrived where ears read: sound, and what was said in words."""
        found = cast("list[Any]", redis_client().xrange(f"{self._key}:in"))
        return [entry[b"a"] if b"a" in entry else json.loads(entry[b"c"]) for _, entry in found]


def closed(socket: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            socket.recv(timeout=20)
    except ConnectionClosed as error:
        return (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (1006, "")


def address(live: Listening, **query: Any) -> str:
    return f"ws://127.0.0.1:{live.port}/ws/voice?{urlencode({'output_sample_rate': RATE, **query})}"


@contextmanager
def talk(live: Listening, *, narrow: bool = False, **query: Any) -> Iterator[Talker]:
    """A client that was let in. `narrow`: what it does not read stays with the server."""
    url, more = address(live, **query), {}
    if narrow:
        at = urlsplit(url)
        plug = sockets.socket()
        plug.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        plug.connect((at.hostname, at.port))
        more = {"sock": plug, "max_queue": 1}
    with connect(url, proxy=None, compression=None, close_timeout=1, **more) as socket:
        yield Talker(socket)


def refused(live: Listening, **query: Any) -> tuple[Json, int, str]:
    """The error frame, the close's code and its reason."""
    with connect(address(live, **query), proxy=None) as socket:
        error = json.loads(socket.recv(timeout=20))
        return error, *closed(socket)


class Turn:
    """A spoken turn's job, told event by event."""

    def __init__(self, conversation_id: str | None = None, owner_id: str = LOCAL_OWNER) -> None:
        self.conversation_id = conversation_id or factories.conversation(owner_id)
        self.job_id = factories.job(Kind.VOICE, owner_id, conversation_id=self.conversation_id)
        assert factories.claim(self.job_id) is not None
        self._last, self._pieces = 1, 0
        self._log([{"type": "started"}], FIRST)

    def _log(self, events: list[Json], mode: str = NEXT) -> None:
        told = [NewEvent(event) for event in events]
        self._last = EventLog(redis_client()).append(self.job_id, 1, told, floor=self._last, mode=mode)

    def tells(self, kind: str, **fields: Any) -> None:
        self._log([{"type": kind, **fields}])

    def sounds(self, *pieces: bytes) -> None:
        events = []
        for pcm in pieces:
            voice_lines.keep_audio(self.job_id, self._pieces, pcm)
            ms = len(pcm) * 500 // RATE
            events.append({"type": "audio", "index": self._pieces, "duration_ms": ms, "samples": len(pcm) // 2})
            self._pieces += 1
        self._log(events)

    def ends(self, **result: Any) -> None:
        factories.finish(self.job_id, 1, "succeeded", event_seq=self._last + 1, result=result)
        self.tells("done", response=result)


def events(frames: list[Json | bytes]) -> list[Json]:
    """Those of the turn's log, which are numbered without a gap."""
    found = [frame for frame in frames if isinstance(frame, dict) and OF_TURNS in frame]
    numbers = [event[OF_TURNS] for event in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    return found


def sound(frames: list[Json | bytes]) -> bytes:
    pieces = [frame for frame in frames if isinstance(frame, bytes)]
    assert all(len(piece) % 2 == 0 for piece in pieces)
    return b"".join(pieces)
