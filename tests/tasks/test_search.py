"""Search by title and passage, for their owner only; answered by a worker that leaves no trace."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.errors import Unavailable
from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, vectors
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tasks import passages, search
from tasks.base import run_job
from tasks.embeddings import request_embedding
from tasks.leases import Leases
from tasks.search import Retrieval, find_conversations, find_passages
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


@searching
def test_a_conversation_is_found_by_words_that_stand_in_different_messages() -> None:
    both = said("The invoice of Teakwood is open.", "Then remind Oyelaran of it.", native_id="a")
    for number in range(8):
        said(f"Teakwood is hard, take number {number}.", "Use oil.", native_id=f"b{number}")
    index()
    assert found("teakwood oyelaran")[0][0] == both


@searching
def test_a_title_speaks_for_what_was_said() -> None:
    titled = said("It only clicks.", native_id="a", title="Car battery")
    for number in range(8):
        said(f"It only clicks, said number {number}.", native_id=f"b{number}")
    index()
    assert found("battery clicks")[0][0] == titled


# --- when it was said


def dated(text: str, native_id: str, day: datetime) -> str:
    conversation_id = said(text, native_id=native_id)
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER)
        row.created_at = row.updated_at = day
        session.add(row)
    return conversation_id


@searching
def test_what_was_said_at_the_named_time_comes_first() -> None:
    then = dated("Prune roses in spring.", "a", datetime(2024, 3, 9, tzinfo=UTC))
    other = dated("Prune roses in spring, roses.", "b", datetime(2023, 3, 9, tzinfo=UTC))
    index()
    assert [hit for hit, _ in found("prune roses in March 2024")] == [then, other]
    assert [hit for hit, _ in found("prune roses from 2023-03-09")] == [other, then]
    answered = find_conversations(LOCAL_OWNER, "roses on 9 March 2024", 5, 0)
    assert answered["period"] == {"since": "2024-03-08T10:00:00+00:00", "until": "2024-03-10T14:00:00+00:00"}
    assert find_conversations(LOCAL_OWNER, "prune roses", 5, 0)["period"] is None


@searching
def test_a_time_alone_lists_what_was_said_then() -> None:
    first = dated("Prune roses.", "a", datetime(2024, 3, 9, tzinfo=UTC))
    later = dated("Bake bread.", "b", datetime(2024, 3, 20, tzinfo=UTC))
    dated("Something else.", "c", datetime(2024, 5, 1, tzinfo=UTC))
    index()
    assert found("March 2024") == [(later, "date"), (first, "date")]
    now = datetime(2024, 4, 2, tzinfo=UTC)
    hits = find_conversations(LOCAL_OWNER, "last month", 5, 0, now=now)["results"]
    assert {hit["conversation_id"] for hit in hits} == {first, later}


# --- when a part is away


@searching
def test_without_the_vector_index_words_and_titles_answer_and_say_so(settings: pytest.MonkeyPatch) -> None:
    titled = said("something else", native_id="a", title="Roses of my garden")
    passage = said(*GARDEN, native_id="b")
    index()
    settings.setenv("CHROMA_URL", "http://127.0.0.1:9")
    reset_settings()
    answered = find_conversations(LOCAL_OWNER, "roses", 5, 0)
    assert [(hit["conversation_id"], hit["why"]) for hit in answered["results"]] == [
        (titled, "title"),
        (passage, "text"),
    ]
    assert answered["degraded"] == "Found by words and titles only: the vector index cannot be reached."
    assert find_passages(Retrieval(LOCAL_OWNER, "prune roses", 5))[0].conversation_id == passage
    assert search.look_up(Retrieval(LOCAL_OWNER, "prune roses", 5)).degraded == answered["degraded"]


@searching
def test_while_the_embedding_model_loads_words_answer(held: Leases) -> None:
    passage = said(*GARDEN, native_id="b")
    index()
    held.me.models = {"embedding": {"name": "m", "state": "loading"}}
    answered = find_conversations(LOCAL_OWNER, "prune roses", 5, 0)
    assert [hit["conversation_id"] for hit in answered["results"]] == [passage]
    assert "still being loaded" in answered["degraded"]
    held.me.models = {"embedding": {"name": "m", "state": "ready"}}
    assert find_conversations(LOCAL_OWNER, "prune roses", 5, 0)["degraded"] is None


@searching
def test_a_vector_index_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    passage = said(*GARDEN, native_id="b")
    index()
    released = threading.Event()
    monkeypatch.setattr(passages, "MEANING_S", 0.05)
    monkeypatch.setattr(vectors.VectorIndex, "query", lambda *_, **__: released.wait(30) and [])
    answered = find_conversations(LOCAL_OWNER, "prune roses", 5, 0)
    released.set()
    assert [hit["conversation_id"] for hit in answered["results"]] == [passage]
    assert "takes too long" in answered["degraded"]


@searching
def test_an_owner_with_few_passages_among_many_finds_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the nearest vectors of all owners none may be theirs; then theirs alone are asked for."""
    monkeypatch.setattr(search, "POOL", 4)
    monkeypatch.setattr(passages, "MOST_OF_ALL", 8)
    for number in range(30):
        said("Prune roses in early spring.", native_id=f"a{number}")
    other = factories.owner()
    theirs = said("Prune roses in early spring, somebody said.", native_id="x", owner_id=other)
    index()
    index(other)
    assert found("prune roses in early spring", other) == [(theirs, "text+vector")]


WILD = ["\x00", '"' * 9, "-" * 9, "2024-02-31", "in 0000", "99999 days ago", "999 years ago", "https://", "%_%"]


@searching
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.sampled_from(WILD))
def test_any_text_may_be_asked(text: str) -> None:
    answered = find_conversations(LOCAL_OWNER, text.replace("\0", " "), 5, 0)
    assert answered["total"] >= len(answered["results"])


# --- question and answer


@searching
def test_a_worker_answers_and_leaves_no_trace() -> None:
    garden = said(*GARDEN, native_id="a")
    index()
    asked = {"mode": "search", "owner_id": LOCAL_OWNER, "text": "prune roses in spring", "limit": 5, "offset": 0}
    jobs = len(factories.all_jobs())
    (hit, *_) = search.answer(asked)["results"]
    assert hit["conversation_id"] == garden
    told = search.answer(asked | {"mode": "passages"})
    assert (told["passages"][0]["conversation_id"], told["degraded"]) == (garden, None)
    assert len(factories.all_jobs()) == jobs


@pytest.mark.usefixtures("clean_redis", "settings")
def test_retrieval_without_a_worker_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        search.retrieve(Retrieval(LOCAL_OWNER, "x", 5), 0.05)
