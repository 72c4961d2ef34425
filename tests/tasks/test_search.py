"""Search by title and passage, for their owner only; answered by a worker that leaves no trace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from config.errors import Unavailable
from config.queues import Kind
from storage import conversations, queue
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tasks import search
from tasks.base import run_job
from tasks.embeddings import request_embedding
from tasks.search import Retrieval, find_conversations, find_passages, snippet
from tests import factories

GARDEN = ("When do I prune roses?", "Prune roses in early spring, before the buds open.")
TALK = """soil water frost light thorn cane bud leaf glove saw knife angle cut wound sap wax year month week sun shade
north south wall fence climber shrub tree hedge border mulch compost bone meal aphid spot rust mildew spray soap oil"""
DATABASE = ("What is a partial index?", "A partial index holds only the rows that a condition selects.")

searching = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


def said(*texts: str, native_id: str, owner_id: str = LOCAL_OWNER, title: str = "Untitled") -> str:
    with transaction() as session:
        made = factories.imported(native_id, texts, title=title)
        return conversations.upsert(session, owner_id, *made).conversation_id


def index(owner_id: str = LOCAL_OWNER) -> None:
    with transaction() as session:
        request_embedding(session, owner_id)
    for job in factories.all_jobs(Kind.EMBED):
        run_job(job.id)


def found(text: str, owner_id: str = LOCAL_OWNER, limit: int = 10, offset: int = 0) -> list[tuple[str, str]]:
    results = find_conversations(owner_id, text, limit, offset)["results"]
    return [(hit["conversation_id"], hit["why"]) for hit in results]


@searching
def test_a_passage_is_found_and_shown() -> None:
    garden = said(*GARDEN, native_id="a", title="Garden")
    said(*DATABASE, native_id="b")
    index()
    (hit, *_) = find_conversations(LOCAL_OWNER, "prune the roses in spring", 5, 0)["results"]
    assert (hit["conversation_id"], hit["title"], hit["source"], hit["why"]) == (
        garden,
        "Garden",
        "chatgpt",
        "text+vector",
    )
    assert 0.25 < hit["score"] <= 1
    assert hit["snippet"] == GARDEN[1]
    assert hit["role"] == "assistant"
    assert hit["message_id"] is not None


@searching
def test_titles_come_first_and_each_conversation_once() -> None:
    titled = said("something else", native_id="a", title="Roses of my garden")
    passage = said(*GARDEN, native_id="b", title="Other")
    index()
    assert found("roses") == [(titled, "title"), (passage, "text+vector")]
    assert found("prune roses")[0] == (passage, "text+vector")


@searching
def test_others_see_nothing_of_mine() -> None:
    said(*GARDEN, native_id="a", title="Roses")
    other = factories.owner()
    theirs = said(*GARDEN, native_id="a", owner_id=other, title="Their roses")
    index()
    index(other)
    assert found("prune roses in spring", other) == [(theirs, "text+vector")]
    assert all(passage.conversation_id == theirs for passage in find_passages(Retrieval(other, "prune roses", 5)))
    assert found("roses", factories.owner("nobody")) == []


@searching
def test_noise_is_not_a_hit() -> None:
    said(*GARDEN, native_id="a")
    index()
    assert found("zyxwv qqqq") == []
    assert find_passages(Retrieval(LOCAL_OWNER, "zyxwv qqqq", 5)) == []


@searching
def test_pages_do_not_overlap() -> None:
    ids = [said(f"tomato number {number}", native_id=f"c{number}") for number in range(6)]
    index()
    first, second = found("tomato", limit=3), found("tomato", limit=3, offset=3)
    assert len(first) == len(second) == 3
    assert {hit for hit, _ in first + second} == set(ids)


@searching
def test_what_is_quoted_is_demanded_and_what_has_a_dash_is_left_out() -> None:
    exact = said("The build fails with ERR_4471-x at night.", native_id="a")
    other = said("The build fails at night with another error.", native_id="b")
    index()
    assert {hit for hit, _ in found("the build fails at night")} == {exact, other}
    assert [hit for hit, _ in found('build "ERR_4471-x"')] == [exact]
    assert [hit for hit, _ in found("build fails at night -another")] == [exact]
    assert found('"at night the build"') == []


@searching
def test_an_address_finds_its_conversation() -> None:
    url = "https://chatgpt.com/share/abc"
    with transaction() as session:
        row, rows = factories.imported("a", GARDEN, title="Garden")
        here = conversations.upsert(session, LOCAL_OWNER, row | {"url": url}, rows).conversation_id
    assert found(url) == [(here, "url")]
    assert found(f"where is {url}/?utm=1 from?")[0] == (here, "url")


@searching
def test_a_mistyped_title_is_found_behind_what_is_sure() -> None:
    here = said("nothing of the kind", native_id="a", title="Kubernetes deployment checklist")
    index()
    assert found("kubernets deploymnt checklist") == [(here, "title")]


@searching
def test_filters_narrow_both_sides() -> None:
    old = said("Prune roses in spring.", native_id="a")
    new = said("Prune roses in spring, again.", native_id="b")
    with transaction() as session:
        for conversation_id, year in ((old, 2020), (new, 2024)):
            row = conversations.get(session, conversation_id, LOCAL_OWNER)
            row.updated_at = datetime(year, 6, 1, tzinfo=UTC)
            row.is_archived = row.has_attachments = conversation_id == new
            session.add(row)
    index()

    def filtered(**given: Any) -> set[str]:
        filters = search.filters_from(given)
        results = find_conversations(LOCAL_OWNER, "prune roses", 10, 0, filters)["results"]
        return {hit["conversation_id"] for hit in results}

    assert filtered() == {old, new}
    assert filtered(until="2022-01-01T00:00:00+00:00") == {old}
    assert filtered(since="2022-01-01T00:00:00+00:00") == {new}
    assert filtered(status="active") == {old}
    assert filtered(status="archived") == filtered(has_attachment=True) == {new}
    assert filtered(has_attachment=False) == {old}
    assert filtered(source="chatgpt") == filtered(kind="imported") == {old, new}
    assert filtered(kind="own") == filtered(source="claude") == set()


@searching
def test_hits_are_sorted_as_wanted() -> None:
    ids = [said(f"Prune roses {title}.", native_id=title, title=title) for title in ("b", "A", "c")]
    index()

    def listed(by: str, direction: str) -> list[str]:
        results = find_conversations(LOCAL_OWNER, "prune roses", 10, 0, sort=(by, direction))["results"]
        return [hit["title"] for hit in results]

    assert listed("title", "asc") == ["A", "b", "c"]
    assert listed("title", "desc") == ["c", "b", "A"]
    assert sorted(listed("updated_at", "desc")) == ["A", "b", "c"]
    assert len(ids) == 3


@searching
def test_a_deleted_conversation_is_not_found() -> None:
    gone = said(*GARDEN, native_id="a")
    index()
    with transaction() as session:
        conversations.remove(session, gone, LOCAL_OWNER)
    assert found("prune roses in spring") == []


@searching
def test_passages_for_a_prompt_are_the_best_ones() -> None:
    garden = said(*GARDEN, native_id="a", title="Garden")
    said(*DATABASE, native_id="b")
    index()
    passages = find_passages(Retrieval(LOCAL_OWNER, "when should roses be pruned in spring?", 2))
    assert passages[0].conversation_id == garden
    assert passages[0].text == GARDEN[1]
    assert (passages[0].conversation_title, passages[0].message_id is not None) == ("Garden", True)
    assert [passage.score for passage in passages] == sorted((passage.score for passage in passages), reverse=True)
    assert len({passage.message_id for passage in passages}) == len(passages)


@searching
def test_the_conversation_that_asks_does_not_crowd_out_the_others() -> None:
    """A long talk about roses is nearest to a question about roses; what is wanted is what was said elsewhere."""
    words = TALK.split()
    talk = [f"Prune roses in spring: {' '.join(words[at % 7 :: 7])} {word}." for at, word in enumerate(words)]
    asking = said(*talk, native_id="a")
    elsewhere = said("Roses are pruned in spring, they say.", native_id="b")
    index()
    assert {hit for hit, _ in found("prune roses in spring", limit=1)} == {asking}
    passages = find_passages(Retrieval(LOCAL_OWNER, "prune roses in spring", 3, not_in=asking))
    assert [passage.conversation_id for passage in passages] == [elsewhere]


# --- question and answer


@searching
def test_a_worker_answers_and_leaves_no_trace(clean_redis: str) -> None:
    garden = said(*GARDEN, native_id="a")
    index()
    client = redis.Redis.from_url(clean_redis)
    asked = {"mode": "search", "owner_id": LOCAL_OWNER, "text": "prune roses in spring", "limit": 5, "offset": 0}
    jobs = len(factories.all_jobs())
    search.answer(asked, "bc:reply:a")
    key, body = client.blpop(["bc:reply:a"], timeout=1) or (None, b"")
    assert key is not None
    assert garden.encode() in body
    search.answer(asked | {"mode": "passages"}, "bc:reply:b")
    assert client.llen("bc:reply:b") == 1
    assert len(factories.all_jobs()) == jobs


@pytest.mark.usefixtures("sqlite", "held")
def test_a_worker_answers_with_its_error(clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.Redis.from_url(clean_redis)
    asked = {"mode": "search", "owner_id": LOCAL_OWNER, "text": "x", "limit": 5, "offset": 0}
    for error, words in ((Unavailable("No index."), b"No index."), (RuntimeError("/secret"), b"failed inside")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(search, "find_conversations", fail)
        search.answer(asked, "bc:reply:x")
        body = client.lpop("bc:reply:x")
        assert isinstance(body, bytes)
        assert words in body
        assert b"secret" not in body


@pytest.mark.usefixtures("clean_redis", "settings")
def test_retrieval_without_a_worker_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        search.retrieve(Retrieval(LOCAL_OWNER, "x", 5), 0.05)
    assert queue.length("search") == 1


# --- snippets


def test_a_snippet_is_around_the_first_word_found() -> None:
    text = "a " * 400 + "needle in the middle " + "b " * 400
    cut = snippet(text, ["NEEDLE"])
    assert "needle in the middle" in cut
    assert cut.startswith("…")
    assert cut.endswith("…")
    assert len(cut) <= search.SNIPPET_CHARS + 2


def test_highlights_are_places_not_markup() -> None:
    text = "Die Rösen <b>roses</b> rosette"
    assert [text[start:end] for start, end in search.highlights(text, ["roses", "rosen"])] == ["Rösen", "roses"]


def test_a_short_text_is_its_own_snippet() -> None:
    assert snippet("short", ["nothing"]) == "short"
    assert snippet("", []) == ""


@given(text=st.text(max_size=2000), words=st.lists(st.text(min_size=1, max_size=5), max_size=4))
def test_snippets_are_bounded_pieces_of_the_text(text: str, words: list[str]) -> None:
    cut = snippet(text, words)
    assert len(cut) <= search.SNIPPET_CHARS + 2
    assert cut.removeprefix("…").removesuffix("…") in text
