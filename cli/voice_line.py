"""/ws/voice as `talk` uses it: a connection that breaks is made again, and the turn goes on behind what was heard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from cli.client import Client, Patience
from cli.problems import ClientError

Json = dict[str, Any]

OPEN_S = 5.0
LOOK_S = 1.0  # between two looks while nothing comes
_REFUSED = 4000  # and the HTTP status, of connections that the server closes


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of an answer: 16 bits, mono."""

    pcm: bytes
    sample_rate: int
    job_id: str


class VoiceLine:
    """`on_ready` is called with each connection, as soon as sound may be sent."""

    def __init__(self, client: Client, options: dict[str, str], on_ready: Callable[[ClientConnection], None]) -> None:
        self.session_id: str | None = options.get("session_id")
        self.job_id: str | None = None  # of the turn that is being told
        self.reconnects = 0
        self._client, self._options, self._on_ready = client, options, on_ready
        self._after = 0  # number of the last event of the turn whose sound is here, too
        self._awaited: Json | None = None  # the `audio` event whose sound comes next
        self._sound = b""
        self._go_on_with: str | None = None

    def hear(self) -> Iterator[Json | Sound | None]:
        """What comes, and None for every LOOK_S in which nothing does. Raises ClientError."""
        patience = Patience(self._client)
        while True:
            try:
                with self._connected() as socket:
                    yield from self._listen(socket, patience)
            except ClientError as error:
                if error.code != "cut":
                    patience.spend(error)
                    continue
                self.reconnects += 1
                behind = " and hearing the rest of the answer" if self.job_id else ""
                self._client.notify(f"The connection was cut; connecting again{behind}.")
            except _Switch:
                pass

    def go_on_with(self, job_id: str) -> None:
        """Have a turn told that this line does not know of. Takes effect with the next that `hear` tells."""
        self._go_on_with = job_id

    # --- one connection

    def _connected(self) -> ClientConnection:
        query = dict(self._options)
        if self.session_id:
            query["session_id"] = self.session_id
        if self.job_id:
            query |= {"job_id": self.job_id, "after": str(self._after)}
        address, headers = self._client.socket("/ws/voice")
        try:
            return connect(
                f"{address}?{urlencode(query)}",
                additional_headers=headers,
                open_timeout=OPEN_S,
                close_timeout=1.0,
                max_size=2**24,
                proxy=None,
            )
        except InvalidStatus as error:
            self._client.request("GET", "/api/voice/voices")  # which says why, in words
            raise ClientError(
                f"{self._client.address} refused the connection ({error.response.status_code}).",
                "refused",
                error.response.status_code,
            ) from None
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException):
            raise ClientError(f"Backchannel does not answer at {self._client.address}.", "unreachable") from None

    def _listen(self, socket: ClientConnection, patience: Patience) -> Iterator[Json | Sound | None]:
        is_ready, said = False, ""
        self._awaited, self._sound = None, b""
        try:
            while True:
                try:
                    frame = socket.recv(LOOK_S)
                except TimeoutError:
                    yield None
                    self._switch()
                    continue
                if isinstance(frame, bytes):
                    yield from self._take_sound(frame)
                    continue
                event = self._event(frame)
                if event["type"] == "error" and not is_ready:
                    said = str(event.get("message", ""))
                    continue
                if event["type"] == "ready":
                    is_ready = True
                    patience.renew()
                    self._on_ready(socket)
                yield from self._take(event)
                self._switch()
        except ConnectionClosed as error:
            raise self._closed(error, said, is_ready) from None

    def _switch(self) -> None:
        if self._go_on_with is not None:
            self.job_id, self._after, self._go_on_with = self._go_on_with, 0, None
            raise _Switch

    def _event(self, frame: str) -> Json:
        try:
            event = json.loads(frame)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "type" not in event:
            raise ClientError(f"What answers at {self._client.address} does not speak as Backchannel does.", "stranger")
        return event

    def _take(self, event: Json) -> Iterator[Json]:
        match event["type"]:
            case "turn_started":
                if event["job_id"] != self.job_id:
                    self.job_id, self._after = event["job_id"], 0
                self.session_id = event.get("session_id") or self.session_id
            case "turn_done":
                self.job_id, self._awaited = None, None
            case "status" if event.get("status") == "sound_gone":
                self._awaited = None
        number = event.get("sequence_number")
        if number is not None and event.get("job_id") == self.job_id:
            # Sound that was cut short is followed by something else.
            self._after, self._awaited, self._sound = number, None, b""
            if event["type"] == "audio" and event["samples"]:
                self._after, self._awaited = number - 1, event
        yield event

    def _take_sound(self, data: bytes) -> Iterator[Sound]:
        """Told when it is whole: half a piece comes again after a cut."""
        awaited = self._awaited
        if awaited is None:
            return
        self._sound += data
        if len(self._sound) >= 2 * awaited["samples"]:
            self._after, self._awaited = awaited["sequence_number"], None
            yield Sound(self._sound, awaited["sample_rate"], awaited["job_id"])

    def _closed(self, closed: ConnectionClosed, said: str, is_ready: bool) -> ClientError:
        """`said`: an error before the line was ready, which the close only repeats in short."""
        received = closed.rcvd
        if received is not None and received.code >= _REFUSED:
            status = received.code - _REFUSED
            sentence = said or received.reason or "The server closed the connection."
            hint = " Give --api-key or set BACKCHANNEL_API_KEY." if status == 401 else ""
            return ClientError(f"{sentence}{hint}", "closed", status)
        if not is_ready:
            return ClientError(f"The connection to {self._client.address} broke.", "unreachable")
        return ClientError(f"The connection to {self._client.address} broke.", "cut")


class _Switch(Exception):
    """Another turn is to be told, by a connection of its own."""
