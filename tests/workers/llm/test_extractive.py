from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import Unusable
from tests.workers.llm.answers import collect
from workers.llm.extractive import HELP, NOT_FOUND, NOTICE, ExtractiveAnswerer
from workers.ports import Attachment, ChatMessage, ChatRequest, Passage, Sampling, Tool

MODEL = ExtractiveAnswerer()
PASSAGES = (
    Passage("We talked about zebras. Zebras migrate in June. The weather was fine.", "c1", "Animals", "m1", 0.7),
    Passage("My sourdough starter died.\n\nIt smelled of acetone.", "c2", "Baking\nbread", None, 0.4),
    Passage("今天我们讨论了斑马的迁徙。天气很好。", "c3", "斑马", None, 0.3),
)


def request(
    question: str, passages: tuple[Passage, ...] = PASSAGES, resume: str = "", **sampling: object
) -> ChatRequest:
    return ChatRequest((ChatMessage("user", question),), passages, Sampling(**sampling), resume)  # type: ignore[arg-type]


def test_it_says_what_it_is_and_quotes_the_best_sentence_first() -> None:
    answer = collect(MODEL, request("When do zebras migrate?"))
    assert answer.text.startswith(f"{NOTICE} {HELP}")
    assert "`MODEL_PATH`" in answer.text
    assert answer.text.split("\n\n")[2] == "> Zebras migrate in June.\n>\n> — Animals"
    assert "weather" not in answer.text
    assert answer.end.finish_reason == "stop"
    assert answer.end.completion_tokens == len(answer.text.split())


def test_scripts_without_spaces_are_matched() -> None:
    quotes = collect(MODEL, request("斑马什么时候迁徙？")).text.split("\n\n")[2:]
    assert quotes == ["> 今天我们讨论了斑马的迁徙。\n>\n> — 斑马"]


def test_without_shared_words_the_beginnings_are_quoted() -> None:
    quotes = collect(MODEL, request("xyzzy?")).text.split("\n\n")[2:]
    assert [quote.splitlines()[0] for quote in quotes] == [
        "> We talked about zebras.",
        "> My sourdough starter died.",
        "> 今天我们讨论了斑马的迁徙。",
    ]
    assert quotes[1].endswith("— Baking bread")


def test_nothing_found() -> None:
    assert collect(MODEL, request("anything", ())).text.endswith(NOT_FOUND)


def test_a_problem_is_named() -> None:
    answer = collect(ExtractiveAnswerer("The model tiny cannot be loaded."), request("anything", ()))
    assert "The model tiny cannot be loaded." in answer.text


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1000))
def test_any_beginning_is_continued(cut: int) -> None:
    whole = collect(MODEL, request("When do zebras migrate?"))
    begun = whole.text[:cut]
    rest = collect(MODEL, request("When do zebras migrate?", resume=begun))
    assert begun + rest.text == whole.text
    assert rest.end == whole.end


def test_another_beginning_is_continued_without_repeating() -> None:
    earlier = collect(MODEL, request("When do zebras migrate?", PASSAGES[:1])).text
    rest = collect(MODEL, request("When do zebras migrate, and what died?", resume=earlier)).text
    assert NOTICE not in rest
    assert "Zebras migrate" not in rest
    assert "> My sourdough starter died." in rest


def test_limits_and_cancel() -> None:
    answer = collect(MODEL, request("When do zebras migrate?", max_tokens=5))
    assert len(answer.text.split()) == 5
    assert answer.end.finish_reason == "length"
    assert collect(MODEL, request("zebras", max_tokens=0)).deltas == ()
    assert collect(MODEL, request("zebras", stop=("language",))).text == "No "
    asked = iter(range(100))
    answer = collect(MODEL, request("zebras"), lambda: next(asked) >= 3)
    assert answer.end.finish_reason == "cancelled"
    assert answer.end.completion_tokens == 3


def test_a_response_format_is_refused() -> None:
    with pytest.raises(Unusable):
        collect(MODEL, request("zebras", response_format={"type": "json_schema", "schema": {}}))


def test_tools_and_pictures_are_refused() -> None:
    for asked in (
        ChatRequest((ChatMessage("user", "Look!", (Attachment("image/png", b"x"),)),)),
        ChatRequest((ChatMessage("user", "Do!"),), tools=(Tool("do", "", {}),)),
    ):
        with pytest.raises(Unusable):
            collect(MODEL, asked)


def test_who_listens_hears_the_best_quotes_first_and_no_instructions() -> None:
    spoken = replace(request("When do zebras migrate?"), work_class="voice")
    answer = collect(MODEL, spoken).text.split("\n\n")
    assert (answer[0], answer[-1]) == ("> Zebras migrate in June.\n>\n> — Animals", NOTICE)
    assert len(answer) <= 3
    nothing = replace(request("When do zebras migrate?", ()), work_class="voice")
    assert collect(MODEL, nothing).text == f"{NOT_FOUND}\n\n{NOTICE}"
