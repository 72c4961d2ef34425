"""`backchannel talk`: ask aloud, or by a recording, and hear the answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.exceptions import Exit
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from cli.client import Client, Waiting
from cli.output import INTERRUPTED, Command, note, print_json, remote
from cli.problems import ClientError
from cli.sound import Devices, read_recording
from cli.talk_report import Report
from cli.voice_line import Sound, VoiceLine
from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.wav import write_wav

OUTPUT_RATE = 22_050  # what the embedded speaker speaks at
PIECE_MS = 100  # of a recording, sent at a time
QUIET_S = 20.0  # without a word from the server, after all was said
LOOK_S = 5.0  # of silence within a turn, before its job is asked why it waits
_HELD_BLOCKS = 50  # of the microphone, while the connection is made


@click.command(cls=Command)
@click.option(
    "--file", "recording", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A recorded question."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="WAV file for the spoken answer.")
@click.option("--session", "session_id", metavar="ID", help="Conversation to go on with [default: your current one].")
@click.option("--real-time/--at-once", default=False, help="How fast the recording is sent [default: at once].")
@click.option("--model", help="Model to answer with.")
@click.option("--voice", help="Voice to answer in; GET /api/voice/voices lists them.")
@click.option("--no-rag", is_flag=True, help="Answer without passages from your conversations.")
@remote
def command(
    client: Client, recording: Path | None, out: Path | None, real_time: bool, no_rag: bool, as_json: bool, **given: Any
) -> None:
    """Talk by microphone and loudspeaker until Ctrl-C, or play a recorded question and get its answer. Exits with 0
    only when a turn was answered."""
    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError("--out names a file in a folder that is not there.")
    options = {name: value for name, value in given.items() if value is not None}
    options |= {"sample_rate": str(HEARING_RATE), "output_sample_rate": str(OUTPUT_RATE)}
    options |= {"use_rag": "false"} if no_rag else {}
    said = read_recording(recording) if recording is not None else None
    client.request("GET", "/api/voice/voices")  # a server that is not there is said at once, not waited for
    report = Report(client, quiet=as_json)
    try:
        if said is None:
            _talk(client, options, report)
        else:
            _ask(client, options, report, said, real_time)
    finally:
        report.end_line()
        if out is not None and report.sound:
            _write(out, report.sound)
    if as_json:
        print_json({**report.as_json(), "out": str(out) if out is not None and report.sound else None})
    if not report.was_answered:
        raise Exit(INTERRUPTED if said is None else 1)


def _write(out: Path, sound: bytes) -> None:
    try:
        out.write_bytes(write_wav(np.frombuffer(sound, "<i2"), OUTPUT_RATE))
    except OSError as error:
        raise ClientError(f"The answer cannot be written: {error.strerror or error}.", "unwritable_file") from None


# --- a recording


def _ask(client: Client, options: dict[str, str], report: Report, said: Samples, real_time: bool) -> None:
    question = _Question(said, real_time, report.ask_again)
    before = next((job["id"] for job in client.jobs(1, kind="voice")), "")
    line = VoiceLine(client, {**options, "barge_in": "false"}, question.send)
    watch = _Watch(client, line, report, before)
    with closing(line.hear()) as heard:  # type: ignore[type-var]
        for what in heard:
            report.take(what)
            watch.look(what, question.is_sent.is_set())
            if question.is_sent.is_set() and report.is_over:
                return


class _Question:
    """Sent by a thread of its own while the answer is listened to."""

    def __init__(self, said: Samples, real_time: bool, on_repeat: Callable[[], None]) -> None:
        self.is_sent = threading.Event()
        self._pcm, self._real_time, self._on_repeat = said.astype("<i2").tobytes(), real_time, on_repeat
        self._has_begun = False

    def send(self, socket: ClientConnection) -> None:
        if self.is_sent.is_set():
            return
        if self._has_begun:
            note("The question is sent once more, from its beginning.")
            self._on_repeat()
        self._has_begun = True
        threading.Thread(target=self._send, args=(socket,), name="question", daemon=True).start()

    def _send(self, socket: ClientConnection) -> None:
        size, began = 2 * HEARING_RATE * PIECE_MS // 1000, time.monotonic()
        with suppress(ConnectionClosed):  # whoever listens notices, too
            for number, at in enumerate(range(0, len(self._pcm), size)):
                if self._real_time:
                    time.sleep(max(0.0, began + number * PIECE_MS / 1000 - time.monotonic()))
                socket.send(self._pcm[at : at + size])
            socket.send('{"type":"end_of_turn"}')
            self.is_sent.set()


class _Watch:
    """Notices when nothing comes, and what went by while the connection was cut."""

    def __init__(self, client: Client, line: VoiceLine, report: Report, before: str) -> None:
        """`before`: the newest spoken turn that is none of ours."""
        self._client, self._line, self._report, self._before = client, line, report, before
        self._waiting, self._heard_at = Waiting(client), time.monotonic()

    def look(self, what: Any, is_sent: bool) -> None:
        if what is not None:
            self._heard_at = time.monotonic()
            return
        silent_s = time.monotonic() - self._heard_at
        if self._line.job_id is not None:
            if silent_s >= LOOK_S:
                self._waiting.look(self._client.patiently(lambda: self._client.job(str(self._line.job_id))))
            return
        if is_sent and self._line.reconnects:
            self._find_turn()
        if is_sent and silent_s >= QUIET_S:
            sentence = f"Nothing was answered for {QUIET_S:.0f} s; `backchannel doctor` says whether all parts run."
            raise ClientError(sentence, "no_answer")

    def _find_turn(self) -> None:
        """One that began while nobody listened."""
        last = max([self._before, *self._report.turns])
        newer = [job["id"] for job in self._client.jobs(20, kind="voice") if job["id"] > last]
        if newer:
            self._line.go_on_with(min(newer))


# --- microphone and loudspeaker


def _talk(client: Client, options: dict[str, str], report: Report) -> None:
    """Until Ctrl-C."""
    microphone: queue.Queue[bytes] = queue.Queue(_HELD_BLOCKS)

    def heard(sound: bytes) -> None:
        with suppress(queue.Full):  # while the connection is made: what was said long ago is left out
            microphone.put_nowait(sound)

    def send(socket: ClientConnection) -> None:
        threading.Thread(target=_send_on, args=(socket, microphone), name="microphone", daemon=True).start()

    line = VoiceLine(client, options, send)
    with Devices(heard, OUTPUT_RATE) as devices, suppress(KeyboardInterrupt), closing(line.hear()) as events:  # type: ignore[type-var]
        note("Speak; Ctrl-C ends. Headphones keep the answer from being taken for your voice.")
        for what in events:
            report.take(what)
            if isinstance(what, Sound):
                devices.play(what.pcm)
            elif what is not None and what["type"] == "interrupted":
                devices.fall_silent()


def _send_on(socket: ClientConnection, microphone: queue.Queue[bytes]) -> None:
    with suppress(ConnectionClosed):
        while True:
            socket.send(microphone.get())
