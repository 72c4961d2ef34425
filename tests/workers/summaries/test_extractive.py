"""Without a model the summary is quoted, says so, and takes no longer for a conversation of years."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.summaries.scripted import request_for, turns
from workers.ports import Completion, Delta, SummaryRequest, Turn
from workers.summaries.extractive import MAX_QUOTES, NOTICE, ExtractiveSummarizer, best_sentences

DAY = datetime(2025, 3, 1, tzinfo=UTC)
GARDEN = (
    Turn("user", "How do I grow tomatoes in a small garden on the balcony?", DAY),
    Turn("assistant", "Tomatoes in a small garden want sun and a deep pot. Sure thing!", DAY),
    Turn("user", "My cat is called Whiskers by the way.", DAY),
    Turn("assistant", "Water the tomatoes in the garden every morning and feed them in June.", DAY),
    Turn("user", "Which tomatoes grow best in a small pot on the balcony?", datetime(2025, 3, 2, tzinfo=UTC)),
)


def text_of(request: SummaryRequest, problem: str | None = None) -> str:
    items = list(ExtractiveSummarizer(problem).summarize(request, lambda: False))
    assert isinstance(items[-1], Completion)
    return "".join(item.text for item in items if isinstance(item, Delta))


def test_it_says_that_no_model_is_loaded_and_what_it_quotes() -> None:
    blocks = text_of(request_for(GARDEN), "The file could not be read.").split("\n\n")
    assert blocks[0].startswith(f"{NOTICE} The file could not be read. ")
    assert "MODEL_PATH" in blocks[0]
    assert blocks[1] == "“A talk”: 5 messages, 2025-03-01 to 2025-03-02."
    assert blocks[2] == "> User: How do I grow tomatoes in a small garden on the balcony?"
    said = " ".join(turn.content for turn in GARDEN)
    assert all(block.partition(": ")[2] in said for block in blocks[2:])


def test_the_central_sentences_are_chosen_in_the_order_they_were_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.summaries.extractive.MAX_QUOTES", 3)
    chosen = best_sentences(GARDEN)
    assert [sentence.turn for sentence in chosen] == sorted(sentence.turn for sentence in chosen)
    assert len(chosen) == 3
    assert not any("Whiskers" in sentence.text for sentence in chosen)


def test_nothing_is_quoted_twice() -> None:
    same = Turn("user", "The tomatoes on the balcony need more water than that.")
    assert len(best_sentences([same] * 50)) == 1


def test_code_is_not_quoted() -> None:
    said = (
        "```python\nfor row in rows: print(row) and then some more words\n```\nThis loop prints every row of the table."
    )
    assert [one.text for one in best_sentences([Turn("assistant", said)])] == [
        "This loop prints every row of the table."
    ]


def test_a_script_without_spaces() -> None:
    found = best_sentences([Turn("user", "我想在阳台上种西红柿。需要多少阳光？西红柿每天需要六个小时的阳光。")])
    assert any("西红柿" in one.text for one in found)


def test_a_few_words_are_quoted_as_they_are() -> None:
    assert text_of(request_for((Turn("user", "Hi"), Turn("assistant", "Hello!")))).endswith(
        "> User: Hi\n\n> Assistant: Hello!"
    )


def test_fifty_thousand_messages_take_seconds() -> None:
    started = time.process_time()
    text = text_of(request_for(turns(50_000)))
    assert time.process_time() - started < 10
    assert "50000 messages, 2025-01-01 to 2026-05-15." in text
    quotes = [int(block.split()[4]) for block in text.split("\n\n")[2:]]
    assert 1 <= len(quotes) <= MAX_QUOTES


def test_an_interrupted_one_is_continued() -> None:
    whole = text_of(request_for(GARDEN))
    assert whole[:40] + text_of(request_for(GARDEN, resume_text=whole[:40])) == whole


def test_a_cancel_is_effective_before_the_next_word() -> None:
    asked = iter([False, False, True])
    items = list(ExtractiveSummarizer().summarize(request_for(GARDEN), lambda: next(asked)))
    assert [type(item).__name__ for item in items] == ["SummaryStep", "Delta", "Delta", "Completion"]


@given(st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text(min_size=1, max_size=200)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_text_is_summarised_the_same_way_twice(said: list[Turn]) -> None:
    request = request_for(tuple(said))
    assert text_of(request) == text_of(request)
