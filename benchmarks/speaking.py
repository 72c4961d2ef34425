"""A client of /ws/voice that speaks as fast as people do."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from dataclasses import dataclass

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.processes import Trouble
from workers.voice.ports import HEARING_RATE, Samples

FRAME_S = 0.05
PATIENCE_S = 60.0
_LOUD = 300  # below it espeak-ng has said all


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """`first_sound_s`: from when the last loud sample was sent. `timings`: the turn's own, in ms."""

    first_sound_s: float
    timings: dict[str, int]
    transcript: str


def ask(port: int, samples: Samples, *, alone: bool = False) -> SpokenTurn:
    """Speak, go on with silence, listen to the end. `alone`: in a conversation of its own."""
    query = f"?session_id={_session(port)}" if alone else ""
    with connect(f"ws://127.0.0.1:{port}/ws/voice{query}", max_size=None, proxy=None) as socket:
        over = threading.Event()
        ended: list[float] = []
        speaker = threading.Thread(target=_speak, args=(socket, samples, ended, over), daemon=True)
        speaker.start()
        try:
            return _listen(socket, ended)
        finally:
            over.set()
            speaker.join()


def _session(port: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/sessions", method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return str(json.load(answer)["session_id"])


def _speak(socket: ClientConnection, samples: Samples, ended: list[float], over: threading.Event) -> None:
    frame = int(FRAME_S * HEARING_RATE)
    last = int(np.flatnonzero(np.abs(samples) > _LOUD)[-1])
    silence, started = np.zeros(frame, np.int16), time.monotonic()
    at = 0
    while not over.is_set():
        piece = samples[at : at + frame]
        try:
            socket.send((piece if piece.size else silence).tobytes())
        except ConnectionClosed:
            return
        at += frame
        if at > last and not ended:
            ended.append(time.monotonic())
        over.wait(max(0.0, started + at / HEARING_RATE - time.monotonic()))


def _listen(socket: ClientConnection, ended: list[float]) -> SpokenTurn:
    first, transcript = None, ""
    while True:
        message = socket.recv(timeout=PATIENCE_S)
        if isinstance(message, bytes):
            first = first or time.monotonic()
            continue
        event = json.loads(message)
        if event["type"] == "transcript":
            transcript = event["text"]
        elif event["type"] == "error":
            raise Trouble(f"a spoken turn failed: {event['message']}")
        elif event["type"] == "turn_done":
            if first is None or not ended:
                raise Trouble("a spoken turn ended without a sound")
            return SpokenTurn(first - ended[0], event["timings"], transcript)
