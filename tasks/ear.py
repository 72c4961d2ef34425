"""The ear: one thread of a voice worker that listens to all lines it holds and makes a job of each finished utterance.

A line belongs to one ear at a time; the lines of one that died are taken over by whoever looks next, and what was said
and not yet answered is read again. What is one utterance is decided in `tasks/hearing.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis
import structlog

from config.logging import log
from config.settings import get_settings
from storage import voice_lines
from storage.voice_lines import SILENT_AFTER_S, Entry
from tasks import spoken_questions
from tasks.hearing import Hearing

LOOK_S = 1.0  # between two looks for lines that nobody listens to
BLOCK_MS = 40  # for more sound; a new line and a pause are noticed within this
READ_AT_ONCE = 50  # entries of a line: five seconds
RETRY_S = 0.5
MAX_BEHIND_S = 30.0  # of sound whose words are not understood yet; the line is not read from meanwhile


class Ear:
    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[str, Hearing] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
        # One thread for each utterance that is being understood; those without a decoder wait in theirs.
        self._pool = ThreadPoolExecutor(max_workers=256, thread_name_prefix="hearing")
        self._looked_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Utterances that have ended are accepted; the lines are other ears', at once."""
        self._stopping.set()
        self._thread.join(5.0)
        for hearing in self._lines.values():
            hearing.abandon()
        self._pool.shutdown(wait=True)
        try:
            voice_lines.withdraw_ear(self._name)
        except redis.RedisError:
            log.warning("the ear's lines are taken over a little later")

    def __len__(self) -> int:
        return len(self._lines)

    def _run(self) -> None:
        structlog.contextvars.bind_contextvars(process=self._name.partition("@")[0])
        while not self._stopping.is_set():
            try:
                self._turn()
            except (redis.RedisError, OSError) as error:
                log.warning("the ear hears nothing", reason=type(error).__name__)
                self._stopping.wait(RETRY_S)
            except Exception:
                log.exception("the ear failed; it listens on")
                self._stopping.wait(RETRY_S)

    def _turn(self) -> None:
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._look_around()
        open_ears = {
            line_id: hearing.position for line_id, hearing in self._lines.items() if hearing.behind_s < MAX_BEHIND_S
        }
        if not self._lines:
            voice_lines.wait_for_news(LOOK_S)
            self._looked_at = 0.0
            return
        heard = voice_lines.listen(open_ears, BLOCK_MS, READ_AT_ONCE) if open_ears else []
        if not open_ears:
            time.sleep(BLOCK_MS / 1000)
        silent = set(open_ears) - {line_id for line_id, _ in heard}
        for line_id, entries in heard:
            self._guarded(line_id, lambda hearing, got=entries: hearing.hear(got))  # type: ignore[misc]
        now = time.monotonic()
        for line_id in list(self._lines):
            self._guarded(line_id, lambda hearing, of=line_id: hearing.tick(now, is_silent=of in silent))  # type: ignore[misc]
            if self._lines[line_id].is_over:
                del self._lines[line_id]
                voice_lines.remove(line_id)

    def _guarded(self, line_id: str, work: Callable[[Hearing], None]) -> None:
        """One line's trouble is not the others'."""
        with structlog.contextvars.bound_contextvars(line=line_id):
            try:
                work(self._lines[line_id])
            except redis.RedisError:
                raise
            except Exception:
                log.exception("a line failed")
                self._lines[line_id].is_over = True

    def _look_around(self) -> None:
        self._looked_at = time.monotonic()
        voice_lines.say_ear_listens(self._name)
        now_ms = voice_lines.now_ms()
        for line_id, alive_ms in voice_lines.open_lines().items():
            is_silent = now_ms - alive_ms > SILENT_AFTER_S * 1000
            if line_id not in self._lines:
                self._take(line_id)
            if is_silent and line_id in self._lines:  # its web process died
                self._guarded(line_id, lambda hearing: hearing.hear([Entry("", control={"type": "close"})]))

    def _take(self, line_id: str) -> None:
        claimed = voice_lines.claim(line_id, self._name)
        if claimed is None:
            return
        claimed = spoken_questions.catch_up(claimed)
        self._lines[line_id] = Hearing(claimed, get_settings(), self._pool, self._tell_whoever_listens, self._stopping)
        log.info("listening", line=line_id, turns=claimed.turns)

    def _tell_whoever_listens(self, hearing: Hearing, event: dict[str, object]) -> None:
        """The line, or where its client has gone and come back, the newest line of the same conversation."""
        line = hearing.line
        if hearing.is_closing:
            session_id = line.options.get("session_id")
            others = [
                other.line
                for other in self._lines.values()
                if not other.is_closing
                and (other.line.owner_id, other.line.options.get("session_id")) == (line.owner_id, session_id)
            ]
            if not others:
                return
            line = max(others, key=lambda other: other.id)
        voice_lines.tell(line, event)
