"""Versions of a draft are numbered without gap, prompts and projects are one of a kind, on both databases."""

from __future__ import annotations

import pytest

from config.errors import NotFound
from config.prompts import DEFAULTS
from config.queues import Kind
from storage import conversations, drafts, projects, prompts
from storage.database import DatabaseError, reading, transaction
from storage.project_tables import Project
from storage.tables import LOCAL_OWNER
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def write(conversation_id: str, title: str = "Roses", **values: object) -> str | None:
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        return drafts.add_version(session, row, title, "Plant.", by=LOCAL_OWNER, **values).active_version_id  # type: ignore[arg-type]


def test_versions_are_numbered_whoever_writes_them() -> None:
    conversation = factories.conversation()
    factories.at_once(*[lambda: write(conversation) for _ in range(6)])
    with reading() as session:
        rows, total = drafts.page(session, drafts.get(session, conversation), limit=4, offset=1)
    assert (total, [row.version_number for row in rows]) == (6, [5, 4, 3, 2])


def test_a_version_may_wait_to_become_active() -> None:
    conversation = factories.conversation()
    first = write(conversation, activate=False)
    assert first is not None, "the first one is"
    assert write(conversation, "Tulips", activate=False) == first
    with reading() as session:
        assert drafts.as_json(session, drafts.get(session, conversation))["title"] == "Roses"


def test_there_is_no_draft_before_something_is_written_in_it() -> None:
    conversation = factories.conversation()
    with transaction() as session:
        row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        talk = drafts.talk_of(session, row, LOCAL_OWNER)
        assert drafts.talk_of(session, row, LOCAL_OWNER).id == talk.id
    with reading() as session, pytest.raises(NotFound):
        drafts.get(session, conversation)
    with reading() as session:
        draft = drafts.find(session, conversation)
        assert draft is not None
        assert drafts.as_json(session, draft)["active_version"] is None


def test_a_talk_that_was_deleted_is_begun_anew() -> None:
    conversation = factories.conversation()
    with transaction() as session:
        row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        first = drafts.talk_of(session, row, LOCAL_OWNER).id
    with transaction() as session:
        conversations.remove(session, first, LOCAL_OWNER)
    with transaction() as session:
        row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        assert drafts.talk_of(session, row, LOCAL_OWNER).id != first


def test_a_prompt_is_one_of_its_type() -> None:
    with reading() as session:
        assert prompts.custom(session, "summary") is None
        assert prompts.active(session, "summary") == DEFAULTS["summary"]
    for words in ("One.", "Two."):
        with transaction() as session:
            prompts.write(session, "summary", words, LOCAL_OWNER)
    with transaction() as session:
        prompts.write(session, "chat", "Three.", LOCAL_OWNER)
    with reading() as session:
        assert prompts.active(session, "summary") == "Two."
        assert [row.version for row in prompts.versions(session, "summary")] == [2, 1]
    with transaction() as session:
        prompts.revert(session, "summary")
    with reading() as session:
        assert prompts.custom(session, "summary") is None
        assert prompts.active(session, "chat") == "Three."


def test_linear_has_heard_of_a_conversation_once_a_job_said_so() -> None:
    conversation = factories.conversation()
    with reading() as session:
        assert projects.asked_at(session, conversation) is None
    for kind in (Kind.PROJECT, Kind.DRAFT_CHAT, Kind.DRAFT):
        job = factories.job(kind, conversation_id=conversation)
        factories.change(job, checkpoint={"rounds": []})
    with reading() as session:
        assert projects.asked_at(session, conversation) is None
    factories.change(job, checkpoint={projects.ASKED: True})
    with reading() as session:
        assert projects.asked_at(session, conversation) is None, "a draft is written without Linear"
    said = factories.job(Kind.PROJECT, conversation_id=conversation)
    factories.change(said, checkpoint={projects.ASKED: True})
    with reading() as session:
        assert projects.asked_at(session, conversation) == factories.load(said).created_at


def test_a_conversation_has_one_project() -> None:
    conversation = factories.conversation()

    def add() -> None:
        with transaction() as session:
            row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
            project = Project(
                conversation_id=conversation, marker=projects.marker_of(conversation), linear_project_id="p",
                linear_url="u", title="t", description="d",
            )  # fmt: skip
            projects.add(session, row, project)

    add()
    with pytest.raises(DatabaseError):
        add()
    with reading() as session:
        assert conversations.get(session, conversation, LOCAL_OWNER).is_locked
        assert projects.as_json(projects.get(session, conversation))["linear_project_id"] == "p"
