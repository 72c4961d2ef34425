"""Whose choice counts for which work."""

from __future__ import annotations

import pytest

from config.errors import Forbidden
from storage import llm_defaults, users
from storage.database import reading, transaction
from storage.llm_defaults import CHAT
from storage.tables import LOCAL_OWNER
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def resolved(owner_id: str = LOCAL_OWNER, prompt_type: str = CHAT) -> str | None:
    with reading() as session:
        return llm_defaults.resolve(session, owner_id, prompt_type)


def choose(prompt_type: str, provider: str, model: str) -> None:
    with transaction() as session:
        llm_defaults.choose(session, prompt_type, provider, model, LOCAL_OWNER)


def set_model(owner_id: str, model: str | None) -> None:
    with transaction() as session:
        users.set_model(session, owner_id, model)


def test_nobody_chose() -> None:
    assert resolved() is None
    assert resolved("no such person") is None
    assert resolved(prompt_type="summary") is None


def test_the_house_then_the_person() -> None:
    somebody = factories.owner()
    choose(CHAT, "local", "tiny")
    assert (resolved(), resolved(somebody)) == ("tiny", "tiny")
    set_model(somebody, "openai/gpt-4o")
    assert (resolved(), resolved(somebody)) == ("tiny", "openai/gpt-4o")
    set_model(somebody, None)
    assert resolved(somebody) == "tiny"


def test_a_choice_for_chat_is_none_for_summaries_but_the_houses_is() -> None:
    set_model(LOCAL_OWNER, "openai/gpt-4o")
    choose(CHAT, "local", "tiny")
    assert resolved(prompt_type="summary") == "tiny"
    choose("summary", "anthropic", "claude-3.5-haiku")
    assert resolved(prompt_type="summary") == "anthropic/claude-3.5-haiku"
    assert resolved() == "openai/gpt-4o"


def test_a_later_choice_replaces_an_earlier() -> None:
    choose(CHAT, "local", "tiny")
    choose(CHAT, "extractive", "extractive")
    assert resolved() == "extractive"


def test_a_model_that_goes_is_nobodys() -> None:
    one, other = factories.owner(), factories.owner()
    set_model(one, "tiny")
    set_model(other, "openai/tiny")
    choose(CHAT, "local", "tiny")
    choose("summary", "local", "tiny")
    choose("title", "openai", "tiny")
    with transaction() as session:
        assert llm_defaults.forget_model(session, "local", "tiny") == [CHAT, "summary"]
    assert resolved(one) is None
    assert resolved(other) == "openai/tiny"
    assert resolved(prompt_type="title") == "openai/tiny"


def test_who_is_an_admin() -> None:
    somebody = factories.owner()
    with reading() as session:
        users.require_admin(session, LOCAL_OWNER, "do that")
        with pytest.raises(Forbidden, match=r"Only an admin may do that\."):
            users.require_admin(session, somebody, "do that")


def test_the_owner_is_there_once() -> None:
    with transaction() as session:
        session.delete(users.get(session, LOCAL_OWNER))
    factories.at_once(*[_ensure] * 4)
    with reading() as session:
        assert users.get(session, LOCAL_OWNER).role == "admin"


def _ensure() -> None:
    with transaction() as session:
        users.ensure_local_owner(session)
