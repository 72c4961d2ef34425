"""Listening to one line: where utterances begin and end, what is said in them, and when an answer is talked over.

sound ─▶ 16 kHz ─▶ voice activity ─▶ endpointer ─▶ _Understanding (a thread) ─▶ spoken_questions.accept ─▶ a job

All but `_Understanding` runs in the ear's one thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

import numpy as np

from config.errors import BackchannelError
from config.logging import log
from config.settings import Settings
from storage import voice_lines
from storage.database import DatabaseError, is_away, reading
from storage.jobs import TERMINAL
from storage.tables import Job
from storage.voice_lines import Claimed, Entry, Line, entry_ms, forget_until, now_ms
from tasks import spoken_questions
from tasks.spoken_questions import Utterance
from tasks.voice_turns import cut_afterwards
from workers.voice import house
from workers.voice.endpoint import Endpointer, Event, SpeechEnded, SpeechStarted
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.resampling import PcmReader

KEEP_SILENCE_S = 1.0  # of sound before speech begins; more than the endpointer reaches back
TRIM_S = 2.0  # between two cuts of silence from the line's stream
LONG_ENOUGH_S = 0.3  # of sound without speech, to say that none was heard
AFTER_END_S = 20.0  # how long a cut waits for its turn to end
FEED_SAMPLES = HEARING_RATE // 10  # that a recogniser is given at least, at a time
_LOOK_S = 0.05
_AGAIN_S = 1.0

Tell = Callable[["Hearing", dict[str, Any]], None]


class Hearing:
    def __init__(
        self, claimed: Claimed, settings: Settings, pool: Executor, tell: Tell, stopping: threading.Event
    ) -> None:
        self.stopping = stopping
        self.line: Line = claimed.line
        self.position = claimed.after
        self.is_closing = False
        self.is_over = False
        self._settings, self._pool, self._tell = settings, pool, tell
        self._turns = claimed.turns
        activity = house.voice_activity()
        self._window, self._activity = activity.window_samples, activity.stream()
        self._reader = PcmReader(self.line.sample_rate)
        self._endpointer = Endpointer(
            self._window,
            pause_ms=self.line.pause_ms,
            min_speech_ms=settings.voice_min_speech_ms,
            max_utterance_s=settings.voice_max_utterance_s,
        )
        self._sound = _Sound()
        self._looked_to = 0  # samples the endpointer has judged
        self._now: _Understanding | None = None  # the utterance that is being spoken
        self._unfinished: deque[_Understanding] = deque()
        self._answer = _Answer()
        self._heard_at = time.monotonic()
        self._unanswered_s = 0.0  # of sound since the last utterance, and nothing was said about it
        self._trimmed_at = 0.0

    def tell(self, event: dict[str, Any]) -> None:
        """To the client."""
        self._tell(self, event)

    @property
    def behind_s(self) -> float:
        return sum(one.behind for one in self._unfinished) / HEARING_RATE

    def abandon(self) -> None:
        """Another ear will hear again what has not ended."""
        if self._now is not None:
            self._now.abandon()

    # --- what comes

    def hear(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.id:
                self.position = entry.id
            if entry.control is not None:
                self._obey(entry.control)
            else:
                self._listen(entry)

    def tick(self, now: float, *, is_silent: bool) -> None:
        """What time alone changes. `now` is monotonic, in seconds; `is_silent`: nothing more has come by now."""
        while self._unfinished and self._unfinished[0].future.done():
            self._finished(self._unfinished.popleft())
        if self._now is not None and self.line.barge_in and self._spoken_ms() >= self._settings.voice_barge_in_ms:
            self._interrupt(None)
        stalled = is_silent and now - self._heard_at >= self._settings.voice_stall_ms / 1000
        if stalled and self._now is not None:
            self._handle(self._endpointer.force_end())
        elif stalled and self._unanswered_s >= LONG_ENOUGH_S and not self._unfinished:
            self._nothing_heard()
        if self._now is None and not self._unfinished and now - self._trimmed_at >= TRIM_S:
            self._trimmed_at = now
            if (entry_id := self._sound.entry_before(self._looked_to - int(KEEP_SILENCE_S * HEARING_RATE))) is not None:
                forget_until(self.line.id, entry_id)
        if self.is_closing and self._now is None and not self._unfinished:
            self.is_over = True

    def _obey(self, control: dict[str, Any]) -> None:
        match control["type"]:
            case "close":
                self.is_closing = True
                self._handle(self._endpointer.force_end())
            case "end_of_turn":
                if self._now is None:
                    self._nothing_heard()
                self._handle(self._endpointer.force_end())
            case "interrupt":
                self._interrupt(control.get("heard_ms"))
            case "resumed":
                self._answer = _Answer(control["job_id"], is_resumed=True)
            case "playing":
                self._answer.plays(control["job_id"], control["ms"])
            case "told":
                self._answer.is_told(control["job_id"])

    def _listen(self, entry: Entry) -> None:
        samples = self._reader.feed(entry.audio)
        self._heard_at = time.monotonic()
        self._sound.add(samples, entry.id)
        self._unanswered_s += len(samples) / HEARING_RATE
        while self._sound.end - self._looked_to >= self._window:
            window = self._sound.between(self._looked_to, self._looked_to + self._window)
            self._looked_to += self._window
            self._handle(self._endpointer.feed(self._activity.probability(window)))
            if self._now is not None:
                self._now.hear(window)
        if self._now is None:
            self._sound.forget_before(self._looked_to - int(KEEP_SILENCE_S * HEARING_RATE))

    # --- utterances

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, SpeechStarted):
                self._begin(event.start)
            elif isinstance(event, SpeechEnded):
                self._end(event)

    def _begin(self, start: int) -> None:
        """The window that made it certain is heard by whoever called."""
        self._now = _Understanding(self, start)
        self._now.hear(self._sound.between(start, self._looked_to - self._window))
        self._unfinished.append(self._now)
        self.tell({"type": "speech_started"})
        self._now.future = self._pool.submit(self._now.understand)

    def _end(self, event: SpeechEnded) -> None:
        ended = self._now
        if ended is None:
            return
        self._now = None
        self._unanswered_s = 0.0
        self._activity.reset()
        decided_ms = now_ms()
        ended_ms = min(self._sound.arrived_ms(event.speech_end) or decided_ms, decided_ms)
        self._turns += 1
        self.tell({"type": "speech_ended", "reason": event.reason})
        ended.end(self._turns, self._sound.between(event.start, event.end), ended_ms, decided_ms, self.position)
        self._sound.forget_before(event.end)

    def _finished(self, understood: _Understanding) -> None:
        """Accepted as a job, or refused."""
        error = understood.future.exception()
        if error is None:
            accepted = understood.future.result()
            if accepted is not None:
                job_id, session_id = accepted
                if self.line.options.get("session_id") != session_id:
                    self.line = voice_lines.pin_session(self.line, session_id)
                self._answer = _Answer(job_id)
                self.tell({"type": "turn_started", "job_id": job_id, "session_id": session_id})
        elif isinstance(error, BackchannelError):
            self.tell({"type": "error", **error.as_json()})
        else:
            log.error("an utterance was lost", exc_info=error)
            message = "What you said could not be understood; the log has the details."
            self.tell({"type": "error", "code": "internal_error", "message": message, "retryable": True})

    def _nothing_heard(self) -> None:
        self._unanswered_s = 0.0
        self.tell({"type": "status", "status": "nothing_heard", "message": "No speech was heard."})

    def _spoken_ms(self) -> int:
        return 0 if self._now is None else (self._looked_to - self._now.start) * 1000 // HEARING_RATE

    # --- talking over the answer

    def _interrupt(self, heard_ms: int | None) -> None:
        answer = self._answer
        if answer.job_id is None or not answer.is_on(now_ms()):
            return
        heard = answer.heard_ms(now_ms()) if heard_ms is None else heard_ms
        self._answer = _Answer()
        voice_lines.cut(answer.job_id, heard)
        self.tell({"type": "interrupted", "job_id": answer.job_id, "heard_ms": heard})
        if heard is not None:
            self._pool.submit(_cut_when_ended, answer.job_id, self.line.owner_id, heard, self.stopping)


class _Answer:
    """The newest turn's answer, and how much of it a client has had the time to hear. Of one that a client came back
    for only the client knows."""

    def __init__(self, job_id: str | None = None, *, is_resumed: bool = False) -> None:
        self.job_id, self._is_resumed = job_id, is_resumed
        self._sent_ms = 0
        self._plays_until = 0
        self._told = False

    def plays(self, job_id: str, ms: int) -> None:
        if job_id == self.job_id:
            self._plays_until = max(now_ms(), self._plays_until) + ms
            self._sent_ms += ms

    def is_told(self, job_id: str) -> None:
        self._told |= job_id == self.job_id

    def is_on(self, at_ms: int) -> bool:
        return not self._told or at_ms < self._plays_until

    def heard_ms(self, at_ms: int) -> int | None:
        return None if self._is_resumed else max(0, self._sent_ms - max(0, self._plays_until - at_ms))


class _Understanding:
    """One utterance: its words are found while it is being spoken, in a thread of their own."""

    def __init__(self, hearing: Hearing, start: int) -> None:
        self._hearing, self.start = hearing, start
        self._sound: SimpleQueue[Samples | None] = SimpleQueue()
        self._before = hearing._unfinished[-1].future if hearing._unfinished else None
        self._number, self._through = 0, ""
        self._ended_ms = self._decided_ms = 0
        self._whole: Samples = np.zeros(0, np.int16)
        self._given = self._taken = 0
        self._is_ended = self._is_abandoned = False
        self.future: Future[tuple[str, str] | None]

    @property
    def behind(self) -> int:
        """Samples that were heard and are not understood yet."""
        return self._given - self._taken

    def hear(self, samples: Samples) -> None:
        self._given += len(samples)
        self._sound.put(samples)

    def end(self, number: int, whole: Samples, ended_ms: int, decided_ms: int, through: str) -> None:
        self._number, self._whole, self._through = number, whole, through
        self._ended_ms, self._decided_ms = ended_ms, decided_ms
        self._sound.put(None)

    def abandon(self) -> None:
        self._is_abandoned = True
        self._sound.put(None)

    def understand(self) -> tuple[str, str] | None:
        """(job, conversation). Utterances of a line are accepted in the order in which they were said."""
        transcript = self._transcribe()
        if self._is_abandoned:
            return None
        timings = {"vad_ms": self._decided_ms - self._ended_ms, "stt_ms": now_ms() - self._decided_ms}
        if self._before is not None:
            self._before.exception()  # waits
        said = Utterance(self._whole, transcript, self._ended_ms, self._through, timings)
        line = self._hearing.line
        try:
            accepted = self._accepted(line, said)
        except BackchannelError:
            forget_until(line.id, self._through, self._number)
            raise
        if not self._is_abandoned:
            forget_until(line.id, self._through, self._number)
        return accepted

    def _accepted(self, line: Line, said: Utterance) -> tuple[str, str] | None:
        """However long the database is away: the sound waits in the line's stream."""
        while True:
            try:
                return spoken_questions.accept(line, self._number, said)
            except DatabaseError as error:
                if not is_away(error):
                    raise
                log.warning("an utterance waits for the database", reason=type(error).__name__)
                if self._hearing.stopping.wait(_AGAIN_S):
                    self._is_abandoned = True
                    return None

    def _transcribe(self) -> Transcript | None:
        """None where the recogniser failed: the turn tries again, with the sound that is kept."""
        try:
            utterance = house.transcriber().utterance()
        except BackchannelError:
            log.exception("no recogniser")
            while self._next() is not None:
                pass
            return None
        try:
            while (samples := self._next()) is not None:
                if (text := utterance.feed(samples)) is not None:
                    self._hearing.tell({"type": "partial_transcript", "text": text})
                self._taken += len(samples)
            return utterance.finish()
        finally:
            utterance.close()

    def _next(self) -> Samples | None:
        """All that waits, at least FEED_SAMPLES unless it is the last; None at the end."""
        pieces: list[Samples] = []
        while not self._is_ended and sum(map(len, pieces)) < FEED_SAMPLES:
            samples = self._sound.get()
            if samples is None:
                self._is_ended = True
            else:
                pieces.append(samples)
        return np.concatenate(pieces) if pieces else None


