"""A reply as whoever speaks it hears it: from its event log as it is written, from its row where the log is gone."""

from __future__ import annotations

from typing import Any

import orjson

from config.errors import Conflict
from storage import voice_lines
from storage.database import reading
from storage.events import parse_entry, stream_key, terminal_event
from storage.tables import Job
from storage.voice_lines import Cut

GRACE_MS = 40  # an answer that is complete within this is told as a whole before it is spoken


class ReplyLog:
    def __init__(self, turn_id: str, reply_id: str) -> None:
        self._turn_id, self._reply_id, self._after = turn_id, reply_id, 0
        self.text = ""
        self.has_ended, self.was_cancelled = False, False
        self.result: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None

    def read(self, block_ms: int, *, heed_cut: bool = True) -> Cut | None:
        """Wait for more. Returns the cut of the turn where there is one."""
        turn_id = self._turn_id if heed_cut else ""
        entries, cut = voice_lines.follow(stream_key(self._reply_id), self._after, turn_id, block_ms)
        for event in map(parse_entry, entries):
            self._after = event.seq
            fields = orjson.loads(event.json)
            if event.type == "reset":
                self.text = ""
            elif event.type == "content":
                self.text += fields["content"]
        if (not entries and cut is None) or any(parse_entry(entry).is_terminal for entry in entries):
            self._ask_the_row()
        return cut

    def _ask_the_row(self) -> None:
        with reading() as session:
            row = session.get(Job, self._reply_id)
            if row is None:
                raise Conflict("The conversation was deleted before it was answered.")
            if terminal_event(row) is None:
                return
            self.has_ended, self.was_cancelled = True, row.status == "cancelled"
            self.result, self.error = row.result or {}, row.error
        self.text = self.result.get("content", self.text)

    def read_on(self) -> Cut | None:
        """More, as long as it comes at once."""
        cut, before = None, ""
        while cut is None and not self.has_ended and self.text != before:
            before = self.text
            cut = self.read(GRACE_MS)
        return cut
