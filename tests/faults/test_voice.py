"""A recorded question comes back as a spoken answer, however often the line is cut or the voice worker dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.faults.evidence import follow, job, submit
from tests.running import Json, Running
from tests.servers import wait_until
from tests.workers.voice import spoken

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ENTRY = 3200  # bytes of 100 ms


@dataclass
class Heard:
    """What came of one turn, over all connections."""

    events: list[Json] = field(default_factory=list)  # of the turn's log
    sound: bytearray = field(default_factory=bytearray)
    ready: Json = field(default_factory=dict)
    done: Json | None = None

    @property
    def last(self) -> int:
        return int(self.events[-1]["sequence_number"]) if self.events else 0

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def one(self, kind: str) -> Json:
        return next(event for event in self.events if event["type"] == kind)

    def assert_whole(self) -> None:
        assert [event["sequence_number"] for event in self.events] == list(range(1, self.last + 1))
        assert self.done is not None
        assert self.done["status"] == "succeeded", self.events[-1]
        assert len(self.sound) == 2 * sum(event["samples"] for event in self.events if event["type"] == "audio")
        assert np.frombuffer(bytes(self.sound), np.int16).any()


@pytest.fixture(scope="module")
def question() -> bytes:
    (samples,) = spoken.say("What time is it?")
    return samples.tobytes()


@contextmanager
def line(system: Running, **query: Any) -> Iterator[ClientConnection]:
    given = "&".join(f"{name}={value}" for name, value in {"temperature": 0, "max_tokens": 300, **query}.items())
    url = f"{system.url.replace('http', 'ws')}/ws/voice?{given}"
    with connect(url, max_size=None, proxy=None, open_timeout=30, close_timeout=1) as socket:
        yield socket


def hear(socket: ClientConnection, heard: Heard, until: Callable[[Heard], bool]) -> None:
    while not until(heard):
        message = socket.recv(timeout=60)
        if isinstance(message, bytes):
            heard.sound += message
            continue
        event = json.loads(message)
        if "sequence_number" in event:
            heard.events.append(event)
        elif event["type"] == "turn_done":
            heard.done = event
        elif event["type"] == "ready":
            heard.ready = event
        assert event["type"] != "error", event


def is_done(heard: Heard) -> bool:
    return heard.done is not None


def test_a_cut_line_is_taken_up_again_and_what_was_said_is_there(system: Running, question: bytes) -> None:
    heard = Heard()
    session_id = (
        httpx.post(f"{system.url}/api/sessions", trust_env=False, timeout=30).raise_for_status().json()["session_id"]
    )
    with line(system, session_id=session_id) as socket:
        socket.send(question)
        hear(socket, heard, lambda so_far: bool(so_far.sound))
        socket.socket.close()  # no goodbye
    # Sound of the last piece may have been on its way: it is asked for from the event before.
    whole = 2 * sum(event["samples"] for event in heard.events if event["type"] == "audio")
    if len(heard.sound) < whole:
        last_audio = max(at for at, event in enumerate(heard.events) if event["type"] == "audio")
        del heard.sound[whole - 2 * heard.events[last_audio]["samples"] :]
        del heard.events[last_audio:]
    turn_id = heard.events[0]["job_id"]
    with line(system, after=heard.last, job_id=turn_id) as socket:
        hear(socket, heard, is_done)
    heard.assert_whole()
    order = heard.types
    assert order.index("transcript") < order.index("emotion") < order.index("response") < order.index("audio")
    result = heard.one("done")["response"]
    assert result["session_id"] == session_id
    read = httpx.get(f"{system.url}/api/sessions/{result['session_id']}/history", trust_env=False, timeout=30).json()
    said, answered = read["turns"]
    assert said["content"] == heard.one("transcript")["text"]
    assert answered["content"] == result["response"] == [e for e in heard.events if e["type"] == "response"][-1]["text"]
    assert said["emotion"]["primary_emotion"] == heard.one("emotion")["data"]["primary_emotion"]
    assert len(read["emotion_timeline"]) == 1
    word = max(said["content"].split(), key=len)

    def found() -> bool:
        hits = httpx.get(f"{system.url}/api/search", params={"q": word}, trust_env=False, timeout=30).json()
        return result["session_id"] in json.dumps(hits)

    wait_until(found, 60, "the spoken words to be found")
    summary = submit(system.url, "summarize", input={"conversation_id": result["session_id"]})
    follow(system.url, summary)
    assert job(system.url, summary)["result"]["summary"]


def test_a_voice_worker_that_dies_in_the_middle_of_the_answer(system: Running, question: bytes) -> None:
    heard = Heard()
    with line(system) as socket:
        socket.send(question)
        hear(socket, heard, lambda so_far: "response" in so_far.types)
        system.kill("voice")
        hear(socket, heard, is_done)
    heard.assert_whole()
    assert heard.types.count("transcript") == 1
    assert heard.types.count("emotion") == 1
    spoken_text = "".join(event["text"] for event in heard.events if event["type"] == "sentence")
    assert spoken_text == heard.one("done")["response"]["response"]
    system.wait_ready("voice")


def test_a_voice_worker_that_dies_while_somebody_speaks(system: Running, question: bytes) -> None:
    heard, half = Heard(), len(question) // 2 // ENTRY * ENTRY
    with line(system) as socket:
        socket.send(question[:half])
        while json.loads(socket.recv(timeout=60))["type"] != "speech_started":
            pass
        system.kill_and_wait("voice")
        socket.send(question[half:])
        hear(socket, heard, is_done)
    heard.assert_whole()
