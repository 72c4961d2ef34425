"""DeepSeek's export, whose file has ChatGPT's name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.exports import Json, zip_of
from tests.exports.local import as_json
from tests.workers.importers.reading import assert_resumes, check, kinds, only, path, shown
from workers.importers.deepseek import deepseek_conversation as convert


def message(*fragments: tuple[str, Any], minute: int = 0, **more: Any) -> Json:
    made = [{"type": kind, "content": content} for kind, content in fragments]
    return {
        "files": [],
        "model": "deepseek-chat",
        "inserted_at": f"2025-02-01T10:{minute:02}:00+08:00",
        "fragments": made,
    } | more


def exported(nodes: dict[str, tuple[str | None, Json | None]]) -> list[Json]:
    mapping = {
        id: {"id": id, "parent": parent, "children": [], "message": said} for id, (parent, said) in nodes.items()
    }
    about = {
        "id": "c",
        "title": "T",
        "inserted_at": "2025-02-01T10:00:00+08:00",
        "updated_at": "2025-02-01T11:00:00+08:00",
    }
    return [about | {"mapping": mapping}]


EXPORT = exported(
    {
        "root": (None, None),
        "1": ("root", message(("REQUEST", "Why?"))),
        "2": ("1", message(("THINK", "Hm."), ("RESPONSE", "Because."), minute=1)),
        "3": ("1", message(("RESPONSE", "No reason."))),
    }
)


@pytest.mark.parametrize(
    "data", [as_json(EXPORT), zip_of({"conversations.json": as_json(EXPORT), "user.json": b'{"user_id": "u"}'})]
)
def test_every_form_of_the_export(data: bytes) -> None:
    found = only(data, "deepseek")
    assert shown(found) == [("user", "Why?"), ("assistant", "Because.")]
    assert kinds(found)[1] == ("assistant", "reasoning")
    assert len(found.messages) == 4
    assert (found.model, str(found.created_at)) == ("deepseek-chat", "2025-02-01 02:00:00+00:00")
    assert_resumes(data, "deepseek")


def test_searches_files_and_what_is_not_known() -> None:
    pages = [{"title": "P", "url": "https://p.example", "snippet": "Facts."}]
    said = message(("RESPONSE", "So."), ("HOLOGRAM", "kept"))
    said["fragments"].insert(0, {"type": "SEARCH", "queries": [{"query": "x"}], "results": pages})
    asked = message(("REQUEST", "Q"), files=[{"id": "f", "file_name": "a.txt", "content": "A"}])
    found = only(as_json(exported({"1": (None, asked), "2": ("1", said)})), "deepseek")
    assert [visibility for _, visibility in kinds(found)] == ["visible", "tool", "tool", "visible"]
    assert path(found)[0].content == "Q\n\n[file: a.txt]\n\n```\nA\n```"
    assert path(found)[2].content == "[P](https://p.example)\n\nFacts."
    assert path(found)[3].content == "So.\n\nkept"
    assert found.notes == ["content of the unknown type “HOLOGRAM”: only its text was kept"]


def test_the_older_form() -> None:
    asked = {"role": "USER", "content": "Q", "inserted_at": "2025-02-01T10:00:00Z"}
    said = {"role": "ASSISTANT", "content": "A", "reasoning_content": "Hm.", "inserted_at": "2025-02-01T10:01:00Z"}
    found = only(as_json(exported({"1": (None, asked), "2": ("1", said)})), "deepseek")
    assert shown(found) == [("user", "Q"), ("assistant", "A")]


def test_the_oldest_form_names_no_author() -> None:
    def bare(text: str | None, thought: str | None = None) -> Json:
        return {"content": text, "reasoning_content": thought, "model": "m", "inserted_at": "2025-02-01T10:00:00Z"}

    nodes = {
        "4": ("3", bare("A2")),
        "root": (None, None),
        "1": ("root", bare("Q1")),
        "2": ("1", bare("A1", "Hm.")),
        "5": ("1", bare("A1 again")),
        "3": ("2", bare("Q2")),
    }
    found = only(as_json(exported(nodes)), "deepseek")
    roles = {m.content: (m.role, m.model) for m in found.messages if m.visibility == "visible"}
    asked, said = ("user", None), ("assistant", "m")
    assert roles == {"Q1": asked, "A1": said, "A1 again": said, "Q2": asked, "A2": said}


def test_authors_of_a_long_and_of_an_endless_chain() -> None:
    nodes = {str(n): (str(n - 1), {"content": str(n)}) for n in range(5_000)}
    found = check(convert(exported(nodes)[0]))
    assert [m.role for m in found.messages] == ["user", "assistant"] * 2_500
    circle = exported({"a": ("b", {"content": "A"}), "b": ("a", {"content": "B"})})
    assert sorted(m.role for m in check(convert(circle[0])).messages) == ["assistant", "user"]
