"""What a model reads about a draft fits its window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.summaries.scripted import turns
from workers.drafts import talk


def count(text: str) -> int:
    return len(text.split())


@given(said=st.integers(0, 60), room=st.integers(0, 900), summary=st.none() | st.just("A summary of few words."))
def test_the_conversation_fits_or_is_left_out(said: int, room: int, summary: str | None) -> None:
    text = talk.conversation(turns(said), summary, count, room)
    quoted = text.partition("<conversation>\n")[2].partition("\n</conversation>")[0]
    assert count(quoted) <= room
    if "is too long" not in text:
        assert quoted.count("Message number") == said or not quoted
