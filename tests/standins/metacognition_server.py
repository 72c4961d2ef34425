"""A stand-in for the external summariser: keeps count of what it is sent, and reads a few messages each time it is
asked. It can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.standins.server import Asked, Json, Telling, Told


@dataclass
class MetacognitionServer:
    """`replies`: answers of the next calls instead of the real ones. `reads`: messages it gets through per call."""

    url: str = ""
    reads: int = 1000
    replies: list[Told] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    conversations: dict[str, list[Json]] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    _read: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: Asked) -> Told:
        self.before()
        with self._lock:
            self.calls.append(asked.body)
            self.headers.append({name.lower(): value for name, value in asked.headers.items()})
            if self.replies:
                return self.replies.pop(0)
            if asked.path != "/manage_conversation":
                return 404, {"detail": "Not Found"}, {}
            return self._manage(asked.body)

    def _manage(self, body: Json) -> Told:
        summary_id = body["summary_id"] or f"summary-{len(self.conversations) + 1}"
        if summary_id not in self.conversations and body["summary_id"]:
            return 404, {"detail": "No such summary"}, {}
        kept = self.conversations.setdefault(summary_id, [])
        index = body["index_of_first_new_message"]
        if index != len(kept):
            return 400, {"detail": f"Expected index {len(kept)} for the first new message, got {index}"}, {}
        kept += body["new_messages"]
        read = self._read[summary_id] = min(len(kept), self._read.get(summary_id, 0) + self.reads)
        done = read == len(kept)
        told = {
            "status": "completed" if done else "processing",
            "summary_id": summary_id,
            "latest_summary": f"About {read} messages." if read else None,
            "latest_processed_message_idx": read - 1 if read else None,
        }
        return 200, told, {}

    def forget(self, summary_id: str, keep: int) -> None:
        """As if it had been restored from an older copy."""
        del self.conversations[summary_id][keep:]


@contextmanager
def metacognition_server() -> Iterator[MetacognitionServer]:
    kept = MetacognitionServer()
    with Telling(kept.answer) as server:
        kept.url = server.url
        yield kept
