"""An import writes each conversation once, however often it comes; what was said here since stays."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.errors import Conflict, NotFound
from storage import conversations, messages
from storage.conversations import Upserted
from storage.database import is_duplicate, reading, transaction
from storage.filters import Filters
from storage.imported import OLDER, upsert_all
from storage.tables import LOCAL_OWNER, Conversation
from tests import factories
from tests.factories import JANUARY, imported, imported_conversation, imported_message


def upsert(conversation: dict[str, object], rows: list[dict[str, object]], owner_id: str = LOCAL_OWNER) -> Upserted:
    with transaction() as session:
        return conversations.upsert(session, owner_id, conversation, rows)


def only() -> Conversation:
    (row,) = factories.all_conversations()
    return row


def said(conversation_id: str, text: str, answer: str) -> None:
    """A question and its answer, here."""
    question = factories.question(conversation_id, text)
    with transaction() as session:
        messages.add_answer(session, question, answer, message_id=f"answer to {question.id}"[:36])


# --- imports


def test_an_unknown_conversation_is_created(database: str) -> None:
    done = upsert(*imported(turns=("hello", "hi", "how are you?"), title="Greetings"))
    assert (done.status, done.messages) == ("created", 3)
    row = only()
    assert (row.id, row.title, row.source, row.native_id) == (done.conversation_id, "Greetings", "chatgpt", "c1")
    assert (row.content_version, row.indexed_version) == (1, 0)
    assert row.imported_at is not None
    assert factories.shown(row.id) == ["hello", "hi", "how are you?"]
    first, second, third = factories.all_messages(row.id)
    assert (first.parent_id, second.parent_id, third.parent_id) == (None, first.id, second.id)


def test_the_same_again_changes_nothing(database: str) -> None:
    first = upsert(*imported())
    before = (only(), factories.all_messages(first.conversation_id))
    again = upsert(*imported())
    assert again == Upserted("unchanged", first.conversation_id, 0)
    assert (only(), factories.all_messages(first.conversation_id)) == before


def test_a_conversation_that_went_on_is_continued(database: str) -> None:
    first = upsert(*imported(turns=("hello", "hi")))
    ids = [row.id for row in factories.all_messages(first.conversation_id)]
    done = upsert(*imported(turns=("hello", "hi", "and?", "so.")))
    assert (done.status, done.messages, done.conversation_id) == ("updated", 2, first.conversation_id)
    assert factories.shown(done.conversation_id) == ["hello", "hi", "and?", "so."]
    assert [row.id for row in factories.all_messages(done.conversation_id)][:2] == ids
    assert only().content_version == 2


def test_an_edited_message_is_rewritten_in_place(database: str) -> None:
    first = upsert(*imported(turns=("hello", "hi")))
    ids = [row.id for row in factories.all_messages(first.conversation_id)]
    done = upsert(*imported(turns=("hello", "hi there")))
    assert done.messages == 1
    assert factories.shown(done.conversation_id) == ["hello", "hi there"]
    assert [row.id for row in factories.all_messages(done.conversation_id)] == ids


def test_another_branch_is_shown_and_the_first_is_kept(database: str) -> None:
    def branches(shown: str) -> list[dict[str, object]]:
        return [
            imported_message("q", None, 0, "question"),
            imported_message("a1", "q", 1, "first answer", on_path=shown == "a1"),
            imported_message("a2", "q", 2, "second answer", on_path=shown == "a2", role="assistant"),
        ]

    done = upsert(imported_conversation("c", branches("a1")), branches("a1"))
    assert factories.shown(done.conversation_id) == ["question", "first answer"]
    done = upsert(imported_conversation("c", branches("a2")), branches("a2"))
    assert (done.status, done.messages) == ("updated", 2)
    assert factories.shown(done.conversation_id) == ["question", "second answer"]
    assert len(factories.all_messages(done.conversation_id)) == 3


def test_what_was_said_here_stays_behind_what_the_source_adds(database: str) -> None:
    done = upsert(*imported(turns=("hello", "hi")))
    said(done.conversation_id, "asked here", "answered here")
    assert factories.shown(done.conversation_id) == ["hello", "hi", "asked here", "answered here"]
    upsert(*imported(turns=("hello", "hi", "and?", "so.")))
    assert factories.shown(done.conversation_id) == ["hello", "hi", "and?", "so.", "asked here", "answered here"]
    said(done.conversation_id, "again", "and again")
    assert factories.shown(done.conversation_id)[-2:] == ["again", "and again"]


def test_an_update_without_new_messages_leaves_ours_in_place(database: str) -> None:
    done = upsert(*imported(turns=("hello", "hi")))
    said(done.conversation_id, "asked here", "answered here")
    upsert(*imported(turns=("hello", "hi there")))
    assert factories.shown(done.conversation_id) == ["hello", "hi there", "asked here", "answered here"]


def test_messages_the_source_no_longer_has_stay_off_the_path(database: str) -> None:
    done = upsert(*imported(turns=("hello", "hi", "secret", "hush")))
    again = upsert(*imported(turns=("hello", "hi")))
    assert (again.status, again.messages) == ("updated", 2)
    assert factories.shown(done.conversation_id) == ["hello", "hi"]
    assert len(factories.all_messages(done.conversation_id)) == 4
    back = upsert(*imported(turns=("hello", "hi", "secret", "hush")))
    assert (back.status, back.messages) == ("updated", 2)
    assert factories.shown(done.conversation_id) == ["hello", "hi", "secret", "hush"]


def test_an_older_file_takes_nothing_back(database: str) -> None:
    march = JANUARY + timedelta(days=60)
    now = {"title": "New", "updated_at": march, "source_updated_at": march}
    done = upsert(*imported(turns=("hello", "hi", "and?", "so."), **now))
    older = {"title": "Old", "source_updated_at": JANUARY}
    again = upsert(*imported(turns=("hello", "hi there"), **older))
    assert (again.status, again.messages, again.reason) == ("unchanged", 0, OLDER)
    assert factories.shown(done.conversation_id) == ["hello", "hi", "and?", "so."]
    assert (only().title, only().updated_at, only().content_version) == ("New", march, 1)
    assert upsert(*imported(turns=("hello", "hi", "and?", "so."), **now)).status == "unchanged"


def test_what_only_an_older_file_has_is_added_beside_the_shown_path(database: str) -> None:
    march = JANUARY + timedelta(days=60)
    newer = [imported_message("q", None, 0, "hello"), imported_message("a2", "q", 1, "again")]
    older = [
        imported_message("q", None, 0, "hello"),
        imported_message("a1", "q", 1, "hi"),
        imported_message("q1", "a1", 2, "and?"),
    ]
    done = upsert(imported_conversation("c", newer, source_updated_at=march), newer)
    again = upsert(imported_conversation("c", older, source_updated_at=JANUARY), older)
    assert (again.status, again.messages, again.reason) == ("updated", 2, OLDER)
    assert factories.shown(done.conversation_id) == ["hello", "again"]
    rows = {row.native_id: row for row in factories.all_messages(done.conversation_id)}
    assert rows["q1"].parent_id == rows["a1"].id
    assert rows["a1"].parent_id == rows["q"].id
    assert [rows[name].position for name in ("q", "a2", "a1", "q1")] == [0, 1, 2, 3]
    assert only().content_version == 2
    assert upsert(imported_conversation("c", older, source_updated_at=JANUARY), older).status == "unchanged"


def test_the_newest_of_one_file_wins_whatever_its_order(database: str) -> None:
    march = JANUARY + timedelta(days=60)
    new = imported(turns=("hello", "hi", "and?"), title="New", source_updated_at=march)
    old = imported(turns=("hello", "hi"), title="Old", source_updated_at=JANUARY)
    with transaction() as session:
        done = upsert_all(session, LOCAL_OWNER, [old, new, old])
    assert [one.status for one in done] == ["created", "updated", "unchanged"]
    assert (only().title, factories.shown(only().id)) == ("New", ["hello", "hi", "and?"])


def test_a_title_a_person_gave_is_kept(database: str) -> None:
    done = upsert(*imported(title="From the source"))
    with transaction() as session:
        conversations.rename(session, conversations.get(session, done.conversation_id, LOCAL_OWNER), "Mine")
    upsert(*imported(title="Renamed at the source", is_archived=True))
    assert (only().title, only().is_archived) == ("Mine", True)


def test_a_new_title_at_the_source_is_taken(database: str) -> None:
    upsert(*imported(title="Old"))
    done = upsert(*imported(title="New"))
    assert (done.status, done.messages, only().title) == ("updated", 0, "New")


def test_sources_and_owners_do_not_meet(database: str) -> None:
    other = factories.owner()
    upsert(*imported())
    assert upsert(*imported(source="claude")).status == "created"
    assert upsert(*imported(), owner_id=other).status == "created"
    assert (len(factories.all_conversations()), len(factories.all_conversations(other))) == (2, 1)


def test_a_message_whose_parent_is_not_there_is_a_root(database: str) -> None:
    rows = [imported_message("a", "gone", 0, "hello"), imported_message("b", "a", 1, "hi")]
    done = upsert(imported_conversation("c", rows), rows)
    first, second = factories.all_messages(done.conversation_id)
    assert (first.parent_id, second.parent_id) == (None, first.id)


def test_the_same_import_twice_at_once_writes_it_once(database: str) -> None:
    """PostgreSQL lets both see nothing and refuses the second; asked again it finds the first."""

    def once_or_again() -> Upserted:
        try:
            return upsert(*imported(turns=("a", "b", "c")))
        except Exception as error:
            if not is_duplicate(error):
                raise
            return upsert(*imported(turns=("a", "b", "c")))

    done = factories.at_once(*[once_or_again] * 4)
    assert sorted(one.status for one in done) == ["created", "unchanged", "unchanged", "unchanged"]
    assert len(factories.all_messages(only().id)) == 3


def test_big_conversations_pass(database: str) -> None:
    """More rows than a database takes parameters in one statement."""
    turns = [f"turn {number}" for number in range(5000)]
    done = upsert(*imported(turns=turns))
    assert done.messages == 5000
    done = upsert(*imported(turns=turns[:1]))
    assert done.messages == 4999
    assert factories.shown(done.conversation_id) == ["turn 0"]


# --- a slice of them


def test_a_slice_is_written_as_each_by_itself_would_be(database: str) -> None:
    """New ones, known ones, one that stands twice and once more as it was, in the order they came."""
    upsert(*imported("same"))
    upsert(*imported("longer"))
    slice_of = [
        imported("new", turns=("a", "b")),
        imported("same"),
        imported("longer", turns=("hello", "hi", "and?")),
        imported("new", turns=("a", "b", "c")),
        imported("new", source="claude", turns=("a",)),
        imported("new", turns=("a", "b", "c")),
        imported("empty", turns=()),
    ]
    with transaction() as session:
        done = upsert_all(session, LOCAL_OWNER, slice_of)
    statuses = ["created", "unchanged", "updated", "updated", "created", "unchanged", "created"]
    assert [one.status for one in done] == statuses
    assert [one.messages for one in done] == [2, 0, 1, 1, 1, 0, 0]
    assert done[0].conversation_id == done[3].conversation_id == done[5].conversation_id != done[4].conversation_id
    assert factories.shown(done[0].conversation_id) == ["a", "b", "c"]
    assert factories.shown(done[2].conversation_id) == ["hello", "hi", "and?"]
    rows = factories.all_conversations()
    assert [row.native_id for row in rows] == ["same", "longer", "new", "new", "empty"], "ids are in file order"
    assert [row.content_version for row in rows] == [1, 2, 2, 1, 1]


def test_nothing_to_write_is_nothing(database: str) -> None:
    with transaction() as session:
        assert upsert_all(session, LOCAL_OWNER, []) == []


def test_a_title_that_is_a_persons_is_so_for_its_second_copy(database: str) -> None:
    """Our own export says so of the first; its second copy must not take the title back."""
    mine = imported(title="Mine", title_is_custom=True, is_locked=True)
    with transaction() as session:
        done = upsert_all(session, LOCAL_OWNER, [mine, imported(title="Other"), imported(turns=("changed",))])
    assert [one.status for one in done] == ["created", "updated", "skipped"]
    assert (only().title, only().is_locked, factories.shown(only().id)) == ("Mine", True, ["hello", "hi"])


def test_messages_with_other_columns_go_into_one_slice(database: str) -> None:
    """Only our own export has costs and sources; where columns are left out, their defaults are written."""
    plain, told = imported("plain", turns=("a",)), imported("told", turns=("b",))
    del plain[1][0]["on_path"], plain[1][0]["visibility"]
    told[1][0].update(sources=[{"title": "x"}], prompt_tokens=3)
    with transaction() as session:
        done = upsert_all(session, LOCAL_OWNER, [plain, told])
    (first,), (second,) = (factories.all_messages(one.conversation_id) for one in done)
    assert (first.on_path, first.visibility, first.sources, first.prompt_tokens) == (True, "visible", None, None)
    assert (second.sources, second.prompt_tokens) == ([{"title": "x"}], 3)


def test_a_title_of_a_slice_is_found_by_its_words(database: str) -> None:
    with transaction() as session:
        upsert_all(session, LOCAL_OWNER, [imported(str(at), title=f"Tomato soup {at}") for at in range(3)])
    with reading() as session:
        found = conversations.match_titles(session, LOCAL_OWNER, ["tomato"], 10)
    assert sorted(row.title for row in found) == ["Tomato soup 0", "Tomato soup 1", "Tomato soup 2"]


# --- our own


def test_conversations_are_found_by_their_owner_only(database: str) -> None:
    conversation_id, other = factories.conversation(), factories.owner()
    with reading() as session:
        assert conversations.get(session, conversation_id, LOCAL_OWNER).id == conversation_id
        assert conversations.find(session, conversation_id, other) is None
        with pytest.raises(NotFound):
            conversations.get(session, conversation_id, other)
    with pytest.raises(NotFound), transaction() as session:
        conversations.remove(session, conversation_id, other)
    assert len(factories.all_conversations()) == 1


def test_a_locked_conversation_takes_no_words(database: str) -> None:
    conversation_id = factories.conversation()
    with transaction() as session:
        conversations.get(session, conversation_id, LOCAL_OWNER).is_locked = True
    with pytest.raises(Conflict, match="locked"), transaction() as session:
        conversations.open_for_writing(session, conversation_id, LOCAL_OWNER)


def test_removing_takes_messages_along(database: str) -> None:
    conversation_id = factories.conversation()
    factories.question(conversation_id)
    with transaction() as session:
        conversations.remove(session, conversation_id, LOCAL_OWNER)
    assert factories.all_conversations() == []
    assert factories.all_messages(conversation_id) == []


def test_pages(database: str) -> None:
    ids = [factories.conversation(title=str(number)) for number in range(5)]
    upsert(*imported())
    factories.conversation(factories.owner())
    with transaction() as session:
        conversations.touch(session, ids[0])
    with reading() as session:
        rows, total = conversations.page(session, LOCAL_OWNER, limit=3, offset=0)
        assert ([row.title for row in rows], total) == (["0", "4", "3"], 6)
        rows, _ = conversations.page(session, LOCAL_OWNER, limit=3, offset=3)
        assert [row.title for row in rows] == ["2", "1", "Imported"]
        rows, total = conversations.page(session, LOCAL_OWNER, Filters(source="chatgpt"), limit=3, offset=0)
        assert ([row.title for row in rows], total) == (["Imported"], 1)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tomato"], ["Tomato soup", "The tomato plot"]),
        (["TOMATO", "plot"], ["The tomato plot"]),
        (["100%"], ["100% sure"]),
        (["_"], ["snake_case"]),
        (["nothing"], []),
    ],
)
def test_titles_match_every_word_as_it_stands(database: str, words: list[str], found: list[str]) -> None:
    for title in ("The tomato plot", "Tomato soup", "100% sure", "1000 islands", "snake_case", "snakes"):
        factories.conversation(title=title)
    factories.conversation(factories.owner(), "tomato of somebody else")
    with reading() as session:
        assert [row.title for row in conversations.match_titles(session, LOCAL_OWNER, words, 10)] == found


def test_those_that_were_not_deleted_meanwhile(database: str) -> None:
    first = factories.conversation()
    with reading() as session:
        assert conversations.existing(session, {first, "gone"}) == {first}
        assert conversations.existing(session, set()) == set()
