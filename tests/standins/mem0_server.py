"""A stand-in for a mem0 server: answers a search with the memories it is given, or fails as it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.standins.server import Asked, Json, Telling, Told


@dataclass
class Mem0Server:
    url: str = ""
    memories: list[tuple[str, float]] = field(default_factory=list)
    fails_with: tuple[int, bytes] | None = None
    bare: bool = False  # as older versions answer
    asked: list[Json] = field(default_factory=list)

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked.body)
        if self.fails_with is not None:
            return *self.fails_with, {}
        if asked.path != "/search" or asked.body.keys() != {"query", "user_id", "metadata"}:
            return 422, {"detail": "unprocessable"}, {}
        found = [
            {"id": f"m{place}", "memory": memory, "score": score, "metadata": {"type": "summary"}}
            for place, (memory, score) in enumerate(self.memories)
        ]
        return 200, found if self.bare else {"results": found}, {}


@contextmanager
def mem0_server() -> Iterator[Mem0Server]:
    kept = Mem0Server()
    with Telling(kept.answer) as server:
        kept.url = server.url
        yield kept
