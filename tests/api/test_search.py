"""What the web makes of the index worker's answer, which a stand-in gives here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from storage import enquiries

Client = TestClient[Litestar]
MISSING = "Found by words and titles only: the vector index is not running."
PASSAGE = {
    "text": "Prune roses in early spring.",
    "conversation_id": "c",
    "conversation_title": "Garden",
    "message_id": "m",
    "score": 0.83456,
}


@contextmanager
def answering(value: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """An index worker that takes one question and answers it so."""
    asked: list[dict[str, Any]] = []

    def work() -> None:
        enquiry = enquiries.take(4.0)
        assert enquiry is not None
        asked.append(enquiry.asked)
        enquiries.reply(enquiry, value=value)

    thread = threading.Thread(target=work)
    thread.start()
    yield asked
    thread.join(20)


@pytest.mark.parametrize("degraded", [None, MISSING])
def test_passages_and_what_is_missing_of_the_search(client: Client, degraded: str | None) -> None:
    with answering({"passages": [PASSAGE], "degraded": degraded}) as asked:
        told = client.post("/api/rag_search", json={"query": "prune roses", "n_results": 3}).json()
    passage = {"text": PASSAGE["text"], "conversation_id": "c", "title": "Garden", "message_id": "m", "score": 0.8346}
    assert told == {
        "success": True, "query": "prune roses", "results": [passage], "count": 1, "degraded": degraded,
    }  # fmt: skip
    assert (asked[0]["mode"], asked[0]["text"], asked[0]["limit"]) == ("passages", "prune roses", 3)


def test_a_search_says_what_is_missing_of_it(client: Client) -> None:
    found = {"results": [], "total": 0, "limit": 20, "offset": 0, "period": None, "degraded": MISSING}
    with answering(found) as asked:
        told = client.get("/api/search", params={"q": "roses", "since": "2024-03-01T00:00:00"}).json()
    assert told == {"query": "roses", **found}
    assert asked[0]["filters"] == {"since": "2024-03-01T00:00:00+00:00"}