class _Sound:
    """What was heard of late, by the number of its samples since the line was opened, and when it came."""

    def __init__(self) -> None:
        self._pieces: deque[Samples] = deque()
        self._start = self.end = 0
        self._arrivals: deque[tuple[int, str]] = deque()  # (end of the piece in samples, entry)

    def add(self, samples: Samples, entry_id: str) -> None:
        self._pieces.append(samples)
        self.end += len(samples)
        self._arrivals.append((self.end, entry_id))

    def between(self, start: int, end: int) -> Samples:
        """What of it is still there."""
        found, at = [np.zeros(0, np.int16)], self._start
        for piece in self._pieces:
            if at + len(piece) > start and at < end:
                found.append(piece[max(0, start - at) : end - at])
            at += len(piece)
            if at >= end:
                break
        return np.concatenate(found)

    def forget_before(self, sample: int) -> None:
        while self._pieces and self._start + len(self._pieces[0]) <= sample:
            self._start += len(self._pieces.popleft())

    def arrived_ms(self, sample: int) -> int | None:
        """When the sound of that moment came."""
        for end, entry_id in self._arrivals:
            if end >= sample:
                return entry_ms(entry_id)
        return None

    def entry_before(self, sample: int) -> str | None:
        """The newest entry that holds nothing after `sample`; those before it are forgotten."""
        found = None
        while self._arrivals and self._arrivals[0][0] <= sample:
            found = self._arrivals.popleft()[1]
        return found


def _cut_when_ended(job_id: str, owner_id: str, heard_ms: int, stopping: threading.Event) -> None:
    """A turn that still runs cuts its own answer; this is for the one that was just ending."""
    deadline = time.monotonic() + AFTER_END_S
    while time.monotonic() < deadline:
        with reading() as session:
            row = session.get(Job, job_id)
            if row is None or row.status in TERMINAL:
                break
        if stopping.wait(_LOOK_S):
            break
    try:
        cut_afterwards(job_id, owner_id, heard_ms)
    except Exception:
        log.exception("an answer was not cut to what was heard", job_id=job_id)
