"""One summary a conversation, a person's own before a model's; parts by what they were made from."""

from __future__ import annotations

from typing import Any

from config.queues import Kind
from storage import conversations, summaries
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, Summary
from tests import factories


def written(conversation_id: str, text: str, *, replace_edited: bool = False, **values: Any) -> bool:
    given = {"text": text, "model": "m", "content_version": 1, "place": None, **values}
    with transaction() as session:
        return summaries.write(session, conversation_id, replace_edited=replace_edited, **given)


def edited(conversation_id: str, text: str) -> None:
    with transaction() as session:
        row = conversations.open_for_writing(session, conversation_id, LOCAL_OWNER)
        summaries.edit(session, row, text)


def stored(conversation_id: str) -> Summary:
    with reading() as session:
        row = summaries.find(session, conversation_id)
    assert row is not None
    return row


def kept(conversation_id: str) -> dict[str, str]:
    with reading() as session:
        return summaries.parts(session, conversation_id)


def keep(conversation_id: str, parts: dict[str, str]) -> None:
    with transaction() as session:
        summaries.keep_parts(session, conversation_id, parts)


def test_the_latest_one_stands(database: str) -> None:
    talk = factories.conversation()
    with reading() as session:
        assert summaries.find(session, talk) is None
    assert written(talk, "First.")
    first = stored(talk)
    assert written(talk, "Second.", model="other", content_version=5, place={"sent": 3})
    second = stored(talk)
    assert (second.text, second.model, second.content_version, second.place) == ("Second.", "other", 5, {"sent": 3})
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


def test_a_persons_words_are_not_replaced_unasked(database: str) -> None:
    talk = factories.conversation()
    assert written(talk, "The model's.")
    edited(talk, "Mine.")
    assert not written(talk, "The model's again.", place={"sent": 7})
    row = stored(talk)
    assert (row.text, row.is_edited, row.model, row.place) == ("Mine.", True, "m", {"sent": 7})
    assert written(talk, "The model's at last.", replace_edited=True)
    row = stored(talk)
    assert (row.text, row.is_edited) == ("The model's at last.", False)


def test_a_person_may_write_the_first_one(database: str) -> None:
    talk = factories.conversation()
    with transaction() as session:
        conversations.touch(session, talk)
    edited(talk, "Mine.")
    row = stored(talk)
    assert (row.text, row.is_edited, row.model, row.content_version) == ("Mine.", True, None, 2)


def test_parts_are_kept_once_and_dropped_when_they_are_of_no_more_use(database: str) -> None:
    talk, other = factories.conversation(), factories.conversation()
    keep(talk, {"a": "one", "b": "two"})
    keep(other, {"a": "another's"})
    keep(talk, {"b": "not again", "c": "three"})
    assert kept(talk) == {"a": "one", "b": "two", "c": "three"}
    with transaction() as session:
        summaries.drop_parts(session, talk, but={"b", "unknown"})
    assert (kept(talk), kept(other)) == ({"b": "two"}, {"a": "another's"})


def test_thousands_of_parts(database: str) -> None:
    talk = factories.conversation()
    keep(talk, {f"{place:064x}": "text" for place in range(1200)})
    with transaction() as session:
        summaries.drop_parts(session, talk, but=set())
    assert kept(talk) == {}


def test_all_goes_with_the_conversation(database: str) -> None:
    talk = factories.conversation()
    written(talk, "About it.")
    keep(talk, {"a": "one"})
    with transaction() as session:
        conversations.remove(session, talk, LOCAL_OWNER)
    with reading() as session:
        assert summaries.find(session, talk) is None
    assert kept(talk) == {}


def test_the_job_that_is_to_write_it(database: str) -> None:
    talk = factories.conversation()

    def job_of() -> str | None:
        with reading() as session:
            job = summaries.job_of(session, talk)
        return job.id if job else None

    factories.job(Kind.CHAT, conversation_id=talk)
    assert job_of() is None
    first = factories.job(Kind.SUMMARIZE, conversation_id=talk)
    assert job_of() == first
    factories.claim(first)
    assert job_of() == first
    factories.finish(first)
    assert job_of() is None
