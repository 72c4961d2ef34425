"""Full text on both databases: what is found, what goes with its chunk, what a hostile query does."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from storage import chunks, conversations, fulltext
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER, User, utcnow
from storage.words import parse
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def chunk(text: str, conversation_id: str | None = None, owner_id: str = LOCAL_OWNER) -> str:
    with transaction() as session:
        about = conversation_id or conversations.create(session, owner_id).id
        row = {"id": new_id(), "conversation_id": about, "message_id": new_id(), "start": 0, "end": len(text)}
        chunks.add(session, [row | {"text": text, "embedding_model": "m", "created_at": utcnow()}])
        return row["id"]


def found(query: str, owner_id: str = LOCAL_OWNER) -> list[str]:
    with reading() as session:
        return [match.chunk_id for match in fulltext.search(session, owner_id, "m", parse(query), 10)]


def test_any_word_is_found_and_more_of_them_come_first() -> None:
    one = chunk("A cold wind blows over the harbour.")
    both = chunk("The harbour master slept.")
    chunk("Nothing of that.")
    assert found("harbour master") == [both, one]
    assert found("HÄRBOUR") == found("harbour")
    assert set(found("harbour")) == {one, both}
    assert found("ship") == []


def test_identifiers_are_found_as_phrases() -> None:
    exact = chunk("It failed with ERR_4471-x in deploy.py at night.")
    chunk("x deploy ERR 4471, in another order")
    assert found('"ERR_4471-x"') == [exact]
    assert found('"deploy.py"') == [exact]


def test_phrases_are_demanded_and_words_rank() -> None:
    plain = chunk("blue green deployment")
    better = chunk("blue green deployment with canary")
    chunk("green blue canary")
    assert found('"blue green" canary') == [better, plain]


def test_what_is_excluded_is_not_found() -> None:
    kept = chunk("apples and pears")
    chunk("apples and plums")
    assert found("apples -plums") == [kept]
    assert found('apples -"and plums"') == [kept]
    assert found("-plums") == []


def test_scripts_without_spaces() -> None:
    here = chunk("我想学习机器学习和数据库")
    chunk("天气很好")
    assert found("机器学习") == [here]
    assert found('"数据库"') == [here]


def test_owners_see_their_own() -> None:
    with transaction() as session:
        stranger = User(name="stranger")
        session.add(stranger)
        session.flush()
        stranger_id = stranger.id
    mine, theirs = chunk("a shared word"), chunk("a shared word", owner_id=stranger_id)
    assert found("shared") == [mine]
    assert found("shared", stranger_id) == [theirs]


def test_rare_and_common_words_are_told_apart() -> None:
    for _ in range(3):
        chunk("common word")
    chunk("rare word")
    with reading() as session:
        assert fulltext.frequencies(session, ["common", "rare", "word", "absent"]) == {
            "common": 3,
            "rare": 1,
            "word": 4,
            "absent": 0,
        }
        assert fulltext.frequencies(session, []) == {}


def test_common_words_are_left_out_where_a_rarer_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fulltext, "COMMON", 3)
    plain = [chunk("common everywhere") for _ in range(5)]
    both, rare = chunk("common rare everywhere"), chunk("rare alone")

    def selected(query: str) -> set[str]:
        asked = parse(query)
        with reading() as session:
            counts = fulltext.frequencies(session, asked.terms)
            matches = fulltext.search(session, LOCAL_OWNER, "m", asked, 10, frequencies=counts)
        return {match.chunk_id for match in matches}

    assert selected("common rare") == {both, rare}
    assert selected("common everywhere") == {*plain, both}  # nothing rarer: those that hold every one
    assert selected("everywhere alone common") == {rare}
    assert selected('common "rare everywhere"') == {both}


def test_what_weighs_more_comes_first_and_the_newest_of_equals(database: str) -> None:
    if database == "postgresql":
        pytest.skip("PostgreSQL ranks by itself")
    heavy, light, both = chunk("alpha"), chunk("beta gamma"), chunk("beta alpha gamma")
    newer = chunk("alpha again")

    def ranked(query: str, **weights: float) -> list[str]:
        with reading() as session:
            found = fulltext.search(session, LOCAL_OWNER, "m", parse(query), 10, weights=weights)
        return [match.chunk_id for match in found]

    assert ranked("alpha beta gamma", alpha=5, beta=1, gamma=1) == [both, newer, heavy, light]
    assert ranked("alpha beta gamma", alpha=1, beta=1, gamma=1) == [both, light, newer, heavy]
    assert ranked('"beta" alpha', alpha=1) == [both, light]
    assert ranked("alpha -gamma", alpha=1) == [newer, heavy]


def test_a_match_tells_its_conversation_and_the_words_of_the_query_it_holds() -> None:
    about = factories.conversation(title="A title")
    here = chunk("alpha, beta and gamma delta", about)
    with reading() as session:
        (match,) = fulltext.search(session, LOCAL_OWNER, "m", parse('omega alpha "gamma delta"'), 10)
    assert match == (here, about, "A title", {"alpha", "gamma", "delta"})


def test_more_words_than_a_statement_takes_are_counted() -> None:
    chunk(" ".join(f"word{number}" for number in range(0, 700, 7)))
    with reading() as session:
        counts = fulltext.frequencies(session, [f"word{number}" for number in range(700)])
    assert list(counts.values()) == [int(number % 7 == 0) for number in range(700)]


def test_an_owner_with_few_chunks_finds_them_behind_everybody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fulltext, "WIDER", (1, 2))
    stranger_id = factories.owner()
    about = factories.conversation(stranger_id)
    mine = chunk("shared, and said with many more words than others need for it")
    for _ in range(9):
        chunk("shared", about, stranger_id)
    with reading() as session:
        matches = fulltext.search(session, LOCAL_OWNER, "m", parse("shared"), 2)
    assert [(match.chunk_id, "shared" in match.words) for match in matches] == [(mine, True)]


def test_postgresql_searches_by_its_index(database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no other way")
    about = factories.conversation()
    row = {"conversation_id": about, "message_id": new_id(), "start": 0, "end": 9, "embedding_model": "m"}
    with transaction() as session:
        texts = [f"filler number {number}" for number in range(3000)]
        chunks.add(session, [row | {"id": new_id(), "text": text, "created_at": utcnow()} for text in texts])
        session.execute(sql("SET LOCAL enable_seqscan = off"))  # what it may do, not what so few rows are worth
        explained = sql("EXPLAIN SELECT 1 FROM chunk_words WHERE words @@ to_tsquery('simple', '2999')")
        plan = " ".join(session.execute(explained).scalars())
    assert "ix_chunk_words" in plan
    assert len(found("2999")) == 1


def test_words_go_with_their_chunk_and_their_conversation() -> None:
    about = factories.conversation()
    first, second = chunk("ephemeral one", about), chunk("ephemeral two", about)
    with transaction() as session:
        chunks.remove(session, [first])
    assert found("ephemeral") == [second]
    with transaction() as session:
        conversations.remove(session, about, LOCAL_OWNER)
    with reading() as session:
        assert fulltext.frequencies(session, ["ephemeral"]) == {"ephemeral": 0}


@pytest.mark.parametrize(
    "query", ["'", '"', "\\", "a' | 'b", "a & !b", "NEAR(a b)", "words:a", "a*", "'; DROP TABLE x", ":*"]
)
def test_a_query_is_never_a_program(query: str) -> None:
    here = chunk("a b words near drop table x")
    assert found(query) in ([], [here])


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_may_be_asked(query: str) -> None:
    found(query)
