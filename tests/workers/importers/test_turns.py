"""Messages of any source, in any order, become a tree."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.importers.reading import check, path
from workers.importers.ports import ImportedConversation
from workers.importers.turns import PREVIOUS, Head, Turn, any_text, conversation, first_of

NODE = st.sampled_from("abcdefgh")


def made(*turns: Turn, current: str | None = None) -> ImportedConversation:
    return check(conversation("test", Head("c", "T", current=current), list(turns), Counter()))


def test_what_stands_beside_an_answer_comes_before_it_and_replies_hang_below() -> None:
    answer = Turn("a", "q", "assistant", ["Yes.", "Indeed."], model="m")
    answer.think("Hm.")
    answer.call("search", {"q": "x"})
    answer.result("found", "search", is_error=True)
    found = made(Turn("q", None, "user", ["Is it?"]), answer, Turn("r", "a", "user", ["Why?"]))
    assert [(m.native_id, m.parent_native_id, m.role, m.visibility) for m in found.messages] == [
        ("q", None, "user", "visible"),
        ("a~1", "q", "assistant", "reasoning"),
        ("a~2", "a~1", "assistant", "tool"),
        ("a~3", "a~2", "tool", "tool"),
        ("a", "a~3", "assistant", "visible"),
        ("r", "a", "user", "visible"),
    ]
    assert [m.content for m in found.messages[1:5]] == [
        "Hm.",
        '```json\n{\n "q": "x"\n}\n```',
        "found",
        "Yes.\n\nIndeed.",
    ]
    assert found.messages[3].parts == {"is_error": True}


def test_the_last_of_what_is_not_shown_keeps_the_id() -> None:
    call = Turn("a", None, "assistant")
    call.think("Hm.")
    call.call("run", "ls")
    found = made(call, Turn("b", "a", "assistant", ["Done."]))
    assert [m.native_id for m in found.messages] == ["a~1", "a", "b"]


def test_what_holds_nothing_is_spliced_out() -> None:
    found = made(Turn("a", None, "user", ["x"]), Turn("b", "a", "assistant", []), Turn("c", "b", "user", ["y"]))
    assert [(m.native_id, m.parent_native_id) for m in found.messages] == [("a", None), ("c", "a")]
    assert made(Turn("a", None, "user", ["x"]), Turn("b", "a", "user"), current="b").current_native_id == "a"


def test_a_file_alone_is_a_message() -> None:
    turn = Turn("a", None, "user")
    turn.attach(name="a.png", size=3, id=None)
    (message,) = made(turn).messages
    assert message.content == "[file: a.png]"
    assert message.parts == {"attachments": [{"name": "a.png", "size": 3}]}


def test_ids_of_messages_without_one_stay_when_the_conversation_grows() -> None:
    def turns(count: int) -> list[Turn]:
        return [Turn(None, PREVIOUS, "user", ["again"]) for _ in range(count)]

    short, long = made(*turns(3)), made(*turns(5))
    ids = [message.native_id for message in long.messages]
    assert len(set(ids)) == 5
    assert [message.native_id for message in short.messages] == ids[:3]


def test_a_conversation_without_an_id_gets_one_that_stays() -> None:
    def named(title: str, *texts: str) -> str:
        turns = [Turn(None, PREVIOUS, "user", [text]) for text in texts]
        return conversation("test", Head(None, title, begun=5), turns, Counter()).native_id

    assert named("A", "x") == named("B", "x", "y")
    assert named("A", "x") != named("A", "y")


def test_an_id_that_stands_twice() -> None:
    same = made(Turn("a", None, "user", ["x"]), Turn("a", None, "user", ["x"]), Turn(None, PREVIOUS, "user", ["y"]))
    assert [m.content for m in same.messages] == ["x", "y"]
    assert same.notes == ["a message stands there twice and was taken once"]
    other = made(Turn("a", None, "user", ["x"]), Turn("a", None, "user", ["z"]))
    assert [m.content for m in other.messages] == ["x", "z"]
    assert other.notes == ["two messages have the same id; the second got another"]


def test_a_chain_of_20_000_in_any_order() -> None:
    turns = [Turn(str(n), str(n - 1) if n else None, "user", [str(n)]) for n in range(20_000)]
    found = made(*turns[::-1])
    assert len(path(found)) == 20_000


def test_sources_are_listed_once() -> None:
    turn = Turn("a", None, "assistant", ["So it is."])
    for url in ("https://a.example/(x)", "https://a.example/(x)", "javascript:alert(1)", None):
        turn.cite(url, "A [title]")
    (message,) = made(turn).messages
    assert message.content == "So it is.\n\nSources:\n- [A \\[title\\]](https://a.example/%28x%29)"
    assert message.parts["citations"] == [{"title": "A [title]", "url": "https://a.example/(x)"}]


def test_small_helpers() -> None:
    assert any_text(["a", {"text": "b"}, 3, {"x": "y"}]) == "a\n\nb"
    assert first_of({"a": None, "b": "", "c": 0}, "a", "b", "c", "d") == 0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(NODE | st.none(), NODE | st.none() | st.just(PREVIOUS), st.booleans(), st.integers(0, 3))),
    NODE | st.none(),
)
def test_any_turns(nodes: list[tuple[str | None, str | None, bool, int]], current: str | None) -> None:
    turns = []
    for number, (id, parent, speaks, thoughts) in enumerate(nodes):
        turn = Turn(id, parent, "assistant", [f"said {number}"] if speaks else [])
        for thought in range(thoughts):
            turn.think(f"thought {number}.{thought}")
        turns.append(turn)
    found = made(*turns, current=current)
    expected = [f"said {number}" for number, node in enumerate(nodes) if node[2]]
    assert sorted(m.content for m in found.messages if m.visibility == "visible") == sorted(expected)
    reasoned = [m.content for m in found.messages if m.visibility == "reasoning"]
    assert len(reasoned) == len(set(reasoned))
    if not any("twice" in note for note in found.notes):
        assert len(reasoned) == sum(node[3] for node in nodes)
